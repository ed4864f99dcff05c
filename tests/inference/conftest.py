"""A server whose models are those of a stand-in, and an organization that may call them."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import orjson
import pytest
from openai import AsyncOpenAI

from app.core.database import Database
from app.seed import make_demo_key
from app.standin import StandIn
from app.standin.said import Said
from tests.conftest import Servers
from tests.support.api import serving, settings_for
from tests.support.model_calls import Calling


@dataclass
class Door:
    """`/v1`, and who comes through it."""

    client: httpx.AsyncClient
    standin: StandIn
    calling: Calling
    key: str
    _numbers: int = 0

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
        told = [line.removeprefix("data: ") for line in lines if line]
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
        """Return all calls, those that began first first."""
        rows = await self.calling.admin.fetch("select * from inference.calls order by id")
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


@pytest.fixture
async def standin() -> AsyncIterator[StandIn]:
    standin = StandIn()
    await standin.start()
    try:
        yield standin
    finally:
        await standin.stop()


@pytest.fixture
def changed() -> dict[str, Any]:
    """Return settings that are other than they are; a test's own come by parametrization."""
    return {}


@pytest.fixture
def providers(standin: StandIn) -> dict[str, dict[str, str]]:
    """Return who can be asked."""
    return {"openai": {"api_key": standin.key, "base_url": standin.base_url}}


@pytest.fixture
async def door(
    servers: Servers,
    database_name: str,
    database: Database,
    calling: Calling,
    standin: StandIn,
    providers: dict[str, dict[str, str]],
    changed: dict[str, Any],
) -> AsyncIterator[Door]:
    settings = settings_for(
        servers.app_url(database_name),
        servers.redis,
        providers=providers,
        catalog_recheck_seconds=0,
        **changed,
    )
    key = await make_demo_key(database, calling.project)
    async with serving(settings) as api:
        yield Door(api.http, standin, calling, key)
