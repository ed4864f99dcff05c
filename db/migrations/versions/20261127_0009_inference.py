"""Calls of models, and the plans that organizations have."""

from pathlib import Path

from db.migrations.script import execute_script

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    execute_script(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    execute_script("""
        drop schema inference cascade;
        drop table catalog.organization_plans cascade;
        drop type catalog.held_plan cascade;
        alter table catalog.plan_versions drop column streams_stop;
        alter type catalog.plan_terms drop attribute streams_stop cascade;
    """)
