"""Health for balancers, metrics for Prometheus: with everything up, and with parts gone."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import Servers, cloned
from tests.support.api import Api, serving, settings_for, unique
from tests.support.callers import Caller

READY = ["/health", "/healthz", "/health/ready", "/ready"]
LIVE = ["/health/live", "/live"]
# Nobody listens there.
NOWHERE = "redis://127.0.0.1:1/0"


@pytest.fixture(autouse=True)
def asked_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known is never good for long, unless a test says so."""
    monkeypatch.setattr("app.health._KNOWN_SECONDS", 0)


@asynccontextmanager
async def alone(
    servers: Servers, template: str, redis: str | None = None
) -> AsyncIterator[tuple[Api, asyncpg.Connection, str]]:
    """Serve from a database that the test may break, with a superuser elsewhere."""
    async with cloned(servers, template) as name:
        superuser = await asyncpg.connect(servers.postgres)
        settings = settings_for(servers.app_url(name), redis or servers.redis)
        try:
            async with serving(settings) as api:
                yield api, superuser, name
        finally:
            await superuser.close()


@pytest.mark.parametrize("path", READY)
async def test_a_server_is_ready_with_everything_up(path: str, site: Api) -> None:
    response = await site.http.get(path)
    assert response.status_code == 200
    assert response.json() == {"status": "ok", "postgres": "up", "redis": "up"}


@pytest.mark.parametrize("path", LIVE)
async def test_a_server_that_answers_is_alive(path: str, site: Api) -> None:
    response = await site.http.get(path)
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


async def test_without_redis_a_server_serves_and_says_so(servers: Servers, template: str) -> None:
    async with alone(servers, template, NOWHERE) as (api, _, _):
        for path in READY:
            response = await api.http.get(path)
            assert response.status_code == 200
            assert response.json() == {"status": "degraded", "postgres": "up", "redis": "down"}
        # Credits do not need it.
        request = {"slug": "p", "name": "x", "idempotencyKey": unique()}
        assert (await api.run("createProject", {"input": request})).code == "OK"


async def test_however_many_ask_postgres_is_asked_once(
    site: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    probe = site.database.probe

    async def count(statement: str) -> None:
        nonlocal asked
        asked += 1
        await probe(statement)

    monkeypatch.setattr(site.database, "probe", count)
    monkeypatch.setattr("app.health._KNOWN_SECONDS", 600)
    answers = await asyncio.gather(*(site.http.get(READY[n % 4]) for n in range(200)))
    assert {answer.status_code for answer in answers} == {200}
    assert asked == 1


async def turn_away(connection: asyncpg.Connection, name: str) -> None:
    """Let no new connection in; those that are there go on."""
    await connection.execute(f'alter database "{name}" with allow_connections false')


@pytest.mark.parametrize("missing", [False, True])
async def test_without_postgres_a_server_is_alive_and_not_ready(
    missing: bool,  # noqa: FBT001
    servers: Servers,
    template: str,
) -> None:
    async with alone(servers, template) as (api, superuser, name):
        await turn_away(superuser, name)
        if missing:
            await superuser.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1", name
            )
            await superuser.execute(f'alter database "{name}" rename to "{name}_gone"')
        for path in READY:
            response = await api.http.get(path)
            assert response.status_code == 503
            assert response.json() == {"status": "unavailable", "postgres": "down", "redis": "up"}
        for path in LIVE:
            assert (await api.http.get(path)).status_code == 200
        if missing:
            await superuser.execute(f'alter database "{name}_gone" rename to "{name}"')
        await superuser.execute(f'alter database "{name}" with allow_connections true')
        assert (await api.http.get("/health")).json()["status"] == "ok"


async def test_where_no_one_listens_a_server_is_not_ready(
    servers: Servers, template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with alone(servers, template) as (api, _, _):
        monkeypatch.setattr(api.database, "_url", "postgresql://a:b@127.0.0.1:1/x")
        response = await api.http.get("/health")
        assert (response.status_code, response.json()["postgres"]) == (503, "down")


async def test_without_its_functions_a_server_is_not_ready(servers: Servers, template: str) -> None:
    async with alone(servers, template) as (api, _, name):
        inside = await asyncpg.connect(servers.admin_url(name))
        try:
            await inside.execute("drop function credits.check_balance")
        finally:
            await inside.close()
        response = await api.http.get("/health")
        assert (response.status_code, response.json()["postgres"]) == (503, "down")


# Metrics.


async def scrape(api: Api) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return every sample by its name and labels."""
    response = await api.http.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


async def test_metrics_count_what_was_done(site: Api) -> None:
    request = {"slug": unique("p"), "name": "x", "idempotencyKey": unique()}
    project = (await site.run("createProject", {"input": request})).result["project"]["id"]
    request = {"projectId": project, "name": "x", "idempotencyKey": unique()}
    made = await site.run("createOrganization", {"input": request})
    organization = made.result["organization"]["id"]

    def asking(**fields: str) -> dict[str, dict[str, str]]:
        return {"input": {"organizationId": organization, "idempotencyKey": unique(), **fields}}

    before = await scrape(site)
    grant = asking(amount="5")
    await site.run("grantCredits", grant)
    await site.run("grantCredits", grant)
    await site.run("reserveCredits", asking(amount="1"))
    await site.run("reserveCredits", asking(amount="9"))
    await site.run("deductCredits", asking(amount="1"))
    await site.http.get("/nothing")
    await site.http.get("/nothing/else")
    after = await scrape(site)

    def risen(name: str, **labels: str) -> float:
        return after[key(name, **labels)] - before.get(key(name, **labels), 0.0)

    operations = "exchequer_credit_operations_total"
    assert risen(operations, operation="grant", outcome="ok") == 1
    assert risen(operations, operation="grant", outcome="replayed") == 1
    assert risen(operations, operation="reserve", outcome="ok") == 1
    assert risen(operations, operation="reserve", outcome="insufficient_credits") == 1
    assert risen(operations, operation="deduct", outcome="ok") == 1
    assert risen("exchequer_database_seconds_count", function="credits.reserve") == 2
    assert risen("exchequer_database_seconds_count", function="credits.issue_grant") == 2
    assert risen("exchequer_requests_total", path="/graphql", status="200") == 5
    # Paths that anybody can make up are one series.
    assert risen("exchequer_requests_total", path="other", status="404") == 2
    assert risen("exchequer_open_reservations") == 1
    assert after[key("exchequer_pool_connections", state="open")] >= 1
    assert not any("nothing" in str(labels) for _, labels in after)


async def test_metrics_name_their_series(site: Api) -> None:
    names = {name for name, _ in await scrape(site)}
    assert {
        "exchequer_credit_operations_total",
        "exchequer_database_seconds_bucket",
        "exchequer_database_seconds_count",
        "exchequer_database_seconds_sum",
        "exchequer_open_reservations",
        "exchequer_pool_connections",
        "exchequer_publish_failures_total",
        "exchequer_requests_total",
        "process_resident_memory_bytes",
    } <= names


async def test_metrics_are_served_without_postgres(servers: Servers, template: str) -> None:
    async with alone(servers, template) as (api, _, _):
        await api.database.close()
        samples = await scrape(api)
        assert math.isnan(samples[key("exchequer_open_reservations")])


async def test_health_and_metrics_ask_for_no_key_and_look_at_none(site: Api) -> None:
    for path in [*READY, *LIVE, "/metrics"]:
        for headers in ({}, {"authorization": "Bearer x"}, site.headers(Caller.ADMIN)):
            assert (await site.http.get(path, headers=headers)).status_code == 200
