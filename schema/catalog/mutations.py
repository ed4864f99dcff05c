"""Mutations of the catalog domain: each says what a thing is to be, and may be sent again."""

import asyncio
from typing import Annotated, Any

import strawberry
from strawberry.types import Info

from app.catalog import CatalogSnapshot
from app.catalog.edits import (
    FeatureTerms,
    ModelTerms,
    PlanFeatureTerms,
    PlanLevelTerms,
    PlanTerms,
    PriceTerms,
    QualityTerms,
)
from app.catalog.prices import NoPrice, PriceList
from app.core.refusals import invalid
from app.identity.rights import Operation
from schema.catalog.inputs import (
    ArchivePlanInput,
    SetDefaultPlanInput,
    UpsertFeatureInput,
    UpsertModelInput,
    UpsertPlanInput,
    UpsertQualityLevelInput,
)
from schema.catalog.results import (
    ArchivePlanResult,
    ArchivePlanSuccess,
    SetDefaultPlanResult,
    SetDefaultPlanSuccess,
    UpsertFeatureResult,
    UpsertFeatureSuccess,
    UpsertModelResult,
    UpsertModelSuccess,
    UpsertPlanResult,
    UpsertPlanSuccess,
    UpsertQualityLevelResult,
    UpsertQualityLevelSuccess,
)
from schema.catalog.types import Feature, Model, Plan, QualityLevel
from schema.context import Context, context_of
from schema.inputs import read_text, value_of, values_of
from schema.projects import own_project
from schema.refusals import RefusalsAsData

_UNLIMITED = -1
_LONG = 2_000

Input = strawberry.argument(description="What to do.")


@strawberry.type
class CatalogMutations:
    """What can be done with what a project sells."""

    @strawberry.mutation(
        description="Make or change a feature. Every process follows within a second.",
        extensions=[RefusalsAsData()],
    )
    async def upsert_feature(
        self,
        info: Info[Any, Any],
        input: Annotated[UpsertFeatureInput, Input],  # noqa: A002  # the contract's word
    ) -> UpsertFeatureResult:
        edit = _Edit(info, input.project_id)
        terms = FeatureTerms(
            edit.text(input.key, "key"),
            value_of(input.kind),
            edit.text(input.name, "name"),
            read_text(input.description, "description", _LONG),
            read_text(input.category, "category"),
            read_text(input.icon, "icon"),
            input.is_active,
            input.base_estimate,
        )
        done = await edit.catalog.upsert_feature(edit.project_id, terms, actor=edit.actor)
        catalog = await edit.snapshot()
        return UpsertFeatureSuccess(
            feature=Feature.of(catalog.feature_by_key[done.key]), replayed=done.replayed
        )

    @strawberry.mutation(
        description="Make or change a quality level. Every process follows within a second.",
        extensions=[RefusalsAsData()],
    )
    async def upsert_quality_level(
        self,
        info: Info[Any, Any],
        input: Annotated[UpsertQualityLevelInput, Input],  # noqa: A002
    ) -> UpsertQualityLevelResult:
        edit = _Edit(info, input.project_id)
        terms = QualityTerms(
            edit.text(input.key, "key"),
            edit.text(input.name, "name"),
            input.rank,
            input.multiplier_basis_points,
            input.is_active,
        )
        done = await edit.catalog.upsert_quality_level(edit.project_id, terms, actor=edit.actor)
        catalog = await edit.snapshot()
        return UpsertQualityLevelSuccess(
            quality_level=QualityLevel.of(catalog.quality_by_key[done.key]),
            replayed=done.replayed,
        )

    @strawberry.mutation(
        description="Make or change a model, and what it costs. Every process follows within a"
        " second; calls that are under way keep the price they began with.",
        extensions=[RefusalsAsData()],
    )
    async def upsert_model(
        self,
        info: Info[Any, Any],
        input: Annotated[UpsertModelInput, Input],  # noqa: A002
    ) -> UpsertModelResult:
        edit = _Edit(info, input.project_id)
        terms = ModelTerms(
            edit.text(input.key, "key"),
            edit.text(input.provider, "provider"),
            edit.text(input.provider_model_id, "providerModelId"),
            edit.text(input.name, "name"),
            value_of(input.tier),
            values_of(input.capabilities) or [],
            input.context_length,
            input.max_output_tokens,
            input.credits_per_1k_tokens,
            input.is_available,
            input.deprecated_at,
            read_text(input.replacement_key, "replacementKey"),
            input.rank,
        )
        price = await _price(input)
        done = await edit.catalog.upsert_model(edit.project_id, terms, price, actor=edit.actor)
        catalog = await edit.snapshot()
        return UpsertModelSuccess(
            model=Model.of(catalog.model_by_key[done.key], catalog), replayed=done.replayed
        )

    @strawberry.mutation(
        description="Make or change a plan. Other contents are its next version: who has an older"
        " one keeps it. Every process follows within a second.",
        extensions=[RefusalsAsData()],
    )
    async def upsert_plan(
        self,
        info: Info[Any, Any],
        input: Annotated[UpsertPlanInput, Input],  # noqa: A002
    ) -> UpsertPlanResult:
        edit = _Edit(info, input.project_id)
        if input.unlimited and input.monthly_credits:
            raise invalid("monthlyCredits", "must be left out where they are unlimited")
        terms = PlanTerms(
            edit.text(input.key, "key"),
            value_of(input.kind),
            edit.text(input.name, "name"),
            input.rank,
            _UNLIMITED if input.unlimited else _positive(input.monthly_credits),
            read_text(input.description, "description", _LONG),
            input.welcome_credits,
            input.rollover_cap,
            input.requests_per_minute,
            input.tokens_per_minute,
            input.credits_per_day,
            read_text(input.includes_plan_key, "includesPlanKey"),
            input.streams_stop,
        )
        features, levels = _contents(edit, input)
        done = await edit.catalog.upsert_plan(
            edit.project_id, terms, features, levels, actor=edit.actor
        )
        catalog = await edit.snapshot()
        return UpsertPlanSuccess(
            plan=Plan.of(catalog.plan_by_key[done.key], catalog), replayed=done.replayed
        )

    @strawberry.mutation(
        description="Sell a plan no more, or again. Who has it keeps it.",
        extensions=[RefusalsAsData()],
    )
    async def archive_plan(
        self,
        info: Info[Any, Any],
        input: Annotated[ArchivePlanInput, Input],  # noqa: A002
    ) -> ArchivePlanResult:
        edit = _Edit(info, input.project_id)
        done = await edit.catalog.archive_plan(
            edit.project_id,
            edit.text(input.key, "key"),
            is_archived=input.archived,
            actor=edit.actor,
        )
        catalog = await edit.snapshot()
        return ArchivePlanSuccess(
            plan=Plan.of(catalog.plan_by_key[done.key], catalog), replayed=done.replayed
        )

    @strawberry.mutation(
        description="Say which plan those have who chose none.", extensions=[RefusalsAsData()]
    )
    async def set_default_plan(
        self,
        info: Info[Any, Any],
        input: Annotated[SetDefaultPlanInput, Input],  # noqa: A002
    ) -> SetDefaultPlanResult:
        edit = _Edit(info, input.project_id)
        done = await edit.catalog.set_default_plan(
            edit.project_id, read_text(input.key, "key"), actor=edit.actor
        )
        catalog = await edit.snapshot()
        key = done.default_plan_key
        return SetDefaultPlanSuccess(
            plan=None if key is None else Plan.of(catalog.plan_by_key[key], catalog),
            replayed=done.replayed,
        )


