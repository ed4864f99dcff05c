"""Alembic's entry: migrations run on the connection that db.migrate hands in."""

from alembic import context

from db.models import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    version_table="schema_version",
    version_table_schema="core",
    include_schemas=True,
    transactional_ddl=True,
)
context.run_migrations()
