"""What all tables share: one metadata, naming of constraints, column shorthands."""

from sqlalchemy import BigInteger, Column, DateTime, LargeBinary, MetaData, Text, Uuid
from sqlalchemy.dialects.postgresql import DOMAIN, JSONB

metadata = MetaData(
    naming_convention={
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "pk": "%(table_name)s_pkey",
    }
)

SCHEMAS = ("core", "identity", "catalog", "credits", "usage", "events", "inference")

# One unit everywhere: a millionth of a credit. Never numeric, never float:
# 'NaN'::numeric >= 0 is true, and integers cannot drift.
MICROCREDITS = DOMAIN("microcredits", BigInteger(), schema="credits", metadata=metadata)


def microcredits(name: str, *, nullable: bool = False, default: str | None = "0") -> Column[int]:
    """Return a column of micro-credits; zero unless told otherwise."""
    return Column(
        name, MICROCREDITS, nullable=nullable, server_default=None if nullable else default
    )


def instant(name: str, *, nullable: bool = False) -> Column[object]:
    """Return a column that holds an instant, always with its zone."""
    return Column(name, DateTime(timezone=True), nullable=nullable)


def label(name: str, *, nullable: bool = True) -> Column[str]:
    """Return a text column."""
    return Column(name, Text, nullable=nullable)


def identifier(name: str, *, nullable: bool = False, primary_key: bool = False) -> Column[object]:
    """Return a UUID column; the functions that insert rows make version 7."""
    return Column(name, Uuid, nullable=nullable, primary_key=primary_key)


def digest(name: str, *, nullable: bool = False) -> Column[bytes]:
    """Return a column for a hash."""
    return Column(name, LargeBinary, nullable=nullable)


def document(name: str) -> Column[object]:
    """Return a JSONB column that may be null."""
    return Column(name, JSONB(none_as_null=True), nullable=True)


def actor_columns() -> list[Column[object]]:
    """Who did it, as it was then: names change and people leave, the ledger stays."""
    return [
        Column("actor_kind", Text),
        Column("actor_id", Text),
        Column("actor_label", Text),
    ]


def subject_columns() -> list[Column[object]]:
    """Return what the credits were for, as it was then."""
    return [
        Column("feature", Text),
        Column("quality", Text),
        Column("model", Text),
        Column("price_version", Text),
        Column("end_customer_ref", Text),
        Column("related_type", Text),
        Column("related_id", Text),
        Column("related_name", Text),
    ]
