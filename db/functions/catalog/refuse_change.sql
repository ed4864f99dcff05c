-- catalog.refuse_change: prices, versions of plans and notes of edits are only ever added to.
--
-- Calls were charged and customers have bought by them. The last wall behind the missing
-- privileges: it also stops the owner of the tables.
create or replace function catalog.refuse_change()
returns trigger
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
begin
    raise exception '% of % is refused: it is append-only', tg_op, tg_table_name
        using errcode = 'insufficient_privilege';
end
$$;

create or replace trigger model_prices_append_only
before update or delete on catalog.model_prices
for each row execute function catalog.refuse_change();

create or replace trigger model_prices_no_truncate
before truncate on catalog.model_prices
for each statement execute function catalog.refuse_change();

create or replace trigger plan_versions_append_only
before update or delete on catalog.plan_versions
for each row execute function catalog.refuse_change();

create or replace trigger plan_versions_no_truncate
before truncate on catalog.plan_versions
for each statement execute function catalog.refuse_change();

create or replace trigger plan_features_append_only
before update or delete on catalog.plan_features
for each row execute function catalog.refuse_change();

create or replace trigger plan_features_no_truncate
before truncate on catalog.plan_features
for each statement execute function catalog.refuse_change();

create or replace trigger plan_quality_levels_append_only
before update or delete on catalog.plan_quality_levels
for each row execute function catalog.refuse_change();

create or replace trigger plan_quality_levels_no_truncate
before truncate on catalog.plan_quality_levels
for each statement execute function catalog.refuse_change();

create or replace trigger plan_models_append_only
before update or delete on catalog.plan_models
for each row execute function catalog.refuse_change();

create or replace trigger plan_models_no_truncate
before truncate on catalog.plan_models
for each statement execute function catalog.refuse_change();

create or replace trigger changes_append_only
before update or delete on catalog.changes
for each row execute function catalog.refuse_change();

create or replace trigger changes_no_truncate
before truncate on catalog.changes
for each statement execute function catalog.refuse_change();
