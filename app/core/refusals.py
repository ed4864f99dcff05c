"""Refusals: every expected "no", with its code and its facts.

A refusal is not an error. An error is a fault of ours; a refusal is an answer. The
catalogue is `db/functions/refusals.toml`; SQL, GraphQL and the contract read the same.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import db

_FILE = Path(db.__file__).parent / "functions" / "refusals.toml"


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """One code of the catalogue."""

    code: str
    message: str
    advice: str
    status: int
    sqlstate: str | None = None
    type: str | None = None
    facts: Mapping[str, str] = field(default_factory=dict)


def _load() -> Mapping[str, CatalogueEntry]:
    with _FILE.open("rb") as file:
        entries = tomllib.load(file)
    return MappingProxyType({code: CatalogueEntry(code=code, **e) for code, e in entries.items()})


CATALOGUE: Mapping[str, CatalogueEntry] = _load()
BY_SQLSTATE: Mapping[str, CatalogueEntry] = MappingProxyType(
    {entry.sqlstate: entry for entry in CATALOGUE.values() if entry.sqlstate is not None}
)


class Refusal(Exception):  # noqa: N818  # a refusal is not an error: see the module
    """An expected "no". `facts` tell what a client needs in order to act."""

    def __init__(self, code: str, facts: Mapping[str, Any] | None = None) -> None:
        self.entry = CATALOGUE[code]
        self.facts: Mapping[str, Any] = dict(facts or {})
        super().__init__(code)

    @property
    def code(self) -> str:
        """The catalogue's code."""
        return self.entry.code

    @property
    def message(self) -> str:
        """One sentence for people, with the advice and the reason if there is one."""
        reason = ""
        if "reason" in self.facts:
            of_what = self.facts.get("field", "Reason")
            reason = f" {of_what}: {self.facts['reason']}."
        return f"{self.entry.message}{reason} {self.entry.advice}"


def invalid(field_name: str, reason: str) -> Refusal:
    """Return the refusal of a malformed value."""
    return Refusal("VALIDATION_ERROR", {"field": field_name, "reason": reason})
