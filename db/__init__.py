"""Everything Postgres knows: tables, migrations, functions, seeds."""
