"""The turn of a period, met by two at once: one brings the account up to date, once."""

from uuid import UUID

import pytest

from app.core.refusals import Refusal
from app.credits import Credits, ReleaseRequest, ReserveRequest, SettleRequest
from tests.support.accounts import CREDIT, Accounts
from tests.support.clock import Clock, utc
from tests.support.races import Race, figures

OPENING = utc("2026-01-31 10:00")
TURN = utc("2026-02-28 10:00")
NEXT_TURN = utc("2026-03-31 10:00")
BEFORE_THE_TURN = utc("2026-02-28 09:30")
AFTER_THE_TURN = utc("2026-02-28 10:15")


async def due(credits: Credits, accounts: Accounts, clock: Clock) -> UUID:
    """Return an account that used 60 of its 100 credits and whose period has ended.

    Its version is 3. At the turn 40 credits expire (4), the period rolls (5) and 100
    credits are granted (6).
    """
    await clock.set(OPENING)
    account = await accounts.open(allowance=100)
    assert (await credits.deduct(account, 60 * CREDIT, "d")).version == 3
    await clock.set(TURN)
    return account


async def reserved(credits: Credits, accounts: Accounts, clock: Clock) -> tuple[UUID, UUID]:
    """Return an account whose period has ended while 30 of its 100 credits are reserved.

    Its version is 3. At the turn 70 credits expire (4), the period rolls (5) and 100
    credits are granted (6).
    """
    await clock.set(OPENING)
    account = await accounts.open(allowance=100)
    await clock.set(BEFORE_THE_TURN)
    row = await credits.reserve(account, ReserveRequest("k", 30 * CREDIT, ttl_seconds=3600))
    assert row.version == 3
    await clock.set(AFTER_THE_TURN)
    return account, row.reservation_id


