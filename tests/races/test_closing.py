"""Two who end or extend the same reservation: one effect wins, the other is told."""

from datetime import timedelta
from uuid import UUID

import pytest

from app.core.refusals import Refusal
from app.credits import Credits, ExtendRequest, ReleaseRequest, ReserveRequest, SettleRequest
from tests.support.accounts import CREDIT, Accounts
from tests.support.clock import Clock
from tests.support.races import Race, figures

# Every account here opens with ten credits and a reservation of six of them.
OPENED = 3


async def opened(credits: Credits, accounts: Accounts) -> tuple[UUID, UUID]:
    account = await accounts.open(10)
    row = await credits.reserve(account, ReserveRequest("k", 6 * CREDIT, ttl_seconds=60))
    assert row.version == OPENED
    return account, row.reservation_id


async def expired(credits: Credits, accounts: Accounts, clock: Clock) -> tuple[UUID, UUID]:
    account, reservation = await opened(credits, accounts)
    await clock.advance(timedelta(seconds=61))
    return account, reservation


async def test_two_settles_of_the_same_amount_charge_once(
    race: Race, credits: Credits, accounts: Accounts
) -> None:
    account, reservation = await opened(credits, accounts)
    request = SettleRequest(reservation, 5 * CREDIT)
    first = await race.hold(lambda a: a.credits.settle(account, request))
    waiting = await race.queue(lambda b: b.credits.settle(account, request))
    await race.commit()
    second = await waiting
    assert not first.replayed
    assert second.replayed
    assert (second.status, second.settled_amount, second.late) == ("settled", 5 * CREDIT, False)
    assert second.version == first.version == OPENED + 1
    assert second.balance == first.balance == await accounts.balance(account)
    assert figures(first.balance) == (5 * CREDIT, 0, 0)


async def test_of_two_settles_of_different_amounts_the_second_learns_the_winner(
    race: Race, credits: Credits, accounts: Accounts
) -> None:
    account, reservation = await opened(credits, accounts)
    first = await race.hold(
        lambda a: a.credits.settle(account, SettleRequest(reservation, 5 * CREDIT))
    )
    waiting = await race.queue(
        lambda b: b.credits.settle(account, SettleRequest(reservation, 4 * CREDIT))
    )
    await race.commit()
    with pytest.raises(Refusal) as refused:
        await waiting
    assert refused.value.code == "RESERVATION_SETTLED"
    assert refused.value.facts == {
        "reservationId": str(reservation),
        "settledAmount": 5 * CREDIT,
    }
    assert await accounts.balance(account) == first.balance
    assert figures(first.balance) == (5 * CREDIT, 0, 0)


async def test_a_settle_that_was_taken_back_leaves_the_other_to_win(
    race: Race, credits: Credits, accounts: Accounts
) -> None:
    account, reservation = await opened(credits, accounts)
    await race.hold(lambda a: a.credits.settle(account, SettleRequest(reservation, 5 * CREDIT)))
    waiting = await race.queue(
        lambda b: b.credits.settle(account, SettleRequest(reservation, 4 * CREDIT))
    )
    await race.rollback()
    second = await waiting
    assert not second.replayed
    assert (second.settled_amount, second.version) == (4 * CREDIT, OPENED + 1)
    assert await accounts.balance(account) == second.balance
    assert figures(second.balance) == (6 * CREDIT, 0, 0)


async def test_a_release_behind_a_settle_is_told_what_was_charged(
    race: Race, credits: Credits, accounts: Accounts
) -> None:
    account, reservation = await opened(credits, accounts)
    first = await race.hold(
        lambda a: a.credits.settle(account, SettleRequest(reservation, 5 * CREDIT))
    )
    waiting = await race.queue(lambda b: b.credits.release(account, ReleaseRequest(reservation)))
    await race.commit()
    with pytest.raises(Refusal) as refused:
        await waiting
    assert refused.value.code == "RESERVATION_SETTLED"
    assert refused.value.facts == {
        "reservationId": str(reservation),
        "settledAmount": 5 * CREDIT,
    }
    assert await accounts.balance(account) == first.balance
    assert figures(first.balance) == (5 * CREDIT, 0, 0)


async def test_a_settle_behind_a_release_charges_nothing(
    race: Race, credits: Credits, accounts: Accounts
) -> None:
    account, reservation = await opened(credits, accounts)
    first = await race.hold(lambda a: a.credits.release(account, ReleaseRequest(reservation)))
    waiting = await race.queue(
        lambda b: b.credits.settle(account, SettleRequest(reservation, 5 * CREDIT))
    )
    await race.commit()
    with pytest.raises(Refusal) as refused:
        await waiting
    assert refused.value.code == "RESERVATION_RELEASED"
    assert refused.value.facts == {"reservationId": str(reservation)}
    assert (first.status, first.version) == ("released", OPENED + 1)
    assert await accounts.balance(account) == first.balance
    assert figures(first.balance) == (10 * CREDIT, 0, 0)


