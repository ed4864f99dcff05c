"""Alembic migrations: tables, indexes, data moves; never function bodies."""