class _Edit:
    """Who edits which catalog; refuses those who may not."""

    def __init__(self, info: Info[Any, Any], project_id: strawberry.ID | None) -> None:
        context: Context = context_of(info)
        context.require(Operation.EDIT_CATALOG)
        self.project_id = own_project(context, project_id)
        self.catalog = context.services.catalog
        self.actor = context.actor

    async def snapshot(self) -> CatalogSnapshot:
        """Return the catalog with the edit in it."""
        return await self.catalog.snapshot(self.project_id)

    @staticmethod
    def text(value: str, field: str) -> str:
        """Return a text that Postgres can store."""
        return read_text(value, field) or ""


def _positive(amount: int) -> int:
    # -1 is a word of Postgres' for what has its own field here.
    if amount < 0:
        raise invalid("monthlyCredits", "must be from 0 to 10^9 credits")
    return amount


async def _price(input: UpsertModelInput) -> PriceTerms | None:  # noqa: A002
    entry = read_text(input.price_list_entry, "priceListEntry")
    if entry is not None:
        if input.price is not None:
            raise invalid("price", "must be left out where an entry of the price list is named")
        # A megabyte of JSON: not in the loop that answers everybody.
        prices = await asyncio.to_thread(PriceList.bundled)
        try:
            return prices.price(entry)
        except NoPrice as error:
            raise invalid("priceListEntry", f"must be in the list: {error}") from error
    if input.price is None:
        return None
    price = input.price
    cached = price.cached_input_per_million
    return PriceTerms(
        price.input_per_million,
        price.input_per_million if cached is None else cached,
        price.output_per_million,
        read_text(price.source, "source") or "",
    )


def _contents(
    edit: _Edit,
    input: UpsertPlanInput,  # noqa: A002
) -> tuple[list[PlanFeatureTerms], list[PlanLevelTerms]]:
    features, levels = [], []
    for each in input.features:
        key = edit.text(each.feature, "features")
        features.append(
            PlanFeatureTerms(
                key,
                each.is_enabled,
                each.any_model,
                each.limit,
                each.per_minute,
                each.per_hour,
                each.per_day,
                each.per_customer_day,
            )
        )
        levels += [
            PlanLevelTerms(
                key,
                edit.text(level.quality, "levels"),
                [edit.text(model, "levels") for model in level.models],
            )
            for level in each.quality_levels
        ]
    return features, levels
