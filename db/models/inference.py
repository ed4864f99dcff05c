"""Calls of models: what was asked and under which terms, each attempt, and what came of it."""

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
from sqlalchemy.dialects.postgresql import ARRAY

from db.models.base import (
    MICROCREDITS,
    actor_columns,
    digest,
    identifier,
    instant,
    label,
    metadata,
)


def _number(name: str, *, nullable: bool = True, default: str | None = None) -> Column[int]:
    return Column(name, Integer, nullable=nullable, server_default=default)


def _tokens() -> list[Column[int]]:
    return [
        Column("input_tokens", BigInteger),
        Column("cached_input_tokens", BigInteger),
        Column("output_tokens", BigInteger),
    ]


def _terms() -> list[Column[object]]:
    """Return who answers and what it costs; fixed when it was asked, whatever changes since.

    It refers to no row of the catalog: each call would lock the row of a popular model.
    """
    return [
        Column("model", Text, nullable=False),
        Column("provider", Text, nullable=False),
        Column("provider_model_id", Text, nullable=False),
        Column("price_version", Integer),
        Column("credits_per_1k_tokens", MICROCREDITS),
        instant("asked_at"),
    ]


calls = Table(
    "calls",
    metadata,
    Column(
        "account_id",
        None,
        ForeignKey("identity.organizations.id", ondelete="RESTRICT"),
        primary_key=True,
    ),
    # Also the id of its reservation.
    identifier("id", primary_key=True),
    identifier("project_id"),
    label("idempotency_key", nullable=False),
    digest("fingerprint"),
    label("feature", nullable=False),
    # Which one it is of the account, and of the feature: by two of them it is known how many
    # began within a time, however many.
    Column("account_place", BigInteger, nullable=False),
    Column("feature_place", BigInteger, nullable=False),
    label("quality"),
    label("plan_key", nullable=False),
    _number("plan_version", nullable=False),
    Column("is_stream", Boolean, nullable=False),
    # The last attempt is here; those that failed before it are in `attempts`.
    _number("attempt", nullable=False, default="1"),
    *_terms(),
    # Who may answer if it fails, in this order.
    Column("fallbacks", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    # Counted before the call, never too few; what it may write at most, and what is reserved for.
    _number("prompt_tokens", nullable=False),
    _number("choices", nullable=False, default="1"),
    _number("output_limit", nullable=False),
    Column("reserved_tokens", BigInteger, nullable=False),
    # What has been written as far as was noted: a process may be gone before it tells the rest.
    Column("noted_tokens", BigInteger, nullable=False, server_default="0"),
    label("state", nullable=False),
    *_tokens(),
    Column("usage_estimated", Boolean),
    label("outcome"),
    label("error"),
    _number("status_code"),
    _number("latency_ms"),
    label("end_customer_ref"),
    label("related_type"),
    label("related_id"),
    label("trace_id"),
    *actor_columns(),
    instant("opened_at"),
    # Until then a process says that it is at work on it.
    instant("leased_until"),
    instant("closed_at", nullable=True),
    CheckConstraint("state in ('open', 'answered', 'settled', 'released')", name="state"),
    CheckConstraint(
        "outcome in ('complete', 'length', 'credits', 'left', 'failed', 'abandoned')",
        name="outcome",
    ),
    CheckConstraint("(closed_at is null) = (state in ('open', 'answered'))", name="closed_at"),
    CheckConstraint(
        "least(prompt_tokens, output_limit, reserved_tokens, noted_tokens) >= 0"
        " and least(coalesce(input_tokens, 0), coalesce(cached_input_tokens, 0),"
        " coalesce(output_tokens, 0)) >= 0",
        name="not_negative",
    ),
    Index("calls_idempotency_key", "account_id", "idempotency_key", unique=True),
    Index("calls_opened_at_idx", "account_id", "opened_at", "account_place"),
    Index("calls_feature_idx", "account_id", "feature", "opened_at", "feature_place"),
    Index(
        "calls_customer_idx",
        "account_id",
        "feature",
        "end_customer_ref",
        "opened_at",
        postgresql_where=text("end_customer_ref is not null"),
    ),
    Index(
        "calls_leased_until_idx",
        "leased_until",
        postgresql_where=text("state in ('open', 'answered')"),
    ),
    schema="inference",
    comment="Calls of models: one row each, from the reservation to the charge.",
)

attempts = Table(
    "attempts",
    metadata,
    identifier("account_id", primary_key=True),
    identifier("call_id", primary_key=True),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    *_terms(),
    instant("failed_at"),
    label("error", nullable=False),
    _number("status_code"),
    ForeignKeyConstraint(
        ["account_id", "call_id"],
        ["inference.calls.account_id", "inference.calls.id"],
        ondelete="RESTRICT",
    ),
    CheckConstraint("attempt > 0", name="attempt"),
    schema="inference",
    comment="Attempts that failed, of calls that were asked again or of another model.",
)
