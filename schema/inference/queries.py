"""Queries of the inference domain."""

from typing import Annotated, Any

import strawberry
from strawberry.types import Info

from app.identity.rights import Operation
from app.identity.viewer import ViewerKind
from schema.context import account_of
from schema.credits.types import OrganizationId
from schema.inference.charges import Charge
from schema.inference.types import FeatureAccess, FeatureLimits
from schema.inputs import read_id, read_text

EndCustomer = Annotated[
    str | None,
    strawberry.argument(description="An end customer, as you name them: theirs are counted too."),
]
RelatedId = Annotated[
    str | None, strawberry.argument(description="What it is about, such as a form of yours.")
]


@strawberry.type
class InferenceQueries:
    """What can be asked about calls of models."""

    @strawberry.field(
        description="Whether a model may be called for a feature: what is open, what it is taken to"
        " cost, how much of the limits is used, and what would help if it may not."
    )
    async def ai_access(
        self,
        info: Info[Any, Any],
        organization_id: OrganizationId,
        feature: Annotated[str, strawberry.argument(description="The feature's key.")],
        quality: Annotated[
            str | None, strawberry.argument(description="A level's key; else the plan chooses.")
        ] = None,
        model: Annotated[
            str | None, strawberry.argument(description="A model's key; else the level chooses.")
        ] = None,
        end_customer: EndCustomer = None,
        related_id: RelatedId = None,
    ) -> FeatureAccess:
        context, account_id = await account_of(info, Operation.CHECK_ACCESS, organization_id)
        inference, asked = context.services.inference, read_text(feature, "feature") or ""

        async def look() -> Any:
            return await inference.calls.check_access(
                account_id,
                asked,
                read_text(quality, "quality"),
                read_text(model, "model"),
                end_customer_ref=read_text(end_customer, "endCustomer"),
                related_id=read_text(related_id, "relatedId"),
            )

        row = await look()
        if row.due:
            # Something has come due on the account since somebody looked: an allowance, perhaps.
            await context.services.credits.catch_up(account_id)
            row = await look()
        return FeatureAccess.of(row)

    @strawberry.field(
        description="The AI features that an organization's plan opens, and their limits."
    )
    async def feature_limits(
        self,
        info: Info[Any, Any],
        organization_id: OrganizationId,
        end_customer: EndCustomer = None,
        related_id: RelatedId = None,
    ) -> list[FeatureLimits]:
        context, account_id = await account_of(info, Operation.CHECK_ACCESS, organization_id)
        rows = await context.services.inference.calls.read_limits(
            account_id,
            end_customer_ref=read_text(end_customer, "endCustomer"),
            related_id=read_text(related_id, "relatedId"),
        )
        return [FeatureLimits.of(row) for row in rows]

    @strawberry.field(
        description="Why a call of a model cost what it did: what it used, by which price or rate,"
        " what was reserved, who paid, how it was rounded, and who was asked before."
    )
    async def charge(
        self,
        info: Info[Any, Any],
        organization_id: OrganizationId,
        id: Annotated[  # noqa: A002  # the contract's word
            strawberry.ID, strawberry.argument(description="The call's id.")
        ],
    ) -> Charge:
        context, account_id = await account_of(info, Operation.READ_CREDITS, organization_id)
        row = await context.services.inference.calls.read_charge(account_id, read_id(id, "id"))
        shows_cost = context.viewer.kind is not ViewerKind.ORGANIZATION_KEY
        return Charge.of(account_id, row, shows_cost=shows_cost)
