"""Where audits go on from: a mark for each account that was found clean."""

from pathlib import Path

from db.migrations.script import execute_script

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    execute_script(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    # The parts of the auditor take marks as arguments and go with their type; the release
    # that this leads back to applies its own.
    execute_script("drop table credits.audit_marks cascade;")
