"""A world in which models are called: a catalog, an organization with credits, and a clock."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from app.catalog import Catalog
from app.catalog.edits import PlanFeatureTerms, PlanLevelTerms, PlanTerms
from app.inference import CloseRequest, ModelCalls, OpenRequest
from app.inference.rows import OpenedCall
from db.driver import Connection
from tests.support.accounts import CREDIT, Accounts
from tests.support.catalogs import FEATURE, LEVEL, MODEL, OTHER, PLAN, PRICE
from tests.support.clock import Clock, utc

NOW = utc("2026-03-10 10:00")
# A thousand prompt tokens and a thousand written: 1,000 x 1,000 + 1,000 x 4,000 dollars' billionths
# for a million tokens come to nothing much, so models here are dear: a dollar for a thousand read.
DEAR = PRICE._replace(
    input_nanodollars=1_000_000_000_000,
    cached_input_nanodollars=100_000_000_000,
    output_nanodollars=4_000_000_000_000,
)


@dataclass
class Calling:
    """One organization, and what it asks of models."""

    calls: ModelCalls
    catalog: Catalog
    accounts: Accounts
    clock: Clock
    admin: Connection
    project: UUID = field(default_factory=uuid4)
    account: UUID = field(default_factory=uuid4)

    async def prepare(self, credits: int = 100_000) -> None:
        """Make a project that sells one plan, and an organization that has credits."""
        await self.clock.set(NOW)
        self.project = await self.accounts.project(
            nanodollars_per_credit=1_000_000, increment=250_000, minimum_charge=250_000
        )
        await self.catalog.upsert_feature(self.project, FEATURE)
        await self.catalog.upsert_quality_level(self.project, LEVEL)
        await self.catalog.upsert_model(self.project, MODEL._replace(max_output_tokens=5_000), DEAR)
        await self.catalog.upsert_model(
            self.project, OTHER._replace(credits_per_1k_tokens=2 * CREDIT)
        )
        await self.sell()
        await self.catalog.set_default_plan(self.project, "basic")
        self.account = await self.accounts.open(credits, project_id=self.project)

    async def sell(
        self,
        feature: PlanFeatureTerms | None = None,
        levels: Sequence[PlanLevelTerms] = (PlanLevelTerms("summary", "fast", ["small", "other"]),),
        plan: PlanTerms = PLAN,
    ) -> None:
        """Sell it on other terms from now on."""
        await self.catalog.upsert_plan(
            self.project, plan, [feature or PlanFeatureTerms("summary")], levels
        )

    def request(self, key: str = "a", **change: Any) -> OpenRequest:
        """Return what is asked for, but for what is said otherwise."""
        asked = OpenRequest(key, digest(key), "summary", None, None, 1_000, 100)
        return asked._replace(**change)

    async def open(self, key: str = "a", **change: Any) -> OpenedCall:
        """Let a call begin."""
        return await self.calls.open(self.account, self.request(key, **change))

    async def later(self, **span: float) -> None:
        """Let time pass."""
        await self.clock.advance(timedelta(**span))

    async def state(self, call_id: UUID) -> dict[str, object]:
        """Return what is kept of a call."""
        row = await self.admin.fetchrow("select * from inference.calls where id = $1", call_id)
        assert row is not None
        return dict(row)

    async def stands(self) -> list[list[str]]:
        """Return all that a refusal must leave alone."""
        return [
            [
                row["written"]
                for row in await self.admin.fetch(
                    f"select t::text as written from {table} as t order by 1"  # noqa: S608
                )
            ]
            for table in (
                "inference.calls",
                "inference.attempts",
                "credits.accounts",
                "credits.reservations",
                "credits.transactions",
            )
        ]


def digest(text: str) -> bytes:
    """Return a fingerprint."""
    return hashlib.sha256(text.encode()).digest()


def used(call_id: UUID, read: int, written: int, **change: Any) -> CloseRequest:
    """Return what a provider says was used."""
    return CloseRequest(
        call_id, read, 0, written, usage_estimated=False, outcome="complete"
    )._replace(**change)
