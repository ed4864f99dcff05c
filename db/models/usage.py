"""What was used: one record for each settled call."""

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, Integer, Table, Text

from db.models.base import document, identifier, instant, metadata, microcredits

records = Table(
    "records",
    metadata,
    identifier("account_id", primary_key=True),
    identifier("id", primary_key=True),
    identifier("reservation_id", nullable=True),
    Column("version", BigInteger, nullable=False),
    Column("kind", Text, nullable=False, server_default="llm"),
    Column("operation", Text),
    Column("feature", Text),
    Column("quality", Text),
    Column("model", Text),
    Column("price_version", Text),
    Column("input_tokens", BigInteger),
    Column("output_tokens", BigInteger),
    Column("usage_estimated", Boolean, nullable=False, server_default="false"),
    Column("cost_nanodollars", BigInteger),
    microcredits("credits"),
    Column("status_code", Integer),
    Column("latency_ms", Integer),
    Column("trace_id", Text),
    Column("end_customer_ref", Text),
    document("metadata"),
    instant("occurred_at"),
    instant("recorded_at"),
    CheckConstraint(
        "least(credits, coalesce(input_tokens, 0), coalesce(output_tokens, 0),"
        " coalesce(cost_nanodollars, 0), coalesce(latency_ms, 0)) >= 0",
        name="not_negative",
    ),
    schema="usage",
    comment="One row for each settled call, written by the settle that charged it.",
)
