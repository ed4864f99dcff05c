"""The foundations: core, identity, credits, usage, events."""

from pathlib import Path

from db.migrations.script import execute_script

revision = "0001"
down_revision = None


def upgrade() -> None:
    execute_script(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    execute_script(
        """
        drop schema events, usage, credits, identity cascade;
        drop table core.idempotency_keys;
        drop table core.applied_functions;
        do $do$
        declare
            v_function regprocedure;
        begin
            for v_function in
                select p.oid::regprocedure
                from pg_proc as p
                where p.pronamespace = 'core'::regnamespace
            loop
                execute format('drop function %s cascade', v_function);
            end loop;
        end
        $do$;
        """
    )
