"""What happened, for those who must not miss it."""

from sqlalchemy import BigInteger, Column, Index, Table, Text, text

from db.models.base import document, identifier, instant, metadata

outbox = Table(
    "outbox",
    metadata,
    identifier("account_id", primary_key=True),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("type", Text, primary_key=True),
    document("payload"),
    instant("created_at"),
    instant("relayed_at", nullable=True),
    Index(
        None,
        "account_id",
        "version",
        postgresql_where=text("relayed_at is null"),
    ),
    schema="events",
    comment="Events written in the transaction that caused them, relayed in account order.",
)
