"""What an auditor finds."""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Finding:
    """A row that breaks an invariant: which one, what should stand there, what does."""

    account_id: UUID
    invariant: str
    subject: str
    expected: str
    actual: str


@dataclass(frozen=True, slots=True)
class Page:
    """Some accounts that were audited together, and what was found."""

    accounts: int
    findings: list[Finding]
