"""Which pages may use the keys of a project."""

from pathlib import Path

from db.migrations.script import execute_script

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    execute_script(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    execute_script("alter table identity.projects drop column allowed_origins;")
