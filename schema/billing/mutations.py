"""Mutations of the billing domain."""

from typing import Annotated, Any

import strawberry
from strawberry.types import Info

from app.billing import PlanSet
from app.identity.rights import Operation
from schema.context import account_of
from schema.credits.types import CreditBalance
from schema.inputs import read_text
from schema.refusals import BalanceLimit, OfGiving, PlanInactive, RefusalsAsData

_REASON = 1_000

Input = strawberry.argument(description="What to do.")


@strawberry.input(description="Which plan an organization is to have.")
class SetOrganizationPlanInput:
    """Input of `setOrganizationPlan`."""

    organization_id: strawberry.ID = strawberry.field(description="The organization.")
    plan: str = strawberry.field(description="The plan's key.")
    reason: str | None = strawberry.field(default=None, description="Why.")


@strawberry.type(description="The organization has the plan.")
class SetOrganizationPlanSuccess:
    """Result of `setOrganizationPlan`."""

    plan: str = strawberry.field(description="The plan's key.")
    plan_version: int = strawberry.field(description="The version that was sold, and is kept.")
    balance: CreditBalance = strawberry.field(description="The balance after it.")
    replayed: bool = strawberry.field(description="Whether it had that version already.")

    @classmethod
    def of(cls, done: PlanSet) -> "SetOrganizationPlanSuccess":
        """Return the result of a row."""
        return cls(
            plan=done.plan_key,
            plan_version=done.plan_version,
            balance=CreditBalance.of(done.balance),
            replayed=done.replayed,
        )


SetOrganizationPlanResult = Annotated[
    SetOrganizationPlanSuccess | PlanInactive | BalanceLimit | OfGiving,
    strawberry.union("SetOrganizationPlanResult", description="What came of it."),
]


@strawberry.type
class BillingMutations:
    """What can be done with what organizations have bought."""

    @strawberry.mutation(
        description="Give an organization a plan, in the version that is sold now, and the plan's"
        " monthly credits: what the month gives more or less is granted or taken back at once.",
        extensions=[RefusalsAsData()],
    )
    async def set_organization_plan(
        self,
        info: Info[Any, Any],
        input: Annotated[SetOrganizationPlanInput, Input],  # noqa: A002  # the contract's word
    ) -> SetOrganizationPlanResult:
        context, organization_id = await account_of(
            info, Operation.UPDATE_ORGANIZATION, input.organization_id
        )
        done = await context.services.plans.set_plan(
            organization_id,
            read_text(input.plan, "plan") or "",
            reason=read_text(input.reason, "reason", _REASON),
            actor=context.actor,
        )
        return SetOrganizationPlanSuccess.of(done)
