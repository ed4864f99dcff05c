"""The catalog that the default project begins with: the fixed values, made once."""

from decimal import Decimal
from uuid import UUID

import pytest

from app.catalog import Catalog
from app.catalog.edits import FeatureTerms
from app.catalog.prices import NoPrice, PriceList
from app.catalog.rows import CatalogSnapshot
from app.catalog.seeds import seed_catalog
from app.core.database import Database
from app.seed import seed
from db.driver import Connection
from tests.support.accounts import CREDIT

FEATURES = {"question_generation", "testimonial_assembly", "testimonial_polish"}


@pytest.fixture
async def project(database: Database) -> UUID:
    return await seed(database)


@pytest.fixture
async def snapshot(database: Database, project: UUID) -> CatalogSnapshot:
    return await Catalog(database).read(project)


async def test_plans_have_the_credits_and_limits_that_are_fixed(snapshot: CatalogSnapshot) -> None:
    assert [
        (
            plan.key,
            plan.rank,
            plan.monthly_credits // CREDIT,
            plan.welcome_credits // CREDIT,
            plan.requests_per_minute,
        )
        for plan in snapshot.plans
    ] == [
        ("free", 0, 10, 10, 10),
        ("pro", 1, 500, 25, 60),
        ("team", 2, 2_000, 50, 120),
        ("enterprise", 3, 10_000, 50, 300),
    ]
    assert snapshot.default_plan_key == "free"
    assert {plan.version for plan in snapshot.plans} == {1}


async def test_sixteen_levels_and_forty_eight_models_are_mapped(
    admin: Connection, project: UUID
) -> None:
    rows = await admin.fetch(
        "select l.plan_key, l.feature_key, l.quality_key,"
        " array_agg(m.provider order by p.priority) as providers,"
        " array_agg(p.is_default order by p.priority) as defaults"
        " from catalog.plan_quality_levels as l"
        " join catalog.plan_models as p using"
        " (project_id, plan_key, version, feature_key, quality_key)"
        " join catalog.models as m on m.project_id = p.project_id and m.key = p.model_key"
        " where l.project_id = $1 group by 1, 2, 3",
        project,
    )
    mapped = {(row["plan_key"], row["feature_key"], row["quality_key"]) for row in rows}
    assert mapped == {
        ("free", "question_generation", "fast"),
        *(("pro", feature, level) for feature in FEATURES for level in ("fast", "enhanced")),
        *(
            ("team", feature, level)
            for feature in FEATURES
            for level in ("fast", "enhanced", "premium")
        ),
    }
    assert len(rows) == 16
    assert sum(len(row["providers"]) for row in rows) == 48
    assert {tuple(row["providers"]) for row in rows} == {("openai", "google", "anthropic")}
    assert {tuple(row["defaults"]) for row in rows} == {(True, False, False)}


async def test_features_cost_what_is_fixed_and_plans_limit_them(snapshot: CatalogSnapshot) -> None:
    assert {
        each.key: None if each.base_estimate is None else each.base_estimate // CREDIT
        for each in snapshot.features
    } == {
        "question_generation": 1,
        "testimonial_assembly": 2,
        "testimonial_polish": 1,
        "text_completion": None,
        "chat_completion": None,
    }
    assert [(q.key, q.rank, q.multiplier_basis_points) for q in snapshot.quality_levels] == [
        ("fast", 0, 10_000),
        ("enhanced", 1, 15_000),
        ("premium", 2, 30_000),
    ]
    limits = {
        (plan.key, each.feature): (each.per_minute, each.per_hour, each.per_day)
        for plan in snapshot.plans
        for each in plan.features
        if each.feature in FEATURES
    }
    unlimited = (None, None, None)
    assert limits == {
        ("free", "question_generation"): (10, 10, 50),
        **{("pro", feature): (30, 100, 500) for feature in FEATURES},
        **{(plan, feature): unlimited for plan in ("team", "enterprise") for feature in FEATURES},
    }
    # What a plan includes of another stands in it as its own.
    assert snapshot.plan_by_key["enterprise"].features == snapshot.plan_by_key["team"].features
    open_to_all = {each.feature for each in snapshot.plan_by_key["free"].features if each.any_model}
    assert open_to_all == {"text_completion", "chat_completion"}


async def test_ten_models_have_a_price_or_credits_of_their_own(snapshot: CatalogSnapshot) -> None:
    assert len(snapshot.models) == 10
    assert all(model.is_priced for model in snapshot.models)
    own = {
        model.key: model.credits_per_1k_tokens // CREDIT
        for model in snapshot.models
        if model.credits_per_1k_tokens is not None
    }
    assert own == {"gpt-5": 2, "gemini-2.0-pro": 1, "claude-3.5-sonnet": 2}
    gone = {model.key: model.replacement_key for model in snapshot.models if model.deprecated_at}
    assert gone == {"gemini-2.0-pro": "gemini-2.5-pro", "claude-3.5-sonnet": "claude-sonnet-5"}
    assert not any(snapshot.model_by_key[key].is_available for key in gone)
    # $1.25 and $10 for a million; the list says $0.00000125 and $0.00001 for one.
    pro = snapshot.model_by_key["gemini-2.5-pro"]
    assert (pro.input_nanodollars, pro.output_nanodollars) == (1_250_000_000, 10_000_000_000)
    assert pro.cached_input_nanodollars == 125_000_000


async def test_seeding_again_changes_nothing_and_keeps_what_was_edited(
    database: Database, project: UUID
) -> None:
    catalog = Catalog(database)
    edited = FeatureTerms("text_completion", "ai", "Write on", is_active=False)
    await catalog.upsert_feature(project, edited)
    before = await catalog.read(project)
    assert await seed(database) == project
    await seed_catalog(catalog, project)
    assert await catalog.read(project) == before
    assert before.feature_by_key["text_completion"].name == "Write on"


def test_a_price_is_read_exactly_or_not_at_all() -> None:
    prices = PriceList(
        {
            "cheap": {
                "input_cost_per_token": Decimal("7.5E-8"),
                "output_cost_per_token": Decimal("3E-7"),
                "cache_read_input_token_cost": Decimal("1E-15"),
            },
            "no cache": {"input_cost_per_token": 1, "output_cost_per_token": 0},
            "too fine": {
                "input_cost_per_token": Decimal("1.5E-15"),
                "output_cost_per_token": Decimal(0),
            },
            "below zero": {"input_cost_per_token": -1, "output_cost_per_token": 0},
            "an image": {"input_cost_per_token": Decimal("1E-6")},
        },
        "a list",
    )
    assert prices.price("cheap") == (75_000_000, 1, 300_000_000, "a list")
    assert prices.price("no cache") == (10**15, 10**15, 0, "a list")
    for name in ("too fine", "below zero", "an image", "unknown"):
        with pytest.raises(NoPrice, match=name):
            prices.price(name)


def test_the_installed_list_says_where_it_comes_from() -> None:
    price = PriceList.bundled().price("gpt-5")
    assert price[:3] == (1_250_000_000, 125_000_000, 10_000_000_000)
    assert price.source.startswith("litellm 1.106")
