"""A recorded trace: when each call came and how large it was.

Read line by line, as often as needed; never held whole.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TextIO

from app.replay.errors import ReplayError

_COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
_LONGEST_LINE = 65_536
# GraphQL's Int: a usage record takes no more.
_MOST_TOKENS = 2**31 - 1
_SHOWN = 40


class TraceError(ReplayError):
    """The trace cannot be read; says where."""


@dataclass(frozen=True, slots=True)
class Call:
    """One recorded call; `at` is in seconds after the first one."""

    line: int
    at: float
    context_tokens: int
    generated_tokens: int


def read_trace(path: Path, limit: int | None = None) -> Iterator[Call]:
    """Yield the calls of a trace, at most `limit`."""
    return islice(_calls(path), limit)


def _calls(path: Path) -> Iterator[Call]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        # Strict: a quote that is never closed would swallow the rest as one field.
        reader = csv.reader(_lines(file, path.name), strict=True)
        try:
            places = _places(next(reader, []), path.name)
            first: datetime | None = None
            before = 0.0
            for row in reader:
                if not row:
                    continue
                where = f"{path.name}, line {reader.line_num}"
                at, context, generated = (_cell(row, place, where) for place in places)
                instant = _instant(at, where)
                first = first or instant
                offset = (instant - first).total_seconds()
                if offset < before:
                    raise TraceError(f"{where}: goes back in time; sort the trace by {_COLUMNS[0]}")
                before = offset
                yield Call(
                    reader.line_num,
                    offset,
                    _tokens(context, _COLUMNS[1], where),
                    _tokens(generated, _COLUMNS[2], where),
                )
        except csv.Error as error:
            raise TraceError(f"{path.name}, line {reader.line_num}: {error}") from error
        if first is None:
            raise TraceError(f"{path.name} holds no calls")


def _lines(file: TextIO, name: str) -> Iterator[str]:
    number = 0
    try:
        while line := file.readline(_LONGEST_LINE + 1):
            number += 1
            if len(line) > _LONGEST_LINE:
                raise TraceError(
                    f"{name}, line {number}: is longer than {_LONGEST_LINE} characters"
                )
            yield line
    except UnicodeDecodeError as error:
        # Text is decoded in blocks: the line is not known.
        raise TraceError(f"{name} is not UTF-8 text") from error


def _places(header: list[str], name: str) -> tuple[int, ...]:
    if not header:
        raise TraceError(f"{name} is empty: it must begin with a line {','.join(_COLUMNS)}")
    named = [column.strip().lower() for column in header]
    missing = [column for column in _COLUMNS if column.lower() not in named]
    if missing:
        raise TraceError(
            f"{name} has no column {' and no '.join(missing)}: its first line must name"
            f" {', '.join(_COLUMNS)}"
        )
    return tuple(named.index(column.lower()) for column in _COLUMNS)


def _cell(row: list[str], place: int, where: str) -> str:
    if place >= len(row):
        raise TraceError(f"{where}: has only {len(row)} columns")
    return row[place].strip()


def _instant(text: str, where: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise TraceError(f"{where}: {_COLUMNS[0]} is {_shown(text)}, not a time") from error
    # Traces are published without an offset; only differences count.
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)


def _tokens(text: str, column: str, where: str) -> int:
    digits = text.isascii() and text.isdigit() and len(text) <= len(str(_MOST_TOKENS))
    if not digits or int(text) > _MOST_TOKENS:
        raise TraceError(
            f"{where}: {column} is {_shown(text)}, not a whole number from 0 to {_MOST_TOKENS}"
        )
    return int(text)


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")
