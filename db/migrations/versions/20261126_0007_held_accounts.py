"""Who is locked is told from who is not there."""

from db.migrations.script import execute_script

revision = "0007"
down_revision = "0006"

# Its result is another in the releases before and after: neither can replace the other's.
_DROP = "drop function if exists credits._lock_free(uuid[], integer);"


def upgrade() -> None:
    execute_script(_DROP)


def downgrade() -> None:
    execute_script(_DROP)
