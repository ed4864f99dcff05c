"""Origins of projects: which pages are let in, and with whose keys."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest
import structlog

from app.core.database import Database, Unavailable
from app.core.refusals import Refusal
from app.identity import Identity
from app.identity.origins import Origins, normal_origin
from app.identity.viewer import ADMIN, ANONYMOUS, Viewer, ViewerKind
from db.driver import Connection
from tests.conftest import Servers, cloned
from tests.graphql.requests import everything
from tests.support.accounts import Accounts
from tests.support.api import Api, serving, settings_for, unique
from tests.support.callers import Caller, Tenants, make_tenants
from tests.support.live import until

NAMED = "https://console.example"
OURS = "https://ours.example"
THEIRS = "https://theirs.example"
EVIL = "https://evil.example"
SOON = 0.05
OURS_KEYS = (Caller.ORGANIZATION, Caller.PROJECT, Caller.PROJECT_GRANTS, Caller.PROJECT_KEYS)
NAMES = {"query": "{ organizations { nodes { id } } }"}
DEDUCT = """
mutation ($input: DeductCreditsInput!) { deductCredits(input: $input) { __typename } }
"""


@pytest.fixture
async def database_name(servers: Servers, template: str) -> AsyncIterator[str]:
    """A database for each test: what one allows is allowed for all who share it."""
    async with cloned(servers, template) as name:
        yield name


@pytest.fixture
async def tenants(admin: Connection, accounts: Accounts, database: Database) -> Tenants:
    """Two projects, each with a page of its own."""
    made = await make_tenants(admin, accounts)
    identity = Identity(database)
    await identity.set_allowed_origins(made.project, [OURS])
    await identity.set_allowed_origins(made.elsewhere, [THEIRS])
    return made


@pytest.fixture
async def api(servers: Servers, database_name: str, tenants: Tenants) -> AsyncIterator[Api]:
    """A server in production that looks for new origins all the time."""
    settings = settings_for(
        servers.app_url(database_name),
        servers.redis,
        environment="production",
        allowed_origins=[NAMED],
        origins_seconds=SOON,
    )
    async with serving(settings) as served:
        yield replace(served, keys=tenants.keys)


@pytest.fixture
def lines() -> Iterator[list[Any]]:
    """What was logged."""
    with structlog.testing.capture_logs() as written:
        yield written


async def preflight(api: Api, origin: str) -> httpx.Response:
    headers = {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
    }
    return await api.http.options("/graphql", headers=headers)


async def ask(api: Api, caller: Caller, origin: str, body: Any = NAMES) -> httpx.Response:
    headers = api.headers(caller, origin=origin)
    return await api.http.post("/graphql", json=body, headers=headers)


def outcome(response: httpx.Response) -> tuple[int, str]:
    errors = response.json().get("errors")
    return response.status_code, errors[0]["extensions"]["code"] if errors else "OK"


async def is_let_in(api: Api, origin: str) -> bool:
    answered = await preflight(api, origin)
    told = answered.headers.get("access-control-allow-origin")
    assert (answered.status_code, told) in ((200, origin), (400, None))
    return answered.status_code == 200


# Whom a browser is told to let in: it asks before anybody has a key.


async def test_a_page_of_any_project_may_ask_and_read(api: Api) -> None:
    for origin in (NAMED, OURS, THEIRS):
        asked = await preflight(api, origin)
        assert (asked.status_code, asked.text) == (200, "OK")
        assert asked.headers["access-control-allow-origin"] == origin
        assert asked.headers["access-control-allow-methods"] == "GET, POST"
        assert asked.headers["access-control-max-age"] == "86400"
        assert "authorization" in asked.headers["access-control-allow-headers"]
        assert asked.headers["vary"].split(", ")[0] == "Origin"
        answered = await ask(api, Caller.ANONYMOUS, origin, {"query": "{ __typename }"})
        assert answered.json()["data"] == {"__typename": "Query"}
        assert answered.headers["access-control-allow-origin"] == origin
        assert "x-request-id" in answered.headers["access-control-expose-headers"]
        assert answered.headers["vary"] == "Origin"
        assert "access-control-allow-credentials" not in answered.headers


@pytest.mark.parametrize(
    "origin", [EVIL, "null", "", "http://ours.example", f"{OURS}:444", f"{OURS}.evil.example", "*"]
)
async def test_a_page_of_nobody_may_neither(origin: str, api: Api) -> None:
    asked = await preflight(api, origin)
    assert (asked.status_code, asked.text) == (400, "Disallowed CORS origin")
    assert "access-control-allow-origin" not in asked.headers
    answered = await ask(api, Caller.ANONYMOUS, origin, {"query": "{ __typename }"})
    assert "access-control-allow-origin" not in answered.headers
    # What is kept for one page must not be shown to another.
    assert answered.headers["vary"] == "Origin"


async def test_an_edit_is_seen_by_a_server_that_runs(api: Api, tenants: Tenants) -> None:
    async def allow(*origins: str) -> None:
        asked = {"input": {"projectId": str(tenants.project), "allowedOrigins": origins}}
        answered = await api.run("updateProjectSettings", asked, Caller.PROJECT_KEYS)
        assert answered.result["__typename"] == "UpdateProjectSettingsSuccess"

    async def new_is_let_in() -> bool:
        return await is_let_in(api, "https://new.example")

    async def new_is_shut_out() -> bool:
        return not await new_is_let_in()

    assert await new_is_shut_out()
    await allow("https://new.example")
    await until(new_is_let_in, "the new origin")
    assert not await is_let_in(api, OURS)
    assert outcome(await ask(api, Caller.PROJECT, "https://new.example")) == (200, "OK")
    assert outcome(await ask(api, Caller.PROJECT, OURS)) == (403, "FORBIDDEN")
    await allow()
    await until(new_is_shut_out, "the end of the new origin")
    assert outcome(await ask(api, Caller.PROJECT, "https://new.example")) == (403, "FORBIDDEN")
    # The others are where they were.
    assert await is_let_in(api, THEIRS)
    assert await is_let_in(api, NAMED)


async def test_without_postgres_what_was_known_goes_on_until_it_is_back(
    servers: Servers, database_name: str, tenants: Tenants, lines: list[Any]
) -> None:
    settings = settings_for(
        servers.app_url(database_name), servers.redis, origins_seconds=SOON, key_cache_seconds=60
    )
    nothing = {"query": "{ __typename }"}
    superuser = await asyncpg.connect(servers.postgres)

    async def let_in(*, them: bool) -> None:
        await superuser.execute(f'alter database "{database_name}" allow_connections {them}')

    def failures() -> int:
        return sum(line["event"].startswith("origins.") for line in lines)

    async with serving(settings) as served:
        api = replace(served, keys=tenants.keys)

        async def is_shut_out() -> bool:
            return not await is_let_in(api, OURS)

        # Who a key is was asked for before; so what is asked is of origins alone.
        assert outcome(await ask(api, Caller.PROJECT, OURS, nothing)) == (200, "OK")
        assert failures() == 0
        await let_in(them=False)
        await superuser.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1",
            database_name,
        )
        await until(lambda: failures() >= 3, "three readings in vain")
        for origin, known in ((OURS, True), (THEIRS, True), (EVIL, False)):
            assert await is_let_in(api, origin) is known
        assert outcome(await ask(api, Caller.PROJECT, OURS, nothing)) == (200, "OK")
        assert outcome(await ask(api, Caller.PROJECT, THEIRS, nothing)) == (403, "FORBIDDEN")
        await let_in(them=True)
        asked = {"input": {"projectId": str(tenants.project), "allowedOrigins": []}}
        assert (await api.run("updateProjectSettings", asked)).code == "OK"
        await until(is_shut_out, "the end of an origin, once Postgres is back")
        assert outcome(await ask(api, Caller.PROJECT, OURS, nothing)) == (403, "FORBIDDEN")
    await superuser.close()


async def test_no_fault_ends_the_reading_or_forgets_what_was_known(
    api: Api, lines: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    faults: list[Exception] = [Unavailable("gone"), Refusal("BUSY"), RuntimeError("a fault")]
    asked = 0

    async def fail(_self: Identity, _limit: int) -> list[tuple[UUID, list[str]]]:
        nonlocal asked
        asked += 1
        raise faults[asked % 3]

    monkeypatch.setattr(Identity, "allowed_origins", fail)
    await until(lambda: asked > 3, "each fault")
    for origin, known in ((NAMED, True), (OURS, True), (THEIRS, True), (EVIL, False)):
        assert await is_let_in(api, origin) is known
    assert outcome(await ask(api, Caller.PROJECT, OURS)) == (200, "OK")
    assert outcome(await ask(api, Caller.PROJECT, THEIRS)) == (403, "FORBIDDEN")
    told = {line["event"]: line["log_level"] for line in lines if "origins" in line["event"]}
    assert told == {"origins.not_read": "warning", "origins.failed": "error"}


async def test_postgres_is_not_asked_for_each_request(
    servers: Servers, database_name: str, tenants: Tenants, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    read = Identity.allowed_origins

    async def count(self: Identity, limit: int) -> list[tuple[UUID, list[str]]]:
        nonlocal asked
        asked += 1
        return await read(self, limit)

    monkeypatch.setattr(Identity, "allowed_origins", count)
    settings = settings_for(servers.app_url(database_name), servers.redis)
    async with serving(settings) as served:
        api = replace(served, keys=tenants.keys)
        for _ in range(20):
            assert await is_let_in(api, OURS)
            assert outcome(await ask(api, Caller.PROJECT, OURS)) == (200, "OK")
    assert asked == 1


# Whose keys a page may use.


async def test_a_page_of_a_project_may_use_its_keys_and_no_others(api: Api) -> None:
    for caller in (*OURS_KEYS, Caller.SIBLING):
        assert outcome(await ask(api, caller, OURS)) == (200, "OK"), caller
        for origin in (THEIRS, EVIL, "null", "", f"{OURS}, {OURS}"):
            assert outcome(await ask(api, caller, origin)) == (403, "FORBIDDEN"), (caller, origin)
    assert outcome(await ask(api, Caller.ELSEWHERE, THEIRS)) == (200, "OK")
    assert outcome(await ask(api, Caller.ELSEWHERE, OURS)) == (403, "FORBIDDEN")


async def test_a_page_of_the_setting_or_of_this_server_and_a_back_end_may_use_any(api: Api) -> None:
    for caller in (*OURS_KEYS, Caller.ELSEWHERE, Caller.ADMIN):
        for origin in (NAMED, api.url, api.url.replace("http:", "https:")):
            assert outcome(await ask(api, caller, origin)) == (200, "OK"), (caller, origin)
        response = await api.http.post("/graphql", json=NAMES, headers=api.headers(caller))
        assert outcome(response) == (200, "OK")


async def test_who_has_no_key_of_a_project_is_answered_as_before(api: Api) -> None:
    for origin in (OURS, THEIRS, EVIL):
        assert outcome(await ask(api, Caller.ADMIN, origin)) == (200, "OK")
        assert outcome(await ask(api, Caller.ANONYMOUS, origin)) == (200, "UNAUTHENTICATED")
        assert outcome(await ask(api, Caller.REVOKED, origin)) == (401, "UNAUTHENTICATED")


@pytest.mark.parametrize("way", ["json", "graphql", "events", "get"])
async def test_a_foreign_page_moves_nothing_and_may_read_why(
    way: str, api: Api, tenants: Tenants, admin: Connection
) -> None:
    account = str(tenants.organization)
    asked = {"organizationId": account, "amount": "1", "idempotencyKey": unique()}
    body = {"query": DEDUCT, "variables": {"input": asked}}
    accept = {"graphql": "application/graphql-response+json", "events": "text/event-stream"}
    headers = api.headers(Caller.PROJECT, origin=THEIRS, accept=accept.get(way, "*/*"))
    before = await everything(admin)
    if way == "get":
        response = await api.http.get("/graphql", params=NAMES, headers=headers)
    else:
        response = await api.http.post("/graphql", json=body, headers=headers)
    assert await everything(admin) == before
    [error] = response.json()["errors"]
    assert (response.status_code, response.json().keys()) == (403, {"errors"})
    assert error["extensions"] == {
        "code": "FORBIDDEN",
        "operation": "key.use",
        "requestId": response.headers["x-request-id"],
    }
    assert "Its project does not allow the origin of this page." in error["message"]
    assert response.headers["access-control-allow-origin"] == THEIRS
    # The same from its own page.
    headers["origin"] = OURS
    if way not in ("get", "events"):
        done = (await api.http.post("/graphql", json=body, headers=headers)).json()
        assert done["data"] == {"deductCredits": {"__typename": "DeductCreditsSuccess"}}


# What a process knows.


def test_origins_become_what_browsers_send() -> None:
    assert {text: normal_origin(text) for text in ("HTTPS://App.Example:443", "http://a:080")} == {
        "HTTPS://App.Example:443": "https://app.example",
        "http://a:080": "http://a",
    }
    assert normal_origin("http://[0:0::1]:8080") == "http://[::1]:8080"
    assert normal_origin("https://a:80") == "https://a:80"


async def test_no_more_projects_are_known_than_there_is_room_for(
    database: Database,
    tenants: Tenants,
    lines: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.identity.origins._PROJECTS", 1)
    origins = Origins(Identity(database), [NAMED, "https://Shout.example:443"], seconds=600)
    ours = Viewer(ViewerKind.PROJECT_KEY, project_id=tenants.project)
    theirs = Viewer(ViewerKind.PROJECT_KEY, project_id=tenants.elsewhere)
    assert [origins.allow(each) for each in (NAMED, OURS, THEIRS)] == [True, False, False]
    await origins.start()
    await origins.stop()
    assert [origins.allow(each) for each in (NAMED, OURS, THEIRS)] == [True, True, False]
    assert origins.are_named("https://shout.example")
    for viewer in (ours, ADMIN, ANONYMOUS):
        origins.check(viewer, OURS)
    for viewer, origin in ((theirs, THEIRS), (theirs, OURS), (ours, THEIRS)):
        with pytest.raises(Refusal) as refusal:
            origins.check(viewer, origin)
        facts = (refusal.value.code, dict(refusal.value.facts))
        assert facts == ("FORBIDDEN", {"operation": "key.use"})
    [line] = lines
    assert (line["event"], line["limit"]) == ("origins.too_many_projects", 1)
