-- credits._claw_back: take credits from an account, whichever grants they lie in.
--
-- Drawn in draw-down order from what is live; what no grant covers is owed. What an
-- administrator takes out was not used; what pays for a grant that was taken back was.
create or replace function credits._claw_back(
    p_account credits.accounts,
    p_amount bigint,
    p_type text,
    p_operation text,
    p_grant_id uuid,
    p_reason text,
    p_actor credits.actor,
    p_idempotency_key text default null,
    p_fingerprint bytea default null,
    p_metadata jsonb default null
)
returns credits.accounts
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
declare
    v_account credits.accounts := p_account;
    v_paid bigint := least(p_account.available, p_amount);
    v_drawn record;
begin
    if p_amount - v_paid
        > credits._books_limit() - v_account.granted_total - v_account.overage
    then
        perform core.refuse('XLIMT', jsonb_build_object('limit', credits._lifetime_limit()));
    end if;
    select d.* into strict v_drawn
    from credits._draw(
        p_account.account_id, array[p_amount], p_forfeits => p_type = 'admin_adjustment') as d;
    v_account.version := v_account.version + 1;
    v_account.available := v_account.available - v_paid;
    v_account.overage := v_account.overage + p_amount - v_paid;
    v_account.clawed_back_total := v_account.clawed_back_total + p_amount;
    v_account.monthly := v_account.monthly - v_drawn.monthly;
    v_account.bonus := v_account.bonus - v_drawn.bonus;
    insert into credits.transactions (
        account_id, version, type, operation, amount,
        available_after, reserved_after, overage_after, grant_id,
        drawn_grant_ids, drawn_amounts, idempotency_key, fingerprint, reason,
        actor_kind, actor_id, actor_label, metadata, created_at
    ) values (
        v_account.account_id, v_account.version, p_type, p_operation, -p_amount,
        v_account.available, v_account.reserved, v_account.overage, p_grant_id,
        v_drawn.grant_ids, v_drawn.amounts, p_idempotency_key, p_fingerprint, p_reason,
        (p_actor).kind, (p_actor).id, (p_actor).label, p_metadata, v_account.clock_at
    );
    return v_account;
end
$$;
