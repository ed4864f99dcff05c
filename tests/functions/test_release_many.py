"""credits.release_many: what is plain on many accounts is given back, the rest is left alone."""

from dataclasses import replace
from typing import Any

import pytest

from app.core.database import Database
from app.credits import ReleaseRequest, SettleRequest
from app.credits.rows import Released
from tests.functions.books import NOW, figures, ledger, reservation, versions
from tests.functions.many import HOUR, UNKNOWN, Case, Spoil, World, left_alone, rows
from tests.support.accounts import CREDIT

NONE: Any = None


async def test_each_is_given_back_in_turn_and_the_last_of_an_account_carries_its_balance(
    world: World, database: Database
) -> None:
    a, b = [await world.accounts.open(10) for _ in range(2)]
    held = [
        await world.hold(account, CREDIT * amount, f"k{number}")
        for number, (account, amount) in enumerate([(a, 2), (b, 3), (a, 4)])
    ]
    await world.hold(a, 1, "stays")
    await world.clock.advance(HOUR)
    answers = await rows(
        database,
        Released,
        "release_many",
        [a, b, UNKNOWN, a],
        [
            ReleaseRequest(held[0], "r" * 1000),
            ReleaseRequest(held[1]),
            ReleaseRequest(held[0]),
            ReleaseRequest(held[2], ""),
        ],
    )
    assert [row.ordinal for row in answers] == [1, 2, 4]
    assert [row.reservation_id for row in answers] == held
    assert [row.version for row in answers] == [6, 4, 7]
    assert [row.version_before for row in answers] == [5, 3, 5]
    assert [row.amount for row in answers] == [n * CREDIT for n in (2, 3, 4)]
    assert {(r.outcome, r.facts, r.replayed, r.status) for r in answers} == {
        ("OK", None, False, "released")
    }
    assert [row.balance is None for row in answers] == [True, False, False]
    assert answers[1].balance == await world.accounts.balance(b)
    assert answers[2].balance == await world.accounts.balance(a)
    assert figures(answers[2].balance) == (10 * CREDIT - 1, 1, 0)
    assert figures(answers[1].balance) == (10 * CREDIT, 0, 0)
    assert await versions(world.admin, a) == list(range(1, 8))
    assert await versions(world.admin, b) == list(range(1, 5))
    assert await ledger(world.admin, a, after=2) == []
    for row, reason in zip(answers, ("r" * 1000, None, ""), strict=True):
        stored = await reservation(world.admin, row.reservation_id)
        assert (stored["status"], stored["release_reason"]) == ("released", reason)
        assert (stored["closed_version"], stored["settled_version"]) == (row.version, None)
        assert stored["closed_at"] == NOW + HOUR
    again = await world.credits.release(b, ReleaseRequest(held[1]))
    assert again == replace(
        answers[1], ordinal=1, replayed=True, version_before=4, balance=again.balance
    )


async def _twice(world: World) -> Case:
    account = await world.accounts.open(10)
    request = ReleaseRequest(await world.hold(account, CREDIT))
    return Case(account, [request, request])


async def _unknown(world: World) -> Case:
    return Case(await world.accounts.open(10), [ReleaseRequest(UNKNOWN)])


async def _unknown_beside_known(world: World) -> Case:
    account = await world.accounts.open(10)
    held = await world.hold(account, CREDIT)
    return Case(account, [ReleaseRequest(held), ReleaseRequest(UNKNOWN)])


async def _null(world: World) -> Case:
    return Case(await world.accounts.open(10), [ReleaseRequest(NONE)])


async def _anothers(world: World) -> Case:
    account, other = [await world.accounts.open(10) for _ in range(2)]
    await world.hold(account, CREDIT)
    return Case(account, [ReleaseRequest(await world.hold(other, CREDIT))])


async def _closed(world: World, status: str) -> Case:
    account = await world.accounts.open(10)
    held = await world.hold(account, CREDIT)
    await world.hold(account, CREDIT, "open")
    if status == "settled":
        await world.credits.settle(account, SettleRequest(held, 1))
    elif status == "released":
        await world.credits.release(account, ReleaseRequest(held))
    else:
        await world.clock.set(NOW + 24 * HOUR)
        await world.credits.expire_reservations(account)
    assert (await reservation(world.admin, held))["status"] == status
    return Case(account, [ReleaseRequest(held)])


def _of_status(status: str) -> Spoil:
    return lambda world: _closed(world, status)


async def _long_reason(world: World) -> Case:
    account = await world.accounts.open(10)
    return Case(account, [ReleaseRequest(await world.hold(account, CREDIT), "r" * 1001)])


async def _due(world: World) -> Case:
    account = await world.due()
    held = await world.hold(account, CREDIT)
    await world.clock.set(NOW + HOUR)
    return Case(account, [ReleaseRequest(held)])


async def _lapsing(world: World) -> Case:
    account = await world.lapsing()
    return Case(account, [ReleaseRequest(await world.hold(account, CREDIT))])


async def _indebted(world: World) -> Case:
    account, held = await world.indebted()
    return Case(account, [ReleaseRequest(held)])


CASES: dict[str, Spoil] = {
    "the same reservation twice": _twice,
    "a reservation that is not there": _unknown,
    "one that is, and one that is not": _unknown_beside_known,
    "no reservation": _null,
    "a reservation of another account": _anothers,
    **{status: _of_status(status) for status in ("settled", "released", "expired")},
    "a long reason": _long_reason,
    "something is due": _due,
    "something lapses": _lapsing,
    "a debt": _indebted,
}


@pytest.mark.parametrize("name", CASES)
async def test_what_is_not_plain_is_left_alone_and_its_neighbour_decided(
    name: str, world: World
) -> None:
    neighbour = await world.accounts.open(10)
    good = [
        ReleaseRequest(await world.hold(neighbour, 4 * CREDIT, "a"), "r" * 1000),
        ReleaseRequest(await world.hold(neighbour, 4 * CREDIT, "b")),
    ]
    case = await CASES[name](world)
    await left_alone(world, world.credits.release_many, case, Case(neighbour, good))


async def test_a_reservation_past_its_time_is_released_as_long_as_nobody_expired_it(
    world: World,
) -> None:
    account = await world.accounts.open(10)
    held = await world.hold(account, CREDIT)
    await world.clock.set(NOW + 48 * HOUR)
    [answer] = await world.credits.release_many([account], [ReleaseRequest(held)])
    assert answer is not None
    assert answer.status == "released"


async def test_time_never_runs_backwards_for_an_account(world: World) -> None:
    account = await world.accounts.open(10)
    await world.clock.advance(HOUR)
    held = await world.hold(account, 1)
    await world.clock.set(NOW)
    [answer] = await world.credits.release_many([account], [ReleaseRequest(held)])
    assert answer is not None
    assert (await reservation(world.admin, held))["closed_at"] == NOW + HOUR