async def test_the_sweep_behind_a_settle_finds_nothing(
    race: Race, credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    account, reservation = await expired(credits, accounts, clock)
    first = await race.hold(
        lambda a: a.credits.settle(account, SettleRequest(reservation, 5 * CREDIT))
    )
    waiting = await race.queue(lambda b: b.credits.expire_reservations(account))
    await race.commit()
    second = await waiting
    # Past its time, but not yet swept: an ordinary settle.
    assert (first.status, first.late, first.version) == ("settled", False, OPENED + 1)
    assert second.version_before == OPENED + 1
    assert second.balance == first.balance == await accounts.balance(account)
    assert figures(first.balance) == (5 * CREDIT, 0, 0)


async def test_a_settle_behind_the_sweep_is_late_and_still_charges(
    race: Race, credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    account, reservation = await expired(credits, accounts, clock)
    first = await race.hold(lambda a: a.credits.expire_reservations(account))
    waiting = await race.queue(
        lambda b: b.credits.settle(account, SettleRequest(reservation, 5 * CREDIT))
    )
    await race.commit()
    second = await waiting
    assert first.version_before == OPENED
    assert first.balance.balance_version == OPENED + 1
    assert figures(first.balance) == (10 * CREDIT, 0, 0)
    assert (second.status, second.late, second.version) == ("settled", True, OPENED + 2)
    assert await accounts.balance(account) == second.balance
    assert figures(second.balance) == (5 * CREDIT, 0, 0)


async def test_a_settle_behind_an_extend_settles_the_larger_reservation(
    race: Race, credits: Credits, accounts: Accounts
) -> None:
    account, reservation = await opened(credits, accounts)
    first = await race.hold(
        lambda a: a.credits.extend(account, ExtendRequest(reservation, 9 * CREDIT))
    )
    waiting = await race.queue(
        lambda b: b.credits.settle(account, SettleRequest(reservation, 8 * CREDIT))
    )
    await race.commit()
    second = await waiting
    assert (first.amount, first.version) == (9 * CREDIT, OPENED + 1)
    assert figures(first.balance) == (CREDIT, 9 * CREDIT, 0)
    assert (second.amount, second.settled_amount) == (9 * CREDIT, 8 * CREDIT)
    assert second.version == OPENED + 2
    assert await accounts.balance(account) == second.balance
    assert figures(second.balance) == (2 * CREDIT, 0, 0)


async def test_an_extend_behind_a_settle_holds_nothing_more(
    race: Race, credits: Credits, accounts: Accounts
) -> None:
    account, reservation = await opened(credits, accounts)
    first = await race.hold(
        lambda a: a.credits.settle(account, SettleRequest(reservation, 8 * CREDIT))
    )
    waiting = await race.queue(
        lambda b: b.credits.extend(account, ExtendRequest(reservation, 9 * CREDIT))
    )
    await race.commit()
    with pytest.raises(Refusal) as refused:
        await waiting
    assert refused.value.code == "RESERVATION_SETTLED"
    assert refused.value.facts == {
        "reservationId": str(reservation),
        "settledAmount": 8 * CREDIT,
    }
    assert await accounts.balance(account) == first.balance
    assert figures(first.balance) == (2 * CREDIT, 0, 0)


async def test_the_sweep_behind_an_extend_leaves_the_reservation_open(
    race: Race, credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    account, reservation = await expired(credits, accounts, clock)
    until = await clock.now() + timedelta(minutes=5)
    first = await race.hold(
        lambda a: a.credits.extend(account, ExtendRequest(reservation, expires_at=until))
    )
    waiting = await race.queue(lambda b: b.credits.expire_reservations(account))
    await race.commit()
    second = await waiting
    assert (first.status, first.expires_at, first.version) == ("pending", until, OPENED + 1)
    assert second.version_before == OPENED + 1
    assert second.balance == first.balance == await accounts.balance(account)
    assert figures(first.balance) == (4 * CREDIT, 6 * CREDIT, 0)


async def test_an_extend_behind_the_sweep_comes_too_late(
    race: Race, credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    account, reservation = await expired(credits, accounts, clock)
    until = await clock.now() + timedelta(minutes=5)
    first = await race.hold(lambda a: a.credits.expire_reservations(account))
    waiting = await race.queue(
        lambda b: b.credits.extend(account, ExtendRequest(reservation, expires_at=until))
    )
    await race.commit()
    with pytest.raises(Refusal) as refused:
        await waiting
    assert refused.value.code == "RESERVATION_EXPIRED"
    assert refused.value.facts == {"reservationId": str(reservation)}
    assert await accounts.balance(account) == first.balance
    assert figures(first.balance) == (10 * CREDIT, 0, 0)
