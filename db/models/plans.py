"""Plans: what each version of them opens, by feature, quality level and model."""

from typing import Any

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    Table,
    Text,
    text,
)

from db.models.base import MICROCREDITS, identifier, instant, label, metadata
from db.models.catalog import catalog_key, limit, project_column

plans = Table(
    "plans",
    metadata,
    project_column(),
    Column("key", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    label("name", nullable=False),
    label("description"),
    Column("rank", Integer, nullable=False),
    instant("archived_at", nullable=True),
    instant("created_at"),
    instant("updated_at"),
    CheckConstraint(catalog_key(), name="key"),
    CheckConstraint("kind in ('recurring', 'one_time', 'add_on')", name="kind"),
    schema="catalog",
    comment="What a project sells; what is in it stands with its versions: the last counts.",
)

plan_versions = Table(
    "plan_versions",
    metadata,
    identifier("project_id", primary_key=True),
    Column("plan_key", Text, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    # -1: unlimited.
    Column("monthly_credits", MICROCREDITS, nullable=False),
    Column("welcome_credits", MICROCREDITS, nullable=False, server_default="0"),
    Column("rollover_cap", MICROCREDITS, nullable=False, server_default="0"),
    limit("requests_per_minute"),
    limit("tokens_per_minute"),
    Column("credits_per_day", MICROCREDITS, nullable=True),
    # Everything in that version of another plan, and what stands here.
    label("includes_plan_key"),
    Column("includes_version", Integer, nullable=True),
    instant("created_at"),
    # In order, where the credits end; else they run on into debt.
    Column("streams_stop", Boolean, nullable=False, server_default=text("true")),
    ForeignKeyConstraint(
        ["project_id", "plan_key"],
        ["catalog.plans.project_id", "catalog.plans.key"],
        ondelete="RESTRICT",
    ),
    ForeignKeyConstraint(
        ["project_id", "includes_plan_key", "includes_version"],
        [
            "catalog.plan_versions.project_id",
            "catalog.plan_versions.plan_key",
            "catalog.plan_versions.version",
        ],
        ondelete="RESTRICT",
    ),
    CheckConstraint("version > 0", name="version"),
    CheckConstraint("monthly_credits >= -1", name="monthly_credits"),
    CheckConstraint(
        "least(welcome_credits, rollover_cap, coalesce(credits_per_day, 0),"
        " coalesce(requests_per_minute, 0), coalesce(tokens_per_minute, 0)) >= 0",
        name="not_negative",
    ),
    CheckConstraint(
        "(includes_plan_key is null) = (includes_version is null)"
        " and includes_plan_key <> plan_key",
        name="includes",
    ),
    Index(
        None,
        "project_id",
        "includes_plan_key",
        "includes_version",
        postgresql_where=text("includes_plan_key is not null"),
    ),
    schema="catalog",
    comment="What was sold under a plan's name: never changed, a change is a new version.",
)

_VERSION = ("project_id", "plan_key", "version")


def _of_version(*columns: Column[str]) -> list[Column[Any]]:
    return [
        identifier("project_id", primary_key=True),
        Column("plan_key", Text, primary_key=True),
        Column("version", Integer, primary_key=True, autoincrement=False),
        *columns,
    ]


plan_features = Table(
    "plan_features",
    metadata,
    *_of_version(Column("feature_key", Text, primary_key=True)),
    Column("is_enabled", Boolean, nullable=False, server_default="true"),
    # Whether every model and level may answer; else those that stand beside it.
    Column("any_model", Boolean, nullable=False, server_default="false"),
    limit("limit_value"),
    limit("per_minute"),
    limit("per_hour"),
    limit("per_day"),
    limit("per_customer_day"),
    ForeignKeyConstraint(
        list(_VERSION),
        [f"catalog.plan_versions.{name}" for name in _VERSION],
        ondelete="RESTRICT",
    ),
    ForeignKeyConstraint(
        ["project_id", "feature_key"],
        ["catalog.features.project_id", "catalog.features.key"],
        ondelete="RESTRICT",
    ),
    CheckConstraint(
        "least(coalesce(limit_value, 0), coalesce(per_minute, 0), coalesce(per_hour, 0),"
        " coalesce(per_day, 0), coalesce(per_customer_day, 0)) >= 0",
        name="not_negative",
    ),
    Index(None, "project_id", "feature_key"),
    schema="catalog",
    comment="A feature that a plan opens, and how often: null is no limit, 0 blocks.",
)

plan_quality_levels = Table(
    "plan_quality_levels",
    metadata,
    *_of_version(
        Column("feature_key", Text, primary_key=True),
        Column("quality_key", Text, primary_key=True),
    ),
    ForeignKeyConstraint(
        [*_VERSION, "feature_key"],
        [f"catalog.plan_features.{name}" for name in (*_VERSION, "feature_key")],
        ondelete="RESTRICT",
    ),
    ForeignKeyConstraint(
        ["project_id", "quality_key"],
        ["catalog.quality_levels.project_id", "catalog.quality_levels.key"],
        ondelete="RESTRICT",
    ),
    Index(None, "project_id", "quality_key"),
    schema="catalog",
    comment="A level at which a plan's feature may answer.",
)

plan_models = Table(
    "plan_models",
    metadata,
    *_of_version(
        Column("feature_key", Text, primary_key=True),
        Column("quality_key", Text, primary_key=True),
        Column("model_key", Text, primary_key=True),
    ),
    Column("priority", Integer, nullable=False),
    Column("is_default", Boolean, nullable=False, server_default="false"),
    ForeignKeyConstraint(
        [*_VERSION, "feature_key", "quality_key"],
        [
            f"catalog.plan_quality_levels.{name}"
            for name in (*_VERSION, "feature_key", "quality_key")
        ],
        ondelete="RESTRICT",
    ),
    ForeignKeyConstraint(
        ["project_id", "model_key"],
        ["catalog.models.project_id", "catalog.models.key"],
        ondelete="RESTRICT",
    ),
    CheckConstraint("priority >= 0", name="priority"),
    Index(None, "project_id", "model_key"),
    Index(
        "plan_models_priority_key",
        *_VERSION,
        "feature_key",
        "quality_key",
        "priority",
        unique=True,
    ),
    Index(
        "plan_models_default_key",
        *_VERSION,
        "feature_key",
        "quality_key",
        unique=True,
        postgresql_where=text("is_default"),
    ),
    schema="catalog",
    comment="A model that answers at a level, in the order in which they are tried.",
)

organization_plans = Table(
    "organization_plans",
    metadata,
    Column(
        "organization_id",
        None,
        ForeignKey("identity.organizations.id", ondelete="RESTRICT"),
        primary_key=True,
    ),
    identifier("project_id"),
    Column("plan_key", Text, nullable=False),
    # What it bought: later versions are for those who buy later.
    Column("version", Integer, nullable=False),
    Column("is_active", Boolean, nullable=False, server_default=text("true")),
    # How often it was set; names what each setting did to the credits.
    Column("changes", Integer, nullable=False, server_default="1"),
    instant("changed_at"),
    ForeignKeyConstraint(
        ["project_id", "plan_key", "version"],
        [
            "catalog.plan_versions.project_id",
            "catalog.plan_versions.plan_key",
            "catalog.plan_versions.version",
        ],
        ondelete="RESTRICT",
    ),
    CheckConstraint("changes > 0", name="changes"),
    Index(None, "project_id", "plan_key", "version"),
    schema="catalog",
    comment="The plan that an organization has; who has no row has the default plan.",
)
