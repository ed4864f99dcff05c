"""What is generated and committed: the SDL, the manifest, the refusals, `.env.example`."""

from pathlib import Path
from typing import Any

import orjson
from graphql import get_operation_ast, parse
from pydantic_core import PydanticUndefined

from app.core.refusals import CATALOGUE
from app.settings import Settings


def export(folder: Path, *, check: bool = False) -> list[Path]:
    """Write what is stale and return it; with `check`, write nothing."""
    stale: list[Path] = []
    for path, text in _generated(folder).items():
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(path)
        if not check:
            path.write_text(text, encoding="utf-8")
    return stale


def _generated(folder: Path) -> dict[Path, str]:
    from schema.build import make_schema  # noqa: PLC0415  # heavy, and only here

    return {
        folder / "schema.graphql": make_schema().as_str() + "\n",
        folder / "documents.json": _documents(folder / "operations"),
        folder / "refusals.json": _refusals(),
        folder.parent / ".env.example": _environment(),
    }


def _documents(folder: Path) -> str:
    """Return the manifest of what servers trust, in the form that Apollo's tools read."""
    from schema.documents import digest_of  # noqa: PLC0415  # as above

    operations: list[dict[str, str]] = []
    for path in sorted(folder.glob("*.graphql")):
        text = path.read_text(encoding="utf-8")
        operation = get_operation_ast(parse(text))
        if operation is None or operation.name is None:
            raise ValueError(f"{path.name} is not one operation with a name")
        operations.append(
            {
                "id": digest_of(text),
                "name": operation.name.value,
                "type": operation.operation.value,
                "body": text,
            }
        )
    manifest = {
        "format": "apollo-persisted-query-manifest",
        "version": 1,
        "operations": operations,
    }
    return orjson.dumps(manifest, option=orjson.OPT_INDENT_2).decode() + "\n"


def _refusals() -> str:
    entries: dict[str, Any] = {
        entry.code: {
            "message": entry.message,
            "advice": entry.advice,
            "status": entry.status,
            "type": entry.type,
            "facts": dict(entry.facts),
        }
        for entry in CATALOGUE.values()
    }
    return orjson.dumps(entries, option=orjson.OPT_INDENT_2).decode() + "\n"


def _environment() -> str:
    lines = ["# Every setting with its default; made by `exchequer export-schema`.", ""]
    for name, field in Settings.model_fields.items():
        variable = str(field.validation_alias or f"EXCHEQUER_{name.upper()}")
        lines.append(f"# {field.description}")
        default = field.default
        shown = "" if default is None or default is PydanticUndefined else default
        lines.append(f"#{variable}={shown}")
        lines.append("")
    return "\n".join(lines)
