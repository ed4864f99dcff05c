"""What an audit found is not forgotten by the next."""

from pathlib import Path

from db.migrations.script import execute_script

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    execute_script(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    # The function of the older release, which is applied then, has other columns.
    execute_script(
        "drop function if exists credits.audit_and_mark(uuid, uuid, boolean);"
        " alter table credits.audit_marks drop column doubted_at;"
    )
