-- What rolls over into a month that is paid for late; how full an account was when it was
-- last said; what left a grant without being used.

alter table credits.accounts
    add column rollover_withheld credits.microcredits default '0' not null,
    add column level text default 'depleted' not null,
    add constraint accounts_rollover_check check (rollover_withheld >= 0),
    add constraint accounts_level_check check (level in ('ample', 'low', 'depleted'));

update credits.accounts as a
set level = case
    when a.period_grant = -1 then 'ample'
    when a.available + a.reserved - a.overage + a.overdraft_limit < a.minimum_charge
        then 'depleted'
    when greatest(0, a.available + a.reserved - a.overage)
        < div(greatest(0, a.period_grant)::numeric * a.low_balance_percent, 100) then 'low'
    else 'ample'
end;

alter table credits.grants
    add column forfeited credits.microcredits default '0' not null,
    add constraint grants_forfeited_check check (forfeited between 0 and amount - remaining);

update credits.grants as g
set forfeited = f.amount
from (
    select t.account_id, d.grant_id, sum(d.amount)::bigint as amount
    from credits.transactions as t
    cross join lateral unnest(t.drawn_grant_ids, t.drawn_amounts) as d (grant_id, amount)
    left join credits.grant_voids as v
        on t.type = 'void' and v.account_id = t.account_id and v.grant_id = t.grant_id
            and v.taken > 0 and t.version = v.version - (v.overage_added > 0)::int
    where t.amount < 0
        and (t.type in ('expiration', 'plan_change', 'admin_adjustment')
            or v.grant_id is not null)
    group by t.account_id, d.grant_id
) as f
where g.account_id = f.account_id and g.id = f.grant_id;

-- Replaced under their own names: no release has called them with these arguments.
drop function if exists credits.set_policy(
    uuid, bigint, bigint, bigint, bigint, bigint, bigint, bigint, int, boolean
);
drop function if exists identity.revoke_api_key(uuid, uuid);
drop function if exists credits._assert_current(credits.accounts);
drop function if exists credits._draw(uuid, bigint[], timestamptz);
drop function if exists credits._book_settles(
    uuid, timestamptz, credits.transactions[], credits.settle_request[]
);
