"""Rules of the tree that can fail."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import schema
from app.core.refusals import CATALOGUE
from app.export import export
from schema.refusals import TYPES

ROOT = Path(__file__).parents[2]
LINES = 400


def _tracked(*suffixes: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    return [ROOT / name for name in listed if name.endswith(suffixes) and (ROOT / name).exists()]


def _python() -> list[Path]:
    return _tracked(".py")


def test_files_stay_short() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in _tracked(".py", ".sql")
        if "migrations/versions" not in str(path)
        and (lines := len(path.read_text(encoding="utf-8").splitlines())) > LINES
    }
    assert long == {}


def test_import_contracts_hold() -> None:
    done = subprocess.run(  # noqa: S603  # our own tool
        [Path(sys.executable).with_name("lint-imports"), "--no-logo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_schema_is_ours() -> None:
    # A validation library of the same import name must not come before it.
    assert Path(schema.__file__ or "").parent == ROOT / "schema"


def test_generated_files_are_fresh() -> None:
    assert export(ROOT / "frontend-contract", check=True) == []


def test_refusals_are_the_same_in_python_graphql_and_contract() -> None:
    published = json.loads((ROOT / "frontend-contract" / "refusals.json").read_text("utf-8"))
    assert published.keys() == CATALOGUE.keys()
    assert {code for code, entry in CATALOGUE.items() if entry.type} == TYPES.keys()
    for code, type_ in TYPES.items():
        own = {
            field.name
            for field in type_.__strawberry_definition__.fields  # type: ignore[attr-defined]
        } - {"code", "message"}
        facts = {
            re.sub(r"([A-Z])", lambda m: "_" + m.group(1).lower(), fact)
            for fact in CATALOGUE[code].facts
        }
        assert own == facts, code


def test_outcomes_and_sqlstates_of_sql_stand_in_the_catalogue() -> None:
    text = "".join(path.read_text("utf-8") for path in (ROOT / "db" / "functions").rglob("*.sql"))
    outcomes = set(re.findall(r"outcome := '([A-Z_]+)'", text)) - {"OK"}
    assert outcomes
    assert outcomes <= CATALOGUE.keys()
    sqlstates = {entry.sqlstate for entry in CATALOGUE.values()} - {None}
    assert set(re.findall(r"refuse\('(\w{5})'", text)) <= sqlstates


def test_own_sqlstates_keep_out_of_the_standards_range() -> None:
    own = {e.sqlstate for e in CATALOGUE.values() if e.sqlstate and e.code != "BUSY"}
    assert all(re.fullmatch(r"[I-Z][A-Z0-9]{4}", state or "") for state in own)


# What a leaf raises it raises again where the library reads it, who tells it with its place.
TOLD_BY_ANOTHER = frozenset({"schema/execution.py"})


def test_no_exception_is_swallowed() -> None:
    swallowed = []
    for path in _python():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ExceptHandler):
                continue
            broad = node.type is None or (
                isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException")
            )
            if path.relative_to(ROOT).as_posix() in TOLD_BY_ANOTHER:
                continue
            silent = all(isinstance(statement, ast.Pass) for statement in node.body)
            if silent or (broad and not _speaks(node)):
                swallowed.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert swallowed == []


def _speaks(handler: ast.ExceptHandler) -> bool:
    """Say whether a handler logs, raises, or hands the exception on."""
    return any(
        isinstance(node, ast.Raise)
        or (
            isinstance(node, ast.Call)
            and any(
                isinstance(keyword.value, ast.Name) and keyword.value.id == handler.name
                for keyword in node.keywords
            )
        )
        or (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in ("exception", "error", "warning", "set_exception")
        )
        for node in ast.walk(handler)
    )


def test_nothing_waits_in_a_way_that_swallows_cancellation() -> None:
    # Before Python 3.12, asyncio.wait_for may return a result and drop the cancellation
    # that came at that moment: a task that was told to stop runs on. asyncio.timeout does not.
    found = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "app").rglob("*.py"))
        if "wait_for(" in path.read_text(encoding="utf-8")
    ]
    assert found == []


def test_no_address_of_a_package_registry_is_committed() -> None:
    registries = re.compile(r"(pypi\.org|pythonhosted|registry\.npmjs|npmmirror|\"resolved\":)")
    named = [
        str(path.relative_to(ROOT))
        for path in _tracked(".txt", ".toml", ".json", ".lock", ".cfg", "Makefile", "Dockerfile")
        if registries.search(path.read_text(encoding="utf-8", errors="replace"))
    ]
    assert named == []


@pytest.mark.parametrize("word", ["TODO", "FIXME", "XXX", "NotImplementedError"])
def test_nothing_is_left_for_later(word: str) -> None:
    here = Path(__file__)
    left = [
        str(path.relative_to(ROOT))
        for path in _tracked(".py", ".sql", ".graphql")
        if path != here and word in path.read_text(encoding="utf-8")
    ]
    assert left == []


def test_every_function_from_outside_has_its_tests() -> None:
    tests = "".join(path.read_text("utf-8") for path in (ROOT / "tests" / "functions").glob("*.py"))
    untested = [
        f"{path.parent.name}.{path.stem}"
        for path in (ROOT / "db" / "functions").rglob("*.sql")
        if "grant execute" in path.read_text("utf-8")
        # Called as its domain's method, or by its own name.
        and not re.search(
            rf'\.{path.stem}(_set)?\(|"{path.stem}"|{path.parent.name}\.{path.stem}\b', tests
        )
    ]
    assert untested == []
