"""What time and debt need to know: withheld roll-over, levels, what left grants unused."""

from pathlib import Path

from db.migrations.script import execute_script

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    execute_script(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    execute_script(
        """
        alter table credits.grants drop column forfeited;
        alter table credits.accounts drop column rollover_withheld, drop column level;
        """
    )
