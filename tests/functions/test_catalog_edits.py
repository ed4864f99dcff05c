"""Edits of a catalog: what is made, versions, and what is refused without a trace."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from app.catalog import Catalog
from app.catalog.edits import (
    FeatureTerms,
    ModelTerms,
    PlanFeatureTerms,
    PlanLevelTerms,
    QualityTerms,
)
from app.core.refusals import Refusal
from db.driver import Connection
from tests.support.accounts import Accounts
from tests.support.catalogs import (
    FEATURE,
    LEVEL,
    LEVELS,
    MODEL,
    OPENED,
    OTHER,
    PLAN,
    PRICE,
    refused,
    stands,
)


async def test_each_edit_is_another_version_of_the_catalog_and_a_repeated_one_is_none(
    catalog: Catalog, project: UUID
) -> None:
    assert await catalog.version(project) == 5
    edits: list[tuple[Callable[..., Awaitable[Any]], tuple[Any, ...]]] = [
        (catalog.upsert_feature, (FEATURE,)),
        (catalog.upsert_quality_level, (LEVEL,)),
        (catalog.upsert_model, (MODEL, PRICE)),
        (catalog.upsert_model, (MODEL,)),
        (catalog.upsert_model, (MODEL, PRICE._replace(source="another list"))),
        (catalog.upsert_plan, (PLAN, OPENED, LEVELS)),
    ]
    for edit, terms in edits:
        assert (await edit(project, *terms)).replayed
    assert await catalog.version(project) == 5
    changes: list[tuple[Callable[..., Awaitable[Any]], tuple[Any, ...]]] = [
        (catalog.upsert_feature, (FEATURE._replace(is_active=False),)),
        (catalog.upsert_quality_level, (LEVEL._replace(multiplier_basis_points=1),)),
        (catalog.upsert_model, (MODEL._replace(is_available=False), PRICE)),
        (catalog.upsert_model, (OTHER, PRICE)),
        (catalog.upsert_plan, (PLAN._replace(name="Base"), OPENED, LEVELS)),
        (catalog.upsert_plan, (PLAN._replace(name="Base"), OPENED, [])),
        (catalog.set_default_plan, ("basic",)),
        (catalog.set_default_plan, (None,)),
    ]
    for number, (edit, terms) in enumerate(changes, 6):
        assert not (await edit(project, *terms)).replayed
        assert await catalog.version(project) == number
        # What is only to be there is not changed back.
        original = {"upsert_feature": (FEATURE,), "upsert_quality_level": (LEVEL,)}
        if kept := original.get(edit.__name__):
            assert (await edit(project, *kept, keep=True)).replayed
    assert await catalog.version(project) == 13


async def test_another_price_is_the_next_version_and_the_older_stays(
    catalog: Catalog, project: UUID, admin: Connection
) -> None:
    dearer = PRICE._replace(output_nanodollars=5_000)
    assert (await catalog.upsert_model(project, MODEL, dearer)).price_version == 2
    # As it was before is a version of its own: which one counted when stays to be seen.
    assert (await catalog.upsert_model(project, MODEL, PRICE)).price_version == 3
    assert [
        (row["version"], row["output_nanodollars"])
        for row in await admin.fetch(
            "select version, output_nanodollars from catalog.model_prices order by version"
        )
    ] == [(1, 4_000), (2, 5_000), (3, 4_000)]
    model = (await catalog.read(project)).model_by_key["small"]
    assert (model.price_version, model.output_nanodollars) == (3, 4_000)
    assert not (await catalog.read(project)).model_by_key["other"].is_priced


@pytest.mark.parametrize("price", [PRICE._replace(input_nanodollars=-1), (1, None, 1, "a list")])
async def test_a_price_is_whole_or_refused(
    catalog: Catalog, project: UUID, admin: Connection, price: Any
) -> None:
    facts = {"field": "price", "reason": "must have three figures of at least 0"}
    async with refused(admin, "VALIDATION_ERROR", facts):
        await catalog.upsert_model(project, MODEL, price)
    facts = {"field": "priceSource", "reason": "must have 1 to 200 characters"}
    async with refused(admin, "VALIDATION_ERROR", facts):
        await catalog.upsert_model(project, MODEL, PRICE._replace(source=""))
    nameless: Any = (1, 1, 1, None)
    async with refused(admin, "VALIDATION_ERROR", facts):
        await catalog.upsert_model(project, MODEL, nameless)


async def test_other_contents_are_the_next_version_of_a_plan(
    catalog: Catalog, project: UUID, admin: Connection
) -> None:
    for version, (terms, features, levels) in enumerate(
        (
            (PLAN._replace(monthly_credits=-1), OPENED, LEVELS),
            (PLAN, [OPENED[0]._replace(per_minute=None)], LEVELS),
            (PLAN, OPENED, [LEVELS[0]._replace(model_keys=["other", "small"])]),
            (PLAN, [PlanFeatureTerms("summary", any_model=True)], []),
            (PLAN, [], []),
            (PLAN, OPENED, LEVELS),
        ),
        2,
    ):
        edited = await catalog.upsert_plan(project, terms, features, levels)
        assert (edited.version, edited.replayed) == (version, False)
    plan = (await catalog.read(project)).plan_by_key["basic"]
    assert plan.version == 7
    assert [level.models for level in plan.features[0].levels] == [("small", "other")]
    first = await admin.fetchval(
        "select array_agg(model_key order by priority) from catalog.plan_models where version = 1"
    )
    assert first == ["small", "other"]


async def test_a_plan_includes_the_version_that_the_other_has_now(
    catalog: Catalog, project: UUID
) -> None:
    await catalog.upsert_feature(project, FEATURE._replace(key="more"))
    larger = PLAN._replace(key="large", includes_plan_key="basic")
    await catalog.upsert_plan(project, larger, [PlanFeatureTerms("more", per_day=1)], [])
    await catalog.upsert_plan(project, PLAN, [OPENED[0]._replace(per_minute=9)], LEVELS)
    plan = (await catalog.read(project)).plan_by_key["large"]
    assert {each.feature: each.per_minute for each in plan.features} == {"more": None, "summary": 3}
    # Said again, it goes with the newer, which is another version; its own come first.
    again = await catalog.upsert_plan(project, larger, [PlanFeatureTerms("more", per_day=1)], [])
    assert (again.version, again.replayed) == (2, False)
    await catalog.upsert_plan(project, larger, [PlanFeatureTerms("summary", per_minute=0)], [])
    plan = (await catalog.read(project)).plan_by_key["large"]
    assert {each.feature: each.per_minute for each in plan.features} == {"summary": 0}


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        (FEATURE._replace(key="Summary"), "key"),
        (FEATURE._replace(key=""), "key"),
        (FEATURE._replace(key="a" * 64), "key"),
        (FEATURE._replace(kind="magic"), "kind"),
        (FEATURE._replace(name=" "), "name"),
        (FEATURE._replace(name="n" * 201), "name"),
        (FEATURE._replace(description="d" * 2_001), "description"),
        (FEATURE._replace(base_estimate=-1), "baseEstimate"),
        (FEATURE._replace(base_estimate=10**15 + 1), "baseEstimate"),
        (LEVEL._replace(key="9"), "key"),
        (LEVEL._replace(multiplier_basis_points=0), "multiplier"),
        (LEVEL._replace(multiplier_basis_points=10_000_001), "multiplier"),
        (LEVEL._replace(name=""), "name"),
        (MODEL._replace(key="-small"), "key"),
        (MODEL._replace(tier="slow"), "tier"),
        (MODEL._replace(capabilities=["text", "telepathy"]), "capabilities"),
        (MODEL._replace(context_length=0), "contextLength"),
        (MODEL._replace(max_output_tokens=-1), "contextLength"),
        (MODEL._replace(credits_per_1k_tokens=0), "creditsPer1kTokens"),
        (MODEL._replace(provider=""), "provider"),
        (MODEL._replace(replacement_key="small"), "replacement"),
        (PLAN._replace(key="Basic"), "key"),
        (PLAN._replace(kind="weekly"), "kind"),
        (PLAN._replace(monthly_credits=-2), "monthlyCredits"),
        (PLAN._replace(welcome_credits=-1), "welcomeCredits"),
        (PLAN._replace(credits_per_day=-1), "creditsPerDay"),
        (PLAN._replace(requests_per_minute=-1), "requestsPerMinute"),
        (PLAN._replace(includes_plan_key="basic"), "includes"),
    ],
)
async def test_terms_out_of_range_are_refused(
    catalog: Catalog, project: UUID, admin: Connection, terms: Any, field: str
) -> None:
    with pytest.raises(Refusal) as refusal:
        await _edit(catalog, project, terms)
    assert refusal.value.code == "VALIDATION_ERROR"
    reason = refusal.value.facts["reason"]
    async with refused(admin, "VALIDATION_ERROR", {"field": field, "reason": reason}):
        await _edit(catalog, project, terms)


async def _edit(catalog: Catalog, project: UUID, terms: Any) -> None:
    if isinstance(terms, FeatureTerms):
        await catalog.upsert_feature(project, terms)
    elif isinstance(terms, QualityTerms):
        await catalog.upsert_quality_level(project, terms)
    elif isinstance(terms, ModelTerms):
        await catalog.upsert_model(project, terms, PRICE)
    else:
        await catalog.upsert_plan(project, terms, OPENED, LEVELS)


@pytest.mark.parametrize(
    ("features", "levels", "field", "reason"),
    [
        ([*OPENED, *OPENED], [], "features", "summary stands there twice"),
        (
            [OPENED[0]._replace(per_hour=-1)],
            [],
            "features",
            "the limits of summary must be at least 0",
        ),
        ([], LEVELS, "levels", "feature summary is not in the plan"),
        (
            [PlanFeatureTerms("summary", any_model=True)],
            LEVELS,
            "levels",
            "summary is open to every model and has no levels",
        ),
        (OPENED, [*LEVELS, *LEVELS], "levels", "fast of summary stands there twice"),
        (
            OPENED,
            [LEVELS[0]._replace(model_keys=[])],
            "levels",
            "fast of summary must have 1 to 50 models",
        ),
        (
            OPENED,
            [LEVELS[0]._replace(model_keys=["small", "small"])],
            "levels",
            "fast of summary must name each model once",
        ),
        (
            [PlanFeatureTerms("summary")] * 201,
            [],
            "features",
            "must be at most 200, with at most 1000 levels in all",
        ),
    ],
)
async def test_contents_that_contradict_themselves_are_refused(
    catalog: Catalog,
    project: UUID,
    admin: Connection,
    features: list[PlanFeatureTerms],
    levels: list[PlanLevelTerms],
    field: str,
    reason: str,
) -> None:
    async with refused(admin, "VALIDATION_ERROR", {"field": field, "reason": reason}):
        await catalog.upsert_plan(project, PLAN, features, levels)


async def test_what_is_not_there_is_refused_by_its_name(
    catalog: Catalog, project: UUID, admin: Connection, accounts: Accounts
) -> None:
    nobody = uuid4()
    async with refused(admin, "NOT_FOUND", {"kind": "project", "id": str(nobody)}):
        await catalog.upsert_feature(nobody, FEATURE)
    async with refused(admin, "NOT_FOUND", {"kind": "project", "id": str(nobody)}):
        await catalog.read(nobody)
    async with refused(admin, "NOT_FOUND", {"kind": "feature", "id": "unknown"}):
        await catalog.upsert_plan(project, PLAN, [PlanFeatureTerms("unknown")], [])
    async with refused(admin, "NOT_FOUND", {"kind": "quality_level", "id": "best"}):
        await catalog.upsert_plan(project, PLAN, OPENED, [LEVELS[0]._replace(quality_key="best")])
    async with refused(admin, "NOT_FOUND", {"kind": "model", "id": "huge"}):
        await catalog.upsert_plan(
            project, PLAN, OPENED, [LEVELS[0]._replace(model_keys=["small", "huge"])]
        )
    async with refused(admin, "NOT_FOUND", {"kind": "plan", "id": "huge"}):
        await catalog.upsert_plan(
            project, PLAN._replace(key="new", includes_plan_key="huge"), OPENED, LEVELS
        )
    async with refused(admin, "NOT_FOUND", {"kind": "model", "id": "huge"}):
        await catalog.upsert_model(project, MODEL._replace(replacement_key="huge"))
    async with refused(admin, "NOT_FOUND", {"kind": "plan", "id": "huge"}):
        await catalog.set_default_plan(project, "huge")
    # Another project's is not there either.
    other = await accounts.project()
    async with refused(admin, "NOT_FOUND", {"kind": "feature", "id": "summary"}):
        await catalog.upsert_plan(other, PLAN, OPENED, LEVELS)


@pytest.mark.parametrize(
    ("table", "most", "terms"),
    [
        ("features", 200, FEATURE._replace(key="another")),
        ("quality_levels", 20, LEVEL._replace(key="another")),
        ("models", 500, MODEL._replace(key="another")),
        ("plans", 100, PLAN._replace(key="another")),
    ],
)
async def test_a_catalog_has_an_end(
    catalog: Catalog, project: UUID, admin: Connection, table: str, most: int, terms: Any
) -> None:
    columns = await admin.fetchval(
        "select string_agg(quote_ident(attname), ', ' order by attnum) from pg_attribute"
        " where attrelid = $1::text::regclass and attnum > 0 and attname <> 'key'",
        f"catalog.{table}",
    )
    # One less than there may be.
    await admin.execute(
        f"insert into catalog.{table} (key, {columns})"  # noqa: S608  # names of our own schema
        f" select 'k' || n, {columns} from catalog.{table} as t cross join"
        f" generate_series(1, {most - 1} - (select count(*) from catalog.{table})) as n"
        f" where t.key = (select min(key) from catalog.{table})"
    )
    await _edit(catalog, project, terms)
    facts = {
        "field": "key",
        "reason": f"there are {most} of them already, and there may be no more",
    }
    async with refused(admin, "VALIDATION_ERROR", facts):
        await _edit(catalog, project, terms._replace(key="one_more"))
    # What is there may still be changed.
    await _edit(catalog, project, terms._replace(name="Renamed"))


async def test_who_replaces_whom_ends_somewhere(
    catalog: Catalog, project: UUID, admin: Connection
) -> None:
    newer = MODEL._replace(key="newer")
    await catalog.upsert_model(project, newer)
    await catalog.upsert_model(project, OTHER._replace(replacement_key="newer"))
    await catalog.upsert_model(project, MODEL._replace(replacement_key="other"))
    facts = {
        "field": "replacement",
        "reason": "must not lead back to this model by what replaces it",
    }
    async with refused(admin, "VALIDATION_ERROR", facts):
        await catalog.upsert_model(project, newer._replace(replacement_key="small"))


async def test_a_kind_stays(catalog: Catalog, project: UUID, admin: Connection) -> None:
    async with refused(admin, "CONFLICT", {"field": "kind"}):
        await catalog.upsert_feature(project, FEATURE._replace(kind="boolean"))
    async with refused(admin, "CONFLICT", {"field": "kind"}):
        await catalog.upsert_plan(project, PLAN._replace(kind="add_on"), OPENED, LEVELS)


@pytest.mark.parametrize(
    "table",
    [
        "model_prices",
        "plan_versions",
        "plan_features",
        "plan_quality_levels",
        "plan_models",
        "changes",
    ],
)
@pytest.mark.parametrize("change", ["update {} set project_id = project_id", "delete from {}"])
@pytest.mark.usefixtures("project")
async def test_what_was_sold_and_charged_by_is_not_even_changed_by_a_superuser(
    admin: Connection, table: str, change: str
) -> None:
    before = await stands(admin)
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match=f"of {table} is refused"):
        await admin.execute(change.format(f"catalog.{table}"))
    with pytest.raises(asyncpg.PostgresError, match=f"TRUNCATE of {table} is refused"):
        await admin.execute(f"truncate catalog.{table} cascade")
    assert await stands(admin) == before
