"""What a project sells: features, quality levels, models, and the plans that open them."""

from sqlalchemy import (
    BigInteger,
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
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from db.models.base import MICROCREDITS, identifier, instant, label, metadata


# Words that people write into code and configuration.
def catalog_key(column: str = "key") -> str:
    """Return the check of a key."""
    return f"{column} ~ '^[a-z][a-z0-9_]{{0,62}}$'"


# Models are named as their makers name them.
_MODEL_KEY = "key ~ '^[a-z0-9][a-z0-9_.:/-]{0,126}$'"
_CAPABILITIES = "array['text', 'vision', 'function_calling', 'code', 'long_context']"


def project_column() -> Column[object]:
    """Return the first column of each key: whose catalog it is."""
    return Column(
        "project_id",
        None,
        ForeignKey("identity.projects.id", ondelete="RESTRICT"),
        primary_key=True,
    )


def _key(name: str = "key") -> Column[str]:
    return Column(name, Text, primary_key=True)


def _flag(name: str, *, default: bool) -> Column[bool]:
    return Column(name, Boolean, nullable=False, server_default=text(str(default).lower()))


def limit(name: str) -> Column[int]:
    """Return a column for a limit: null is none, 0 blocks all."""
    return Column(name, Integer, nullable=True)


settings = Table(
    "settings",
    metadata,
    project_column(),
    label("default_plan_key"),
    Column("catalog_version", BigInteger, nullable=False, server_default="0"),
    instant("changed_at"),
    ForeignKeyConstraint(
        ["project_id", "default_plan_key"],
        ["catalog.plans.project_id", "catalog.plans.key"],
        ondelete="RESTRICT",
    ),
    CheckConstraint("catalog_version >= 0", name="catalog_version"),
    Index(None, "project_id", "default_plan_key"),
    schema="catalog",
    comment="One row a project: its version goes up with every edit of the catalog.",
)

features = Table(
    "features",
    metadata,
    project_column(),
    _key(),
    Column("kind", Text, nullable=False),
    label("name", nullable=False),
    label("description"),
    label("category"),
    label("icon"),
    _flag("is_active", default=True),
    # Null: estimated from tokens.
    Column("base_estimate", MICROCREDITS, nullable=True),
    instant("created_at"),
    instant("updated_at"),
    CheckConstraint(catalog_key(), name="key"),
    CheckConstraint("kind in ('ai', 'boolean', 'limit', 'metered')", name="kind"),
    CheckConstraint("base_estimate >= 0", name="base_estimate"),
    schema="catalog",
    comment="What a plan can open: AI features, switches, limits and meters.",
)

quality_levels = Table(
    "quality_levels",
    metadata,
    project_column(),
    _key(),
    label("name", nullable=False),
    Column("rank", Integer, nullable=False),
    # 10,000 is once the feature's base estimate.
    Column("multiplier_basis_points", Integer, nullable=False),
    _flag("is_active", default=True),
    instant("created_at"),
    instant("updated_at"),
    CheckConstraint(catalog_key(), name="key"),
    CheckConstraint("multiplier_basis_points between 1 and 10000000", name="multiplier"),
    schema="catalog",
    comment="How good an answer is to be; a level multiplies what a feature is estimated at.",
)

models = Table(
    "models",
    metadata,
    project_column(),
    _key(),
    label("provider", nullable=False),
    label("provider_model_id", nullable=False),
    label("name", nullable=False),
    Column("tier", Text, nullable=False),
    Column("capabilities", ARRAY(Text), nullable=False, server_default="{}"),
    Column("context_length", Integer, nullable=False),
    Column("max_output_tokens", Integer, nullable=False),
    # Null: by what the provider costs.
    Column("credits_per_1k_tokens", MICROCREDITS, nullable=True),
    _flag("is_available", default=True),
    instant("deprecated_at", nullable=True),
    label("replacement_key"),
    Column("rank", Integer, nullable=False, server_default="0"),
    instant("created_at"),
    instant("updated_at"),
    ForeignKeyConstraint(
        ["project_id", "replacement_key"],
        ["catalog.models.project_id", "catalog.models.key"],
        ondelete="RESTRICT",
    ),
    CheckConstraint(_MODEL_KEY, name="key"),
    CheckConstraint("tier in ('fast', 'balanced', 'powerful')", name="tier"),
    CheckConstraint(f"capabilities <@ {_CAPABILITIES}", name="capabilities"),
    CheckConstraint("context_length > 0 and max_output_tokens > 0", name="lengths"),
    CheckConstraint("credits_per_1k_tokens > 0", name="credits_per_1k_tokens"),
    CheckConstraint("replacement_key <> key", name="replacement_key"),
    Index(
        None,
        "project_id",
        "replacement_key",
        postgresql_where=text("replacement_key is not null"),
    ),
    schema="catalog",
    comment="Models that may answer, and what stands in for those that are gone.",
)

model_prices = Table(
    "model_prices",
    metadata,
    identifier("project_id", primary_key=True),
    _key("model_key"),
    Column("version", Integer, primary_key=True, autoincrement=False),
    # Of a million tokens.
    Column("input_nanodollars", BigInteger, nullable=False),
    Column("cached_input_nanodollars", BigInteger, nullable=False),
    Column("output_nanodollars", BigInteger, nullable=False),
    label("source", nullable=False),
    instant("effective_from"),
    ForeignKeyConstraint(
        ["project_id", "model_key"],
        ["catalog.models.project_id", "catalog.models.key"],
        ondelete="RESTRICT",
    ),
    CheckConstraint("version > 0", name="version"),
    CheckConstraint(
        "least(input_nanodollars, cached_input_nanodollars, output_nanodollars) >= 0",
        name="not_negative",
    ),
    schema="catalog",
    comment="What a provider takes for a million tokens, since when; only ever added to.",
)

changes = Table(
    "changes",
    metadata,
    project_column(),
    Column("catalog_version", BigInteger, primary_key=True, autoincrement=False),
    instant("changed_at"),
    Column("subject", Text, nullable=False),
    label("key"),
    label("actor_kind"),
    label("actor_id"),
    label("actor_label"),
    Column("before", JSONB, nullable=True),
    Column("after", JSONB, nullable=False),
    CheckConstraint(
        "subject in ('feature', 'quality_level', 'model', 'plan', 'default_plan')", name="subject"
    ),
    schema="catalog",
    comment="Who edited the catalog, and what: one row for each of its versions, never changed.",
)
