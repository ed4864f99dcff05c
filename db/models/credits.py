"""Credit accounts, grants, reservations and the ledger.

`account_id` is the organization's id and comes first in every hot key, so that
the tables can be distributed by it.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY

from db.models.base import (
    MICROCREDITS,
    actor_columns,
    digest,
    document,
    identifier,
    instant,
    label,
    metadata,
    microcredits,
    subject_columns,
)

_ACCOUNT_COUNTERS = (
    "available, reserved, overage, overdraft_limit, lapsed, monthly, bonus, granted_total,"
    " spent_total, expired_total, clawed_back_total, spent_at_period_start"
)


def _account_id(*, primary_key: bool = True) -> Column[object]:
    return Column(
        "account_id",
        None,
        ForeignKey("credits.accounts.account_id", ondelete="RESTRICT"),
        primary_key=primary_key,
        nullable=False,
    )


policies = Table(
    "policies",
    metadata,
    Column(
        "project_id",
        None,
        ForeignKey("identity.projects.id", ondelete="RESTRICT"),
        primary_key=True,
    ),
    Column("nanodollars_per_credit", BigInteger, nullable=False, server_default="1000000"),
    microcredits("increment", default="250000"),
    microcredits("minimum_charge", default="250000"),
    Column("settle_limit_factor", Integer, nullable=False, server_default="100"),
    microcredits("settle_limit_floor", default="10000000000"),
    Column("clawback_creates_overage", Boolean, nullable=False, server_default="false"),
    microcredits("period_grant"),
    microcredits("welcome_grant"),
    microcredits("rollover_cap"),
    microcredits("overdraft_limit"),
    Column("low_balance_percent", SmallInteger, nullable=False, server_default="20"),
    CheckConstraint(
        "nanodollars_per_credit > 0 and increment > 0 and minimum_charge >= 0", name="rounding"
    ),
    CheckConstraint("settle_limit_factor > 0 and settle_limit_floor >= 0", name="settle_limit"),
    CheckConstraint(
        "period_grant >= -1 and welcome_grant >= 0 and rollover_cap >= 0"
        " and overdraft_limit >= 0 and low_balance_percent between 10 and 50",
        name="defaults",
    ),
    schema="credits",
    comment="The credit rules of a project, and the terms its new accounts begin with.",
)

accounts = Table(
    "accounts",
    metadata,
    Column(
        "account_id",
        None,
        ForeignKey("identity.organizations.id", ondelete="RESTRICT"),
        primary_key=True,
    ),
    identifier("project_id"),
    microcredits("available"),
    microcredits("reserved"),
    microcredits("overage"),
    microcredits("overdraft_limit"),
    microcredits("lapsed"),
    microcredits("monthly"),
    microcredits("bonus"),
    microcredits("granted_total"),
    microcredits("spent_total"),
    microcredits("expired_total"),
    microcredits("clawed_back_total"),
    microcredits("spent_at_period_start"),
    instant("period_start"),
    instant("period_end"),
    Column("anchor_day", SmallInteger, nullable=False),
    microcredits("period_grant"),
    microcredits("rollover_cap"),
    microcredits("pending_period_grant", nullable=True),
    microcredits("pending_rollover_cap", nullable=True),
    instant("pending_at", nullable=True),
    instant("funded_until", nullable=True),
    instant("next_due_at"),
    Column("low_balance_percent", SmallInteger, nullable=False, server_default="20"),
    microcredits("minimum_charge", default="250000"),
    Column("version", BigInteger, nullable=False, server_default="0"),
    instant("clock_at"),
    instant("created_at"),
    microcredits("rollover_withheld"),
    Column("level", Text, nullable=False, server_default="depleted"),
    # The promise as a constraint: nothing is made or lost on any commit, and
    # nobody has credits and debt at once. Each has caught a planted mistake.
    CheckConstraint(f"least({_ACCOUNT_COUNTERS}) >= 0", name="not_negative"),
    CheckConstraint(
        "granted_total + overage"
        " = available + reserved + spent_total + expired_total + clawed_back_total",
        name="conservation",
    ),
    CheckConstraint("available = 0 or overage = 0", name="one_sided"),
    CheckConstraint("monthly + bonus + overage >= available + reserved", name="funded"),
    CheckConstraint("lapsed <= monthly + bonus and lapsed <= reserved", name="lapsed"),
    CheckConstraint("period_start < period_end", name="period"),
    CheckConstraint("anchor_day between 1 and 31", name="anchor"),
    CheckConstraint(
        "period_grant >= -1 and rollover_cap >= 0 and low_balance_percent between 10 and 50"
        " and minimum_charge >= 0",
        name="terms",
    ),
    CheckConstraint("(pending_at is null) = (pending_period_grant is null)", name="pending_change"),
    CheckConstraint("rollover_withheld >= 0", name="rollover"),
    CheckConstraint("level in ('ample', 'low', 'depleted')", name="level"),
    # No index on a column that reserve and settle change: their updates stay in the page.
    Index(None, "next_due_at"),
    Index(None, "project_id"),
    schema="credits",
    postgresql_with={"fillfactor": "50"},
    comment="One row for each organization: what it has, what is reserved, what it owes.",
)

grants = Table(
    "grants",
    metadata,
    _account_id(),
    identifier("id", primary_key=True),
    Column("operation", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("category", Text, nullable=False),
    Column("pool", Text, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    microcredits("amount", default=None),
    microcredits("remaining", default=None),
    Column("state", Text, nullable=False),
    instant("effective_at"),
    instant("expires_at", nullable=True),
    Column("version", BigInteger, nullable=True),
    Column("refund_of", BigInteger, nullable=True),
    label("source_ref"),
    label("reason"),
    label("idempotency_key"),
    digest("fingerprint", nullable=True),
    *actor_columns(),
    document("metadata"),
    instant("created_at"),
    microcredits("forfeited"),
    CheckConstraint("amount > 0 and remaining between 0 and amount", name="amount"),
    CheckConstraint("forfeited between 0 and amount - remaining", name="forfeited"),
    CheckConstraint(
        "source in ('plan_allocation', 'plan_change', 'rollover', 'top_up', 'promotional',"
        " 'referral', 'admin_adjustment', 'refund', 'reversal')",
        name="source",
    ),
    CheckConstraint("category in ('paid', 'promotional')", name="category"),
    CheckConstraint(
        "(pool = 'monthly') = (source in ('plan_allocation', 'plan_change', 'rollover'))"
        " and pool in ('monthly', 'bonus')",
        name="pool",
    ),
    CheckConstraint("state in ('scheduled', 'live', 'lapsed', 'closed')", name="state"),
    CheckConstraint("state <> 'closed' or remaining = 0", name="closed"),
    CheckConstraint("(state = 'scheduled') <= (version is null)", name="activated"),
    CheckConstraint("expires_at > effective_at", name="expiry"),
    CheckConstraint("(idempotency_key is null) = (fingerprint is null)", name="key"),
    UniqueConstraint("account_id", "operation", "idempotency_key", "category"),
    Index("grants_open_idx", "account_id", postgresql_where=text("state <> 'closed'")),
    Index(None, "account_id", "refund_of", postgresql_where=text("refund_of is not null")),
    schema="credits",
    postgresql_with={"fillfactor": "80"},
    comment="Credits given: drawn by priority, then earliest expiry, promotional before paid.",
)

reservations = Table(
    "reservations",
    metadata,
    _account_id(),
    identifier("id", primary_key=True),
    microcredits("amount", default=None),
    microcredits("requested_amount", default=None),
    Column("requested_ttl_seconds", Integer, nullable=False),
    Column("status", Text, nullable=False, server_default="pending"),
    Column("idempotency_key", Text, nullable=False),
    digest("fingerprint"),
    instant("opened_at"),
    instant("expires_at"),
    instant("closed_at", nullable=True),
    Column("opened_version", BigInteger, nullable=False),
    Column("closed_version", BigInteger, nullable=True),
    Column("settled_version", BigInteger, nullable=True),
    microcredits("settled_amount", nullable=True),
    label("release_reason"),
    *subject_columns(),
    *actor_columns(),
    document("metadata"),
    CheckConstraint("amount > 0 and requested_amount > 0", name="amount"),
    CheckConstraint("settled_amount >= 0", name="settled_amount"),
    CheckConstraint("status in ('pending', 'settled', 'released', 'expired')", name="status"),
    CheckConstraint(
        "(status = 'pending') = (closed_version is null)"
        " and (status = 'settled') = (settled_version is not null)"
        " and (status = 'settled') = (settled_amount is not null)"
        " and (closed_version is null) = (closed_at is null)",
        name="state",
    ),
    UniqueConstraint("account_id", "idempotency_key"),
    Index(
        "reservations_pending_idx",
        "account_id",
        "expires_at",
        postgresql_where=text("status = 'pending'"),
    ),
    schema="credits",
    postgresql_with={"fillfactor": "70"},
    comment="Credits set aside for work that is under way.",
)

reservation_extensions = Table(
    "reservation_extensions",
    metadata,
    Column("account_id", Uuid, primary_key=True),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    identifier("reservation_id"),
    microcredits("amount", default=None),
    instant("expires_at"),
    instant("created_at"),
    ForeignKeyConstraint(
        ["account_id", "reservation_id"],
        ["credits.reservations.account_id", "credits.reservations.id"],
        ondelete="RESTRICT",
    ),
    Index(None, "account_id", "reservation_id"),
    schema="credits",
    comment="What a reservation was raised to, each time it was.",
)

transactions = Table(
    "transactions",
    metadata,
    _account_id(),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("type", Text, nullable=False),
    Column("operation", Text, nullable=False),
    Column("amount", MICROCREDITS, nullable=False),
    microcredits("available_after", default=None),
    microcredits("reserved_after", default=None),
    microcredits("overage_after", default=None),
    identifier("reservation_id", nullable=True),
    identifier("grant_id", nullable=True),
    Column("refund_of", BigInteger, nullable=True),
    microcredits("estimated", nullable=True),
    Column("drawn_grant_ids", ARRAY(Uuid), nullable=True),
    Column("drawn_amounts", ARRAY(BigInteger), nullable=True),
    label("idempotency_key"),
    digest("fingerprint", nullable=True),
    label("reason"),
    *subject_columns(),
    *actor_columns(),
    document("metadata"),
    instant("created_at"),
    CheckConstraint(
        "type in ('plan_allocation', 'top_up', 'promotional', 'referral', 'admin_adjustment',"
        " 'plan_change', 'rollover', 'consumption', 'expiration', 'void', 'refund', 'reversal')",
        name="type",
    ),
    CheckConstraint(
        "case when type in ('consumption', 'expiration', 'void') then amount < 0"
        " when type in ('admin_adjustment', 'plan_change', 'reversal') then amount <> 0"
        " else amount > 0 end",
        name="sign",
    ),
    CheckConstraint(
        "least(available_after, reserved_after, overage_after) >= 0", name="not_negative"
    ),
    CheckConstraint(
        "cardinality(drawn_grant_ids) is not distinct from cardinality(drawn_amounts)",
        name="drawn",
    ),
    CheckConstraint("(idempotency_key is null) = (fingerprint is null)", name="key"),
    Index(
        "transactions_key_idx",
        "account_id",
        "operation",
        "idempotency_key",
        unique=True,
        postgresql_where=text("idempotency_key is not null"),
    ),
    schema="credits",
    comment="The ledger: what was granted, spent, expired or taken back. Only ever added to.",
)

account_changes = Table(
    "account_changes",
    metadata,
    _account_id(),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("operation", Text, nullable=False),
    document("before"),
    document("after"),
    label("reason"),
    label("idempotency_key"),
    digest("fingerprint", nullable=True),
    *actor_columns(),
    instant("created_at"),
    CheckConstraint("(idempotency_key is null) = (fingerprint is null)", name="key"),
    Index(
        "account_changes_key_idx",
        "account_id",
        "operation",
        "idempotency_key",
        unique=True,
        postgresql_where=text("idempotency_key is not null"),
    ),
    schema="credits",
    comment="Changes of an account's terms and periods: versions that moved no credits.",
)

grant_voids = Table(
    "grant_voids",
    metadata,
    _account_id(),
    Column("idempotency_key", Text, primary_key=True),
    identifier("grant_id"),
    digest("fingerprint"),
    microcredits("requested", default=None),
    microcredits("taken", default=None),
    microcredits("overage_added", default=None),
    microcredits("missing", default=None),
    Column("version", BigInteger, nullable=True),
    label("reason"),
    *actor_columns(),
    instant("created_at"),
    ForeignKeyConstraint(
        ["account_id", "grant_id"],
        ["credits.grants.account_id", "credits.grants.id"],
        ondelete="RESTRICT",
    ),
    CheckConstraint(
        "requested > 0 and least(taken, overage_added, missing) >= 0"
        " and requested = taken + overage_added + missing",
        name="amounts",
    ),
    Index(None, "account_id", "grant_id"),
    schema="credits",
    comment="Requests to take a grant back: what was taken, what became debt, what is missing.",
)

findings = Table(
    "findings",
    metadata,
    _account_id(),
    Column("kind", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    document("facts"),
    instant("created_at"),
    schema="credits",
    comment="What was refused as absurd and wants a person's eye.",
)
