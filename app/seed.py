"""What an installation has from its first start; running it again changes nothing."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import db
from app.catalog import Catalog
from app.catalog.edits import ModelTerms, PriceTerms
from app.catalog.seeds import seed_catalog
from app.core.database import Database
from app.core.refusals import Refusal
from app.credits import Credits
from app.identity import Identity
from app.identity.keys import make_key

SEEDS = Path(db.__file__).parent / "seeds"
_DEMO_CREDITS = 1_000_000_000
DEMO_MODEL = "demo"


@dataclass(frozen=True, slots=True)
class Demo:
    """What a first visitor needs: an organization with credits, and a key that spends them."""

    project_id: UUID
    organization_id: UUID


def _default_project() -> dict[str, Any]:
    with (SEEDS / "default_project.toml").open("rb") as file:
        return tomllib.load(file)


async def seed(database: Database) -> UUID:
    """Make the default project with its policy and catalog unless they exist; return its id.

    What was changed since stays as it is.
    """
    identity, credits = Identity(database), Credits(database)
    data = _default_project()
    try:
        made = await identity.create_project(data["slug"], data["name"])
    except Refusal as refusal:
        if refusal.code != "CONFLICT":
            raise
        existing: UUID = await database.value(
            "select id from identity.projects where slug = $1", data["slug"]
        )
        await seed_catalog(Catalog(database), existing)
        return existing
    await credits.set_policy(made.id, **data["policy"])
    await seed_catalog(Catalog(database), made.id)
    return made.id


async def seed_demo(database: Database) -> Demo:
    """Make the demo organization with 1,000 credits unless it exists."""
    identity, credits = Identity(database), Credits(database)
    project_id = await seed(database)
    await _seed_demo_model(Catalog(database), project_id)
    organization = await identity.create_organization(project_id, "Demo", external_ref="demo")
    await credits.issue_grant(
        organization.id, _DEMO_CREDITS, "top_up", "demo", reason="to try things out"
    )
    return Demo(project_id, organization.id)


async def _seed_demo_model(catalog: Catalog, project_id: UUID) -> None:
    """Make the model that needs no provider's key: a stand-in answers for it."""
    terms = ModelTerms(
        DEMO_MODEL, DEMO_MODEL, "demo-1", "Demo", "fast", ["text"], 128_000, 4_096, rank=100
    )
    price = PriceTerms(500_000_000, 50_000_000, 2_000_000_000, "invented")
    await catalog.upsert_model(project_id, terms, price, keep=True)


async def make_demo_key(database: Database, project_id: UUID) -> str:
    """Make a project key that may do everything a back-end may; return its secret."""
    new = make_key("project")
    await Identity(database).create_api_key(
        "project",
        project_id,
        "demo",
        new.prefix,
        new.last4,
        new.secret_hash,
        scopes=["credits:grant", "keys:write"],
        created_by="exchequer dev",
    )
    return new.secret


async def backfill_accounts(database: Database) -> int:
    """Open the credit account of every organization that has none; return how many."""
    identity, credits = Identity(database), Credits(database)
    opened = 0
    after: UUID | None = None
    while page := await identity.organizations(after=after):
        for organization in page:
            row = await credits.open_account(organization.id, organization.project_id)
            opened += not row.replayed
        after = page[-1].id
    return opened
