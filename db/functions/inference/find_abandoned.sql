-- inference.find_abandoned: calls that no process is at work on any more, and what to charge for each.
--
-- What was noted as used is the truth. Of what was not, at least the prompt was read, and so much
-- written as was noted while it went on: an estimate. A call that was asked for whole was read and
-- answered, and nobody got it: only the prompt is charged.
--
-- Those of longest ago come first, after the lease and the call that are told: who walks so meets
-- each once, whatever is refused on the way. What was refused as absurd is shown until its
-- reservation expires, and again when a person has ended that.
--
-- locks     nothing
-- refuses   nothing
-- replays   reads
-- ends in   inference.close
create or replace function inference.find_abandoned(
    p_limit int, p_after timestamptz default null, p_after_call uuid default null
)
returns table (
    account_id uuid, call_id uuid, state text,
    input_tokens bigint, cached_input_tokens bigint, output_tokens bigint,
    usage_estimated boolean, outcome text, status_code int, latency_ms int,
    occurred_at timestamptz, leased_until timestamptz
)
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
    select
        c.account_id, c.id, c.state,
        coalesce(c.input_tokens, c.prompt_tokens),
        coalesce(c.cached_input_tokens, 0),
        coalesce(c.output_tokens, c.noted_tokens),
        coalesce(c.usage_estimated, true),
        coalesce(c.outcome, 'abandoned'),
        c.status_code, c.latency_ms, c.asked_at, c.leased_until
    from inference.calls as c
    where c.state in ('open', 'answered') and c.leased_until <= core.clock()
        -- The first alone bounds what is read of the index.
        and c.leased_until >= coalesce(p_after, '-infinity')
        and (p_after is null or (c.leased_until, c.id) > (p_after, p_after_call))
        -- What was refused as absurd waits for a person once its time is over.
        and not exists (
            select
            from credits.reservations as r
            join credits.findings as f
                on f.account_id = r.account_id and f.subject = r.id::text
            where r.account_id = c.account_id and r.id = c.id and r.status = 'expired'
        )
    order by c.leased_until, c.id
    limit least(p_limit, 1000)
$$;
grant execute on function inference.find_abandoned to exchequer_app;
