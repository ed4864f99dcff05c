"""What the auditor keeps."""

from sqlalchemy import BigInteger, Column, Table, Uuid
from sqlalchemy.dialects.postgresql import ARRAY

from db.models.base import identifier, instant, metadata, microcredits

# Figures of an account that the next audit goes on from.
_FIGURES = (
    "available",
    "reserved",
    "overage",
    "monthly",
    "bonus",
    "granted_total",
    "spent_total",
    "expired_total",
    "clawed_back_total",
    "spent_at_period_start",
)

# No reference to the account: a mark outlives an account that was taken away, and tells of it.
audit_marks = Table(
    "audit_marks",
    metadata,
    identifier("account_id", primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("account_hash", BigInteger, nullable=False),
    instant("clock_at"),
    *(microcredits(name, default=None) for name in _FIGURES),
    instant("period_start"),
    microcredits("monthly_expired", default=None),
    microcredits("plan_taken_back", default=None),
    identifier("first_id"),
    Column("reservation_ids", ARRAY(Uuid), nullable=False),
    Column("grant_ids", ARRAY(Uuid), nullable=False),
    Column("grants_remaining", ARRAY(BigInteger), nullable=False),
    Column("grants_forfeited", ARRAY(BigInteger), nullable=False),
    instant("marked_at"),
    instant("doubted_at", nullable=True),
    schema="credits",
    comment="What the next audit of an account goes on from: written when one found nothing.",
)
