"""What settled calls used is kept for several accounts at once."""

from pathlib import Path

from db.migrations.script import execute_script

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    execute_script(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    # Of the functions there is nothing to undo: those of the older release are applied.
    execute_script(
        "alter table credits.reservations alter column account_id reset (n_distinct),"
        " alter column idempotency_key reset (n_distinct);"
    )
