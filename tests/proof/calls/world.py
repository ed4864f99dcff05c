"""A stand-in for providers, an API process that asks it, and organizations that pay."""

import json
import sys
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from uuid import UUID

from app.catalog import Catalog
from app.catalog.edits import FeatureTerms, PlanFeatureTerms, PlanTerms
from app.core.database import Database
from app.standin import StandIn
from db.driver import Connection
from tests.proof.calls.prices import COARSE, FINE, MODELS, SAID, Model, Policy
from tests.proof.ground import Ground
from tests.support.accounts import Accounts
from tests.support.processes import ADMIN_KEY, ApiProcess


class _PlantedProcess(ApiProcess):
    program = (sys.executable, "-m", "tests.proof.calls.planted")


@dataclass
class World:
    """What a proof of calls has."""

    standin: StandIn
    api: ApiProcess
    admin: Connection
    database: Database
    accounts: Accounts
    projects: Mapping[UUID, Policy]

    async def organization(self, credits: int, number: int = 0) -> UUID:
        """Return one that has so many credits; `number` says of which project, in turn."""
        project = list(self.projects)[number % len(self.projects)]
        return await self.accounts.open(credits, project_id=project)

    def headers(self, organization: UUID, key: str) -> dict[str, str]:
        """Return what a request comes with."""
        return {
            "Authorization": f"Bearer {ADMIN_KEY}",
            "X-Exchequer-Organization": str(organization),
            "Idempotency-Key": key,
        }


def body(
    key: str,
    said: str,
    *,
    stream: bool,
    before: Iterable[tuple[str, str]] = (),
    model: Model = SAID,
    choices: int = 1,
    most: int = 400,
) -> dict[str, object]:
    """Return what is asked; the stand-in keeps the truth under the key."""
    messages = [*before, ("user", said)]
    asked: dict[str, object] = {
        "model": model.key,
        "messages": [{"role": role, "content": text} for role, text in messages],
        "user": key,
        "stream": stream,
        "max_tokens": most,
    }
    return asked if choices == 1 else {**asked, "n": choices}


@asynccontextmanager
async def world(
    on: Ground,
    *,
    models: Iterable[Model] = MODELS,
    broken: str = "",
    misreads: bool = False,
    stops: bool = True,
    **settings: str,
) -> AsyncIterator[World]:
    """Open it: one process that serves.

    `broken`: statements that break the functions. `misreads`: what litellm says is read wrongly.
    """
    sold = list(models)
    standin = StandIn()
    await standin.start()
    providers = {model.provider: _provider(standin, model) for model in sold}
    served = _PlantedProcess if misreads else ApiProcess
    try:
        async with on.opened() as (database, admin):
            if broken:
                await admin.execute(broken)
            name = await admin.fetchval("select current_database()")
            accounts = Accounts(database, admin)
            projects = {}
            for policy in (COARSE, FINE):
                project = await accounts.project(**asdict(policy))
                await _sell(Catalog(database), project, sold, stops=stops)
                projects[project] = policy
            api = served(
                on.servers.app_url(name),
                on.servers.redis,
                log=None,
                **{"EXCHEQUER_PROVIDERS": json.dumps(providers), **settings},
            )
            await api.start()
            try:
                yield World(standin, api, admin, database, accounts, projects)
            finally:
                await api.end()
    finally:
        await standin.stop()


def _provider(standin: StandIn, model: Model) -> dict[str, str]:
    if model.is_litellm:
        return {"api_key": standin.key, "base_url": standin.origin, "protocol": "litellm"}
    return {"api_key": standin.key, "base_url": standin.base_url}


async def _sell(catalog: Catalog, project: UUID, models: Iterable[Model], *, stops: bool) -> None:
    await catalog.upsert_feature(project, FeatureTerms("chat_completion", "ai", "Chat"))
    for model in models:
        await catalog.upsert_model(project, model.terms, model.price)
    plan = PlanTerms("all", "recurring", "All", 0, 0, streams_stop=stops)
    await catalog.upsert_plan(
        project, plan, [PlanFeatureTerms("chat_completion", any_model=True)], []
    )
    await catalog.set_default_plan(project, "all")
