"""SQL functions, their files, their typed methods and their rights agree."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app.core.database import columns_of
from app.core.refusals import BY_SQLSTATE
from app.credits import rows
from db.apply import FUNCTIONS
from db.driver import Connection

ROOT = Path(__file__).parents[2]
SCHEMAS = ("core", "identity", "catalog", "credits", "usage", "events", "inference")

# Called by other functions and by triggers, never from outside.
INTERNAL = {
    "core.refuse",
    "catalog.refuse_change",
    "credits.refuse_ledger_change",
    "credits.settled_amounts",
    "events.emit",
    "usage.record",
}
# Building blocks without a caller in Python: functions use them to stamp rows.
BLOCKS = {"core.clock", "core.uuidv7"}


@dataclass(frozen=True)
class Function:
    name: str
    arguments: tuple[str, ...]
    columns: tuple[str, ...]
    definer: bool
    settings: tuple[str, ...]
    owner: str
    public: bool
    executable_by_app: bool
    volatility: str


@pytest.fixture
async def functions(admin: Connection) -> dict[str, Function]:
    found = await admin.fetch(
        """
        select
            n.nspname || '.' || p.proname as name,
            coalesce(p.proargnames, '{}') as names,
            p.proargmodes::text[] as modes,
            p.prosecdef as definer,
            coalesce(p.proconfig, '{}') as settings,
            pg_get_userbyid(p.proowner) as owner,
            exists (
                select from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) as a
                where a.grantee = 0 and a.privilege_type = 'EXECUTE'
            ) as public,
            has_function_privilege('exchequer_app', p.oid, 'execute') as executable_by_app,
            p.provolatile::text as volatility
        from pg_proc as p
        join pg_namespace as n on n.oid = p.pronamespace
        where n.nspname = any($1)
        """,
        list(SCHEMAS),
    )
    return {row["name"]: _function(row) for row in found}


def _function(row: Any) -> Function:
    modes = row["modes"] or ["i"] * len(row["names"])
    pairs = list(zip(row["names"], modes, strict=True))
    return Function(
        name=row["name"],
        arguments=tuple(name for name, mode in pairs if mode in "ibv"),
        columns=tuple(name for name, mode in pairs if mode in "tob"),
        definer=row["definer"],
        settings=tuple(row["settings"]),
        owner=row["owner"],
        public=row["public"],
        executable_by_app=row["executable_by_app"],
        volatility=row["volatility"],
    )


def _outside(functions: dict[str, Function]) -> dict[str, Function]:
    return {
        name: function
        for name, function in functions.items()
        if not name.partition(".")[2].startswith("_") and name not in INTERNAL
    }


@dataclass(frozen=True)
class Call:
    """A call of a SQL function in the source."""

    function: str
    arguments: tuple[str, ...]
    row: str | None
    where: str


def _calls() -> Iterator[Call]:
    """Find `call(Row, "a.function", p_b=...)`, the same after a name for its operation,
    and `select a.function(p_b => ...)`.
    """
    for path in sorted((ROOT / "app").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        where = str(path.relative_to(ROOT))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                named = node.func.attr in ("_move", "_decide", "_decide_many")
                called = named or node.func.attr in ("call", "call_one")
                if called and len(node.args) >= 2 + named:
                    row, function = node.args[named:][:2]
                    if isinstance(row, ast.Name) and isinstance(function, ast.Constant):
                        names = tuple(keyword.arg or "" for keyword in node.keywords)
                        yield Call(str(function.value), names, row.id, where)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                for match in re.finditer(r"select (\w+\.\w+)\(([^)]*)\)", node.value):
                    if match.group(1).partition(".")[0] in SCHEMAS:
                        names = tuple(re.findall(r"(p_\w+) =>", match.group(2)))
                        yield Call(match.group(1), names, None, where)


async def test_every_file_names_its_function(functions: dict[str, Function]) -> None:
    files = {
        f"{path.parent.name}.{path.stem}"
        for path in FUNCTIONS.rglob("*.sql")
        # A file of several checks that are shared.
        if path.stem != "_checks"
    }
    assert files - functions.keys() == set()


async def test_every_function_from_outside_has_its_file(functions: dict[str, Function]) -> None:
    files = {f"{path.parent.name}.{path.stem}" for path in FUNCTIONS.rglob("*.sql")}
    assert _outside(functions).keys() - files == set()


async def test_every_function_from_outside_has_exactly_one_method(
    functions: dict[str, Function],
) -> None:
    called = [call.function for call in _calls()]
    expected = sorted(_outside(functions).keys() - BLOCKS)
    # A function asked twice in one place (before and after catching up) is one method's.
    assert sorted(set(called)) == expected
    assert sorted(called) == expected


async def test_methods_pass_the_arguments_of_their_functions(
    functions: dict[str, Function],
) -> None:
    for call in _calls():
        allowed = functions[call.function].arguments
        # open_account and set_allowance leave some to their defaults; none is misspelt,
        # and they come in the function's order.
        assert [name for name in allowed if name in call.arguments] == list(call.arguments), call


async def test_rows_name_the_columns_of_their_functions(functions: dict[str, Function]) -> None:
    from app.billing import plans
    from app.catalog import edits
    from app.catalog import rows as catalog_rows
    from app.core import audit, idempotency
    from app.identity import identity
    from app.inference import rows as inference_rows

    places = (rows, audit, identity, idempotency, edits, plans, catalog_rows, inference_rows)
    for call in _calls():
        if call.row is None:
            continue
        [row] = [getattr(place, call.row) for place in places if hasattr(place, call.row)][:1]
        assert sorted(columns_of(row)) == sorted(functions[call.function].columns), call


async def test_requests_have_the_fields_of_their_types(admin: Connection) -> None:
    from app.inference import rows as inference_rows

    for request, type_name in (
        (rows.Actor, "credits.actor"),
        (rows.ReserveRequest, "credits.reserve_request"),
        (rows.ExtendRequest, "credits.extend_request"),
        (rows.SettleRequest, "credits.settle_request"),
        (rows.ReleaseRequest, "credits.release_request"),
        (inference_rows.OpenRequest, "inference.open_request"),
        (inference_rows.ExtendRequest, "inference.extend_request"),
        (inference_rows.CloseRequest, "inference.close_request"),
        (inference_rows.GiveBackRequest, "inference.give_back_request"),
    ):
        found = await admin.fetch(
            "select attname from pg_attribute"
            " where attrelid = $1::text::regclass and attnum > 0 order by attnum",
            type_name,
        )
        assert [row["attname"] for row in found] == list(request._fields)


async def test_search_paths_are_pinned(functions: dict[str, Function]) -> None:
    # One expression over built-in functions named in full needs none, and is inlined.
    inlined = {
        "core.clock",
        "core.uuidv7",
        "credits._unlimited_block",
        "credits._lifetime_limit",
        "credits._books_limit",
        "credits._balance",
        "credits._check_reserve",
        "credits._figures",
        "credits._level",
        "credits._low_mark",
        "credits._reserve_fingerprint",
        # Queries over tables named in full, planned within those of their callers.
        "credits._audit_read_extensions",
        "credits._audit_read_ledger",
        "credits._audit_read_reservations",
    }
    loose = [
        name
        for name, function in functions.items()
        if name not in inlined and "search_path=pg_catalog, pg_temp" not in function.settings
    ]
    assert loose == []


async def test_nothing_is_executable_by_everyone(functions: dict[str, Function]) -> None:
    assert [name for name, function in functions.items() if function.public] == []


async def test_the_application_can_execute_what_is_meant_for_it_and_nothing_else(
    functions: dict[str, Function],
) -> None:
    executable = {name for name, function in functions.items() if function.executable_by_app}
    assert executable == _outside(functions).keys()


async def test_functions_belong_to_a_role_that_cannot_log_in(
    admin: Connection, functions: dict[str, Function]
) -> None:
    assert {function.owner for function in functions.values()} == {"exchequer_owner"}
    assert not await admin.fetchval(
        "select rolcanlogin from pg_roles where rolname = 'exchequer_owner'"
    )


async def test_functions_that_write_bound_their_wait_for_a_lock(
    functions: dict[str, Function],
) -> None:
    unbounded = [
        name
        for name, function in _outside(functions).items()
        if function.volatility == "v"
        and function.definer
        and "lock_timeout=2s" not in function.settings
        and name not in {"core.idempotency_complete", "core.idempotency_clear"}
    ]
    assert unbounded == []


def test_headers_name_the_refusals_their_functions_raise() -> None:
    for path in sorted((FUNCTIONS / "credits").glob("[a-z]*.sql")):
        text = path.read_text(encoding="utf-8")
        header = re.match(r"(?:--[^\n]*\n)+", text)
        assert header is not None, path
        raised = set(re.findall(r"core\.refuse\('(\w{5})'", text[header.end() :]))
        assert raised <= BY_SQLSTATE.keys(), path
        assert raised <= set(re.findall(r"\b[A-Z0-9]{5}\b", header.group())), path


def test_function_files_lock_without_blocking_references() -> None:
    # FOR UPDATE with a foreign key to the row deadlocks; see credits._lock.
    for path in FUNCTIONS.rglob("*.sql"):
        text = re.sub(r"--[^\n]*", "", path.read_text(encoding="utf-8"))
        statements = re.findall(r"\bfor update\b(?! skip locked)", text)
        assert statements == [], path
