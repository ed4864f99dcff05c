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
    """Some accounts that were audited together, and what was found.

    Skipped were those in which nothing was new.
    """

    read: int
    skipped: int
    findings: list[Finding]


@dataclass(frozen=True, slots=True)
class PageRow:
    """A finding of a page, or none on the only row of a page without."""

    read: int
    skipped: int
    finding: Finding | None