async def test_two_reserves_at_the_turn_share_one_allowance(
    race: Race, credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    account = await due(credits, accounts, clock)
    first = await race.hold(lambda a: a.credits.reserve(account, ReserveRequest("a", 80 * CREDIT)))
    waiting = await race.queue(
        lambda b: b.credits.reserve(account, ReserveRequest("b", 30 * CREDIT))
    )
    await race.commit()
    with pytest.raises(Refusal) as refused:
        await waiting
    assert refused.value.code == "INSUFFICIENT_CREDITS"
    assert refused.value.facts == {
        "required": 30 * CREDIT,
        "spendable": 20 * CREDIT,
        "shortfall": 10 * CREDIT,
    }
    assert (first.version_before, first.version) == (3, 7)
    assert first.balance is not None
    assert (first.balance.period_start, first.balance.period_end) == (TURN, NEXT_TURN)
    assert first.balance.used_this_period == 0
    assert await accounts.balance(account) == first.balance
    assert figures(first.balance) == (20 * CREDIT, 80 * CREDIT, 0)


async def test_a_turn_that_was_taken_back_is_made_by_who_waited(
    race: Race, credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    account = await due(credits, accounts, clock)
    await race.hold(lambda a: a.credits.reserve(account, ReserveRequest("a", 80 * CREDIT)))
    waiting = await race.queue(
        lambda b: b.credits.reserve(account, ReserveRequest("b", 30 * CREDIT))
    )
    await race.rollback()
    second = await waiting
    assert (second.version_before, second.version) == (3, 7)
    assert await accounts.balance(account) == second.balance
    assert figures(second.balance) == (70 * CREDIT, 30 * CREDIT, 0)


async def test_two_catch_ups_grant_one_period(
    race: Race, credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    account = await due(credits, accounts, clock)
    first = await race.hold(lambda a: a.credits.catch_up(account))
    waiting = await race.queue(lambda b: b.credits.catch_up(account))
    await race.commit()
    second = await waiting
    assert (first.version_before, first.balance.balance_version) == (3, 6)
    assert second.version_before == 6
    assert second.balance == first.balance == await accounts.balance(account)
    assert (first.balance.period_start, first.balance.period_end) == (TURN, NEXT_TURN)
    assert figures(first.balance) == (100 * CREDIT, 0, 0)


async def test_the_clock_is_read_when_the_wait_is_over(
    race: Race, credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    account = await due(credits, accounts, clock)
    await clock.set(BEFORE_THE_TURN)
    first = await race.hold(lambda a: a.credits.catch_up(account))
    waiting = await race.queue(lambda b: b.credits.catch_up(account))
    await clock.set(TURN)
    await race.commit()
    second = await waiting
    assert (first.version_before, first.balance.balance_version) == (3, 3)
    assert (second.version_before, second.balance.balance_version) == (3, 6)
    assert await accounts.balance(account) == second.balance
    assert figures(second.balance) == (100 * CREDIT, 0, 0)


async def test_a_settle_behind_the_turn_draws_what_was_kept_for_it(
    race: Race, credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    account, reservation = await reserved(credits, accounts, clock)
    first = await race.hold(lambda a: a.credits.catch_up(account))
    waiting = await race.queue(
        lambda b: b.credits.settle(account, SettleRequest(reservation, 20 * CREDIT))
    )
    await race.commit()
    second = await waiting
    assert (first.version_before, first.balance.balance_version) == (3, 6)
    assert figures(first.balance) == (100 * CREDIT, 30 * CREDIT, 0)
    assert (second.version_before, second.version) == (6, 7)
    assert second.balance is not None
    # The ten credits that were kept and not used expire under a version of their own.
    assert second.balance.balance_version == 8
    assert second.balance.used_this_period == 20 * CREDIT
    assert await accounts.balance(account) == second.balance
    assert figures(second.balance) == (100 * CREDIT, 0, 0)


async def test_a_release_behind_the_turn_frees_nothing_of_the_old_period(
    race: Race, credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    account, reservation = await reserved(credits, accounts, clock)
    await race.hold(lambda a: a.credits.catch_up(account))
    waiting = await race.queue(lambda b: b.credits.release(account, ReleaseRequest(reservation)))
    await race.commit()
    second = await waiting
    assert (second.version_before, second.version) == (6, 7)
    assert second.balance is not None
    assert second.balance.balance_version == 8
    assert await accounts.balance(account) == second.balance
    assert figures(second.balance) == (100 * CREDIT, 0, 0)


async def test_the_turn_behind_a_settle_that_made_it_has_nothing_to_do(
    race: Race, credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    account, reservation = await reserved(credits, accounts, clock)
    first = await race.hold(
        lambda a: a.credits.settle(account, SettleRequest(reservation, 20 * CREDIT))
    )
    waiting = await race.queue(lambda b: b.credits.catch_up(account))
    await race.commit()
    second = await waiting
    assert (first.version_before, first.version) == (3, 7)
    assert second.version_before == 8
    assert second.balance == first.balance == await accounts.balance(account)
    assert figures(second.balance) == (100 * CREDIT, 0, 0)


async def test_a_reserve_behind_a_smaller_allowance_is_refused(
    race: Race, accounts: Accounts
) -> None:
    account = await accounts.open(allowance=100)
    first = await race.hold(lambda a: a.credits.set_allowance(account, 40 * CREDIT, "s"))
    waiting = await race.queue(
        lambda b: b.credits.reserve(account, ReserveRequest("r", 50 * CREDIT))
    )
    await race.commit()
    with pytest.raises(Refusal) as refused:
        await waiting
    assert refused.value.code == "INSUFFICIENT_CREDITS"
    assert refused.value.facts == {
        "required": 50 * CREDIT,
        "spendable": 40 * CREDIT,
        "shortfall": 10 * CREDIT,
    }
    assert first.balance.period_grant == 40 * CREDIT
    assert await accounts.balance(account) == first.balance
    assert figures(first.balance) == (40 * CREDIT, 0, 0)


async def test_a_smaller_allowance_behind_a_reserve_leaves_what_is_reserved(
    race: Race, accounts: Accounts
) -> None:
    account = await accounts.open(allowance=100)
    await race.hold(lambda a: a.credits.reserve(account, ReserveRequest("r", 50 * CREDIT)))
    waiting = await race.queue(lambda b: b.credits.set_allowance(account, 40 * CREDIT, "s"))
    await race.commit()
    second = await waiting
    assert second.balance.period_grant == 40 * CREDIT
    assert await accounts.balance(account) == second.balance
    assert figures(second.balance) == (0, 50 * CREDIT, 0)
