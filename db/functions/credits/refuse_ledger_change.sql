-- credits.refuse_ledger_change: the ledger is only ever added to.
--
-- The last wall behind the missing privileges: it also stops the owner of the tables.
create or replace function credits.refuse_ledger_change()
returns trigger
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
begin
    raise exception '% of % is refused: the ledger is append-only', tg_op, tg_table_name
        using errcode = 'insufficient_privilege';
end
$$;

create or replace trigger transactions_append_only
before update or delete on credits.transactions
for each row execute function credits.refuse_ledger_change();

create or replace trigger transactions_no_truncate
before truncate on credits.transactions
for each statement execute function credits.refuse_ledger_change();

create or replace trigger account_changes_append_only
before update or delete on credits.account_changes
for each row execute function credits.refuse_ledger_change();

create or replace trigger account_changes_no_truncate
before truncate on credits.account_changes
for each statement execute function credits.refuse_ledger_change();
