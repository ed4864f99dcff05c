"""A server whose models are those of a stand-in, and an organization that may call them."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from typing import Any

import asyncpg
import httpx
import orjson
import pytest
from openai import AsyncOpenAI

from app.core.database import Database, PoolLimits, prepare_connection
from app.credits import Credits
from app.seed import make_demo_key
from app.standin import StandIn
from app.standin.said import Said
from db.driver import Connection
from tests.conftest import Servers, cloned
from tests.support.accounts import Accounts
from tests.support.api import Api, serving, settings_for
from tests.support.model_calls import Calling


@dataclass
class Door:
    """`/v1`, and who comes through it."""

    client: httpx.AsyncClient
    standin: StandIn
    calling: Calling
    key: str
    _before: int

    @property
    def requests(self) -> int:
        """How often a provider was asked."""
        return self.standin.requests - self._before

    @property
    def official(self) -> AsyncOpenAI:
        """The official client: only the address and the key are ours."""
        return AsyncOpenAI(
            base_url=f"{str(self.client.base_url).rstrip('/')}/v1",
            api_key=self.key,
            organization=str(self.calling.account),
            default_headers={"X-Exchequer-Feature": "summary"},
            max_retries=0,
        )

    def headers(self, **more: str) -> dict[str, str]:
        """Return what a request comes with."""
        return {
            "Authorization": f"Bearer {self.key}",
            "OpenAI-Organization": str(self.calling.account),
            "X-Exchequer-Feature": "summary",
            **more,
        }

    def chat(self, said: str = "hello", user: str = "u", **more: Any) -> dict[str, Any]:
        """Return the body of a chat."""
        messages = [{"role": "user", "content": said}]
        return {"model": "small", "messages": messages, "user": user, "max_tokens": 400, **more}

    async def ask(
        self, said: str = "hello", user: str = "u", path: str = "/v1/chat/completions", **more: Any
    ) -> httpx.Response:
        """Ask for a whole answer."""
        return await self.client.post(
            path, json=self.chat(said, user, **more), headers=self.headers()
        )

    async def stream(self, said: str = "hello", user: str = "u", **more: Any) -> list[Any]:
        """Return the data of each event of a stream, read to its end."""
        body = self.chat(said, user, stream=True, **more)
        async with self.client.stream(
            "POST", "/v1/chat/completions", json=body, headers=self.headers()
        ) as response:
            assert response.status_code == 200, await response.aread()
            lines = [line async for line in response.aiter_lines()]
        told = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
        return [each if each == "[DONE]" else orjson.loads(each) for each in told]

    # What came of it.

    def truth(self, user: str = "u") -> Said:
        """Return what the stand-in really read and wrote."""
        return self.standin.said[user]

    def cost(self, user: str = "u") -> int:
        """Return what that costs: a credit for a token read, four for one written."""
        said = self.truth(user)
        exact = (said.read - said.cached) * 1_000_000 + said.cached * 100_000
        return -(-(exact + said.written * 4_000_000) // 250_000) * 250_000

    async def calls(self) -> list[dict[str, Any]]:
        """Return all calls of the project, those that began first first."""
        rows = await self.calling.admin.fetch(
            "select * from inference.calls where project_id = $1 order by id",
            self.calling.project,
        )
        return [dict(row) for row in rows]

    async def call(self) -> dict[str, Any]:
        """Return the only call."""
        [call] = await self.calls()
        return call

    async def charged(self) -> int:
        """Return what the ledger took for usage, of the one organization."""
        charged: int = await self.calling.admin.fetchval(
            "select coalesce(sum(credits), 0)::bigint from usage.records where account_id = $1",
            self.calling.account,
        )
        return charged

    async def reserved(self) -> int:
        """Return what is still held."""
        reserved: int = await self.calling.admin.fetchval(
            "select reserved from credits.accounts where account_id = $1", self.calling.account
        )
        return reserved


@pytest.fixture(scope="module")
async def database_name(servers: Servers, template: str) -> AsyncIterator[str]:
    """Return the name of a fresh database, dropped after the file."""
    async with cloned(servers, template) as name:
        yield name


@pytest.fixture(scope="module")
async def admin(servers: Servers, database_name: str) -> AsyncIterator[Connection]:
    """A superuser's connection, to look at what no role of the application may change."""
    connection = await asyncpg.connect(servers.admin_url(database_name))
    await prepare_connection(connection)
    yield connection
    await connection.close()


@pytest.fixture(scope="module")
async def database(servers: Servers, database_name: str) -> AsyncIterator[Database]:
    """A pool of the tests' own, under the application's role."""
    limits = PoolLimits(min_size=1, max_size=5, idle_seconds=600)
    opened = await Database.connect(servers.app_url(database_name), limits)
    yield opened
    await opened.close()


@pytest.fixture(scope="module")
async def accounts(database: Database, admin: Connection) -> AsyncIterator[Accounts]:
    """Make accounts, and look at them. Whatever the tests did, the audit must be clean."""
    yield Accounts(database, admin)
    assert await Credits(database).audit() == []


@pytest.fixture(scope="module")
async def standin() -> AsyncIterator[StandIn]:
    """Stands in for all providers."""
    answering = StandIn()
    await answering.start()
    yield answering
    await answering.stop()


@pytest.fixture(scope="module")
def providers(standin: StandIn) -> dict[str, dict[str, str]]:
    """Return who can be asked."""
    return {"openai": {"api_key": standin.key, "base_url": standin.base_url}}


Serving = Callable[..., AbstractAsyncContextManager[Api]]


@pytest.fixture(scope="module")
def serve(servers: Servers, database_name: str, providers: dict[str, Any]) -> Serving:
    """Return what starts a server, with settings that are other than they are."""

    def started(**changed: Any) -> AbstractAsyncContextManager[Api]:
        url = servers.app_url(database_name)
        own = {"providers": providers, "catalog_recheck_seconds": 0, **changed}
        return serving(settings_for(url, servers.redis, **own))

    return started


@pytest.fixture(scope="module")
async def site(serve: Serving) -> AsyncIterator[Api]:
    """The running server."""
    async with serve() as served:
        yield served


@pytest.fixture
def changed() -> dict[str, Any]:
    """Return settings that are other than they are; a test's own come by parametrization."""
    return {}


@pytest.fixture
async def door(
    site: Api,
    serve: Serving,
    database: Database,
    calling: Calling,
    standin: StandIn,
    changed: dict[str, Any],
) -> AsyncIterator[Door]:
    key = await make_demo_key(database, calling.project)
    before = standin.requests
    standin.said.clear()
    async with AsyncExitStack() as started:
        api = await started.enter_async_context(serve(**changed)) if changed else site
        yield Door(api.http, standin, calling, key, before)
