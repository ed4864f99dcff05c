-- inference.note_answer: keep what a call used, where it cannot be charged for at once.
--
-- The model has answered: whatever becomes of the process, the worker charges for it.
--
-- locks     the call alone: the account may be the reason
-- refuses   NORSV (no such call, or it is closed), XINPT
-- replays   the first stands
-- ends in   inference.close, by whoever finds it with inference.find_abandoned
create or replace function inference.note_answer(
    p_account_id uuid, p_request inference.close_request
)
returns table (state text)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '2s' set timezone = 'UTC'
as $$
#variable_conflict use_column
declare
    v_wrong jsonb := inference._check_usage(
        p_request.input_tokens, p_request.cached_input_tokens, p_request.output_tokens);
begin
    if v_wrong is not null then
        perform core.refuse('XINPT', v_wrong);
    end if;
    return query
        update inference.calls as c
        set state = 'answered',
            input_tokens = coalesce(c.input_tokens, p_request.input_tokens),
            cached_input_tokens = coalesce(c.cached_input_tokens, p_request.cached_input_tokens),
            output_tokens = coalesce(c.output_tokens, p_request.output_tokens),
            usage_estimated = coalesce(c.usage_estimated, p_request.usage_estimated),
            outcome = coalesce(c.outcome, p_request.outcome),
            status_code = coalesce(c.status_code, p_request.status_code),
            latency_ms = coalesce(c.latency_ms, p_request.latency_ms)
        where c.account_id = p_account_id and c.id = p_request.call_id
            and c.state in ('open', 'answered')
        returning c.state;
    if not found then
        perform core.refuse('NORSV', jsonb_build_object('reservationId', p_request.call_id));
    end if;
end
$$;
grant execute on function inference.note_answer to exchequer_app;
