"""A stand-in for providers, an API process that asks it, and organizations that pay."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

from app.catalog import Catalog
from app.catalog.edits import FeatureTerms, ModelTerms, PlanFeatureTerms, PlanTerms, PriceTerms
from app.core.database import Database
from app.standin import StandIn
from app.standin.said import Said
from db.driver import Connection
from tests.proof.ground import Ground
from tests.support.accounts import CREDIT, Accounts
from tests.support.processes import ADMIN_KEY, ApiProcess

MODEL = "said"
# In billionths of a dollar for a million tokens: a token read is half a credit, one from a cache a
# quarter, one written two.
READ, CACHED, WRITTEN = 500_000_000_000, 250_000_000_000, 2_000_000_000_000
_INCREMENT = 250_000


@dataclass
class World:
    """What a proof of calls has."""

    standin: StandIn
    api: ApiProcess
    admin: Connection
    database: Database
    accounts: Accounts
    project: UUID

    async def organization(self, credits: int) -> UUID:
        """Return one that has so many credits."""
        return await self.accounts.open(credits, project_id=self.project)

    def headers(self, organization: UUID, key: str) -> dict[str, str]:
        """Return what a request comes with."""
        return {
            "Authorization": f"Bearer {ADMIN_KEY}",
            "X-Exchequer-Organization": str(organization),
            "Idempotency-Key": key,
        }


def body(key: str, said: str, *, stream: bool, most: int = 400) -> dict[str, object]:
    """Return what is asked; the stand-in keeps the truth under the key."""
    return {
        "model": MODEL,
        "messages": [{"role": "user", "content": said}],
        "user": key,
        "stream": stream,
        "max_tokens": most,
    }


def cost(read: int, cached: int, written: int) -> int:
    """Return what tokens cost in micro-credits, by the rules and not by the functions."""
    exact = (read - cached) * CREDIT // 2 + cached * CREDIT // 4 + written * 2 * CREDIT
    return max(-(-exact // _INCREMENT) * _INCREMENT, _INCREMENT if exact else 0)


def cost_of(said: Said) -> int:
    """Return what an answer cost in truth."""
    return cost(said.read, said.cached, said.written)


@asynccontextmanager
async def world(
    on: Ground, *, broken: str = "", stops: bool = True, **settings: str
) -> AsyncIterator[World]:
    """Open it: one process that serves; `broken`: statements that break the functions."""
    standin = StandIn()
    await standin.start()
    providers = {MODEL: {"api_key": standin.key, "base_url": standin.base_url}}
    try:
        async with on.opened() as (database, admin):
            if broken:
                await admin.execute(broken)
            name = await admin.fetchval("select current_database()")
            accounts = Accounts(database, admin)
            project = await accounts.project(
                nanodollars_per_credit=1_000_000, increment=_INCREMENT, minimum_charge=_INCREMENT
            )
            await _sell(Catalog(database), project, stops=stops)
            api = ApiProcess(
                on.servers.app_url(name),
                on.servers.redis,
                log=None,
                **{"EXCHEQUER_PROVIDERS": json.dumps(providers), **settings},
            )
            await api.start()
            try:
                yield World(standin, api, admin, database, accounts, project)
            finally:
                await api.end()
    finally:
        await standin.stop()


async def _sell(catalog: Catalog, project: UUID, *, stops: bool) -> None:
    await catalog.upsert_feature(project, FeatureTerms("chat_completion", "ai", "Chat"))
    terms = ModelTerms(MODEL, MODEL, "said-1", "Said", "fast", ["text"], 100_000, 10_000)
    await catalog.upsert_model(project, terms, PriceTerms(READ, CACHED, WRITTEN, "invented"))
    plan = PlanTerms("all", "recurring", "All", 0, 0, streams_stop=stops)
    await catalog.upsert_plan(
        project, plan, [PlanFeatureTerms("chat_completion", any_model=True)], []
    )
    await catalog.set_default_plan(project, "all")
