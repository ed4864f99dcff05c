"""Calls on many accounts read the clock once, after every lock, whatever the planner thinks."""

from typing import Any

import pytest

from app.credits import ReleaseRequest, ReserveRequest, SettleRequest
from tests.functions.books import NOW
from tests.functions.many import World
from tests.support.accounts import CREDIT

# Goes on by a second each time it is read, and cannot be read while any account is not locked
# by whoever reads it: the last to lock a row is written on it.
TICKING_CLOCK = """
create sequence core.ticks;
grant usage on sequence core.ticks to public;
create or replace function core.clock()
returns timestamptz
language plpgsql volatile
as $$
begin
    if exists (select from credits.accounts where xmax <> pg_current_xact_id()::xid) then
        raise exception 'the clock is read before the locks';
    end if;
    return timestamptz '2026-03-10 12:00+00' + nextval('core.ticks') * interval '1 second';
end
$$;
"""
OPERATIONS = ("reserve", "settle", "release")


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_the_clock_is_read_once_and_under_the_locks(world: World, operation: str) -> None:
    accounts = [await world.accounts.open(10) for _ in range(3)]
    ids = [account for account in accounts for _ in range(3)]
    held = [await world.hold(account, CREDIT, f"k{n}") for n, account in enumerate(ids)]
    await world.admin.execute(TICKING_CLOCK)
    credits = world.credits
    answers: list[Any]
    if operation == "reserve":
        requests = [ReserveRequest(f"new {n}", CREDIT) for n in range(len(ids))]
        answers = await credits.reserve_many(ids, requests)
    elif operation == "settle":
        answers = await credits.settle_many(ids, [SettleRequest(each, 1) for each in held])
    else:
        answers = await credits.release_many(ids, [ReleaseRequest(each) for each in held])
    assert None not in answers
    assert await world.admin.fetchval("select last_value from core.ticks") == 1
    # All that this call wrote, it wrote at one time.
    written = await world.admin.fetch(
        "select clock_at from credits.accounts"
        " union select created_at from credits.transactions where operation = 'settle'"
        " union select greatest(opened_at, closed_at) from credits.reservations"
        " where greatest(opened_at, closed_at) > $1",
        NOW,
    )
    assert len(written) == 1
