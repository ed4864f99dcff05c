"""Tables that belong to no domain."""

from sqlalchemy import Column, Index, LargeBinary, Table, Text

from db.models.base import digest, instant, metadata

applied_functions = Table(
    "applied_functions",
    metadata,
    Column("path", Text, primary_key=True),
    digest("hash"),
    instant("applied_at"),
    schema="core",
    comment="The hash of each function file as it was last applied.",
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    digest("request_hash"),
    Column("response", LargeBinary, nullable=True),
    instant("created_at"),
    Index(None, "created_at"),
    schema="core",
    comment="First responses of mutations that move no credits: valid 24 h, cleared after 48 h.",
)
