"""`OrganizationPlans`: which plan an organization has, and the credits that come with it."""

from dataclasses import dataclass
from uuid import UUID

from app.core.database import Database
from app.core.refusals import Refusal
from app.credits import Actor, Balance
from app.credits.calls import Listener


@dataclass(frozen=True, slots=True)
class PlanSet:
    """A plan that an organization has. `replayed`: it had it already."""

    plan_key: str
    plan_version: int
    replayed: bool
    version_before: int
    balance: Balance


class OrganizationPlans:
    """Sets plans, and tells the feed what that did to credits."""

    def __init__(self, database: Database, listener: Listener | None = None) -> None:
        self._database = database
        self._listener = listener

    async def set_plan(
        self,
        organization_id: UUID,
        plan_key: str,
        *,
        reason: str | None = None,
        actor: Actor | None = None,
    ) -> PlanSet:
        """Give an organization a plan as it is sold now, or refuse."""
        rows = await self._database.call(
            PlanSet,
            "catalog.set_plan",
            p_organization_id=organization_id,
            p_plan_key=plan_key,
            p_reason=reason,
            p_actor=actor,
        )
        if not rows:
            # More was due on the account than one call may work; nothing was decided.
            raise Refusal("BUSY")
        [done] = rows
        if self._listener is not None and done.balance.balance_version > done.version_before:
            self._listener.moved(done.version_before, done.balance, [])
        return done
