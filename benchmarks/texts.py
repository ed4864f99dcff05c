"""What a result was measured of: the texts that decide what becomes of credits, as digests.

A commit does not tell: commits are rebased, and most move no credits. Comments do not count,
nor how SQL is indented, nor migrations that touch nothing where credits are.
"""

import hashlib
import io
import re
import tokenize
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
_SCHEMAS = ("core", "credits", "events", "usage")
_MIGRATIONS = Path("db/migrations/versions")
_PATTERNS = (
    *(f"db/functions/{schema}/*.sql" for schema in _SCHEMAS),
    f"{_MIGRATIONS}/*.sql",
    f"{_MIGRATIONS}/*.py",
    "app/credits/*.py",
)
# What decides of calls of models besides, for results that are of these.
CALLS = ("db/functions/inference/*.sql", "app/inference/*.py")
# Whoever names a type for a column of its own touches nothing of theirs.
_ONE_OF = f"(?:{'|'.join(_SCHEMAS)})"
_TOUCHES = re.compile(
    rf"\b(?:schema\s+{_ONE_OF}\b|(?:type|domain)\s+{_ONE_OF}\."
    rf"|{_ONE_OF}\.(?!(?:microcredits|actor)\b)[a-z_])",
    re.IGNORECASE,
)
# Bodies between $$ are code, and their comments are comments.
_QUOTED = r"""('(?:[^']|'')*'|"(?:[^"]|"")*")"""
_SQL = re.compile(rf"{_QUOTED}|--[^\n]*|/\*.*?\*/", re.DOTALL)
_SQL_SPACE = re.compile(rf"{_QUOTED}|\s+")


def digests(root: Path = ROOT, patterns: Sequence[str] = _PATTERNS) -> dict[str, str]:
    """Return the digest of each text by its path."""
    return {
        str(path.relative_to(root)): digest(path.read_text(encoding="utf-8"), path.suffix)
        for pattern in patterns
        for path in sorted(root.glob(pattern))
        if not _is_beside(path)
    }


def digest(text: str, suffix: str) -> str:
    """Return what a text says to Postgres (`.sql`) or to Python, as a digest."""
    bare = _bare_sql(text) if suffix == ".sql" else _bare_python(text)
    return hashlib.sha256(bare.encode()).hexdigest()[:16]


def changed(
    since: Mapping[str, str], root: Path = ROOT, patterns: Sequence[str] = _PATTERNS
) -> list[str]:
    """Return the texts that are not as they were, that are new, and that are gone."""
    now = digests(root, patterns)
    return sorted(
        path
        for path in {*since, *now}
        if since.get(path) != now.get(path) and not _is_beside(root / path)
    )


def _is_beside(path: Path) -> bool:
    """Return whether it is a migration that touches nothing where credits are."""
    if path.parent.name != _MIGRATIONS.name or not path.exists():
        return False
    script = path.with_suffix(".sql")
    texts = [each.read_text(encoding="utf-8") for each in (path, script) if each.exists()]
    return not any(_TOUCHES.search(_bare_sql(text)) for text in texts)


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
