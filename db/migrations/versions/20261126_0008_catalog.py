"""Catalogs: what each project sells, and what it costs to make."""

from pathlib import Path

from db.migrations.script import execute_script

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    execute_script(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    execute_script("drop schema catalog cascade;")
