"""What a result was measured of: the texts that decide what becomes of credits, as digests.

A commit does not tell: commits are rebased, and most move no credits. Comments do not count,
nor how SQL is indented.
"""

import hashlib
import io
import re
import tokenize
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
_PATTERNS = (
    *(f"db/functions/{schema}/*.sql" for schema in ("core", "credits", "events", "usage")),
    "db/migrations/versions/*.sql",
    "db/migrations/versions/*.py",
    "app/credits/*.py",
)
# Bodies between $$ are code, and their comments are comments.
_QUOTED = r"""('(?:[^']|'')*'|"(?:[^"]|"")*")"""
_SQL = re.compile(rf"{_QUOTED}|--[^\n]*|/\*.*?\*/", re.DOTALL)
_SQL_SPACE = re.compile(rf"{_QUOTED}|\s+")


def digests(root: Path = ROOT) -> dict[str, str]:
    """Return the digest of each text by its path."""
    return {
        str(path.relative_to(root)): digest(path.read_text(encoding="utf-8"), path.suffix)
        for pattern in _PATTERNS
        for path in sorted(root.glob(pattern))
    }


def digest(text: str, suffix: str) -> str:
    """Return what a text says to Postgres (`.sql`) or to Python, as a digest."""
    bare = _bare_sql(text) if suffix == ".sql" else _bare_python(text)
    return hashlib.sha256(bare.encode()).hexdigest()[:16]


def changed(since: Mapping[str, str], root: Path = ROOT) -> list[str]:
    """Return the texts that are not as they were, that are new, and that are gone."""
    now = digests(root)
    return sorted(path for path in {*since, *now} if since.get(path) != now.get(path))


def _bare_sql(text: str) -> str:
    without_comments = _SQL.sub(lambda found: found[1] or " ", text)
    # What stands between quotes stays as it is.
    return _SQL_SPACE.sub(lambda found: found[1] or " ", without_comments).strip()


def _bare_python(text: str) -> str:
    lines = text.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    return "\n".join(line.rstrip() for line in lines if line.strip())
