"""credits.reserve_many: what is plain on many accounts is reserved, the rest is left alone."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from app.core.database import Database
from app.credits import ReserveRequest
from app.credits.rows import Actor, Reserved
from tests.functions.books import LARGEST, NOW, figures, reservation, versions
from tests.functions.many import HOUR, UNKNOWN, Case, Spoil, World, left_alone, of, rows
from tests.support.accounts import CREDIT

NONE: Any = None
FULL = ReserveRequest(
    "k",
    3 * CREDIT,
    60,
    "chat",
    "best",
    "model",
    "2026-03",
    "customer",
    "order",
    "7",
    "Order 7",
    Actor("user", "u1", "Ada"),
    {"a": 1},
)


async def test_each_is_granted_in_turn_and_the_last_of_an_account_carries_its_balance(
    world: World, database: Database
) -> None:
    a, b = [await world.accounts.open(10) for _ in range(2)]
    answers = await rows(
        database,
        Reserved,
        "reserve_many",
        [a, b, a, UNKNOWN, b, a],
        [ReserveRequest(f"k{n}", n * CREDIT, n) for n in range(1, 7)],
    )
    assert [row.ordinal for row in answers] == [1, 2, 3, 5, 6]
    assert [row.version for row in answers] == [3, 3, 4, 4, 5]
    assert {row.version_before for row in answers} == {2}
    assert [row.amount for row in answers] == [n * CREDIT for n in (1, 2, 3, 5, 6)]
    assert [row.expires_at for row in answers] == [
        NOW + timedelta(seconds=n) for n in (1, 2, 3, 5, 6)
    ]
    assert {(r.outcome, r.facts, r.replayed, r.status) for r in answers} == {
        ("OK", None, False, "pending")
    }
    assert [row.balance is None for row in answers] == [True, True, True, False, False]
    assert answers[3].balance == await world.accounts.balance(b)
    assert answers[4].balance == await world.accounts.balance(a)
    assert figures(answers[4].balance) == (0, 10 * CREDIT, 0)
    assert figures(answers[3].balance) == (3 * CREDIT, 7 * CREDIT, 0)
    assert await versions(world.admin, a) == [1, 2, 3, 4, 5]
    assert await versions(world.admin, b) == [1, 2, 3, 4]
    for row in answers:
        stored = await reservation(world.admin, row.reservation_id)
        assert (stored["opened_version"], stored["amount"]) == (row.version, row.amount)
        assert stored["account_id"] == (b if row.ordinal in (2, 5) else a)


async def test_every_column_is_kept_and_the_key_is_replayed_by_the_function_of_one_account(
    world: World,
) -> None:
    account = await world.accounts.open(10)
    [answer] = await world.credits.reserve_many([account], [FULL])
    assert answer is not None
    stored = await reservation(world.admin, answer.reservation_id)
    assert [stored[name] for name in FULL._fields if name in stored] == [
        value for name, value in FULL._asdict().items() if name in stored
    ]
    assert (stored["actor_kind"], stored["actor_id"], stored["actor_label"]) == FULL.actor
    assert (stored["requested_amount"], stored["requested_ttl_seconds"]) == (3 * CREDIT, 60)
    assert (stored["opened_at"], stored["expires_at"]) == (NOW, NOW + timedelta(seconds=60))
    again = await world.credits.reserve(account, FULL)
    assert again == replace(answer, replayed=True, version_before=3, balance=again.balance)


async def test_time_never_runs_backwards_for_an_account(world: World) -> None:
    account = await world.accounts.open(10)
    await world.clock.advance(HOUR)
    await world.hold(account, 1)
    await world.clock.set(NOW)
    [answer] = await world.credits.reserve_many([account], [ReserveRequest("k", 1, 60)])
    assert answer is not None
    assert answer.expires_at == NOW + HOUR + timedelta(seconds=60)


async def _requests(world: World, *requests: ReserveRequest) -> Case:
    return Case(await world.accounts.open(10), requests)


def _spoilt(*requests: ReserveRequest) -> Spoil:
    async def spoil(world: World) -> Case:
        return await _requests(world, *requests)

    return spoil


async def _due(world: World) -> Case:
    account = await world.due()
    await world.clock.set(NOW + HOUR)
    return Case(account, [ReserveRequest("k", 1)])


async def _used_key(world: World) -> Case:
    account = await world.accounts.open(10)
    await world.hold(account, 1, "k")
    return Case(account, [ReserveRequest("k", 1, 86_400)])


async def _used_key_among_others(world: World) -> Case:
    account = await world.accounts.open(10)
    await world.hold(account, 1, "k")
    return Case(account, [ReserveRequest(key, 2) for key in ("j", "k", "l")])


async def _overdraft(world: World) -> Case:
    account = await world.accounts.open(10, overdraft=10)
    return Case(account, [ReserveRequest("k", 10 * CREDIT + 1)])


CASES: dict[str, Spoil] = {
    "the same key twice": _spoilt(ReserveRequest("k", 1), ReserveRequest("k", 1)),
    "the same key, apart": _spoilt(*(ReserveRequest(key, 1) for key in "kjk")),
    "a key that was used": _used_key,
    "a key that was used, among others": _used_key_among_others,
    "no amount": _spoilt(ReserveRequest("k", NONE)),
    "nothing": _spoilt(ReserveRequest("k", 0)),
    "less than nothing": _spoilt(ReserveRequest("k", -1)),
    "no key": _spoilt(ReserveRequest(NONE, 1)),
    "no key twice": _spoilt(ReserveRequest(NONE, 1), ReserveRequest(NONE, 1)),
    "an empty key": _spoilt(ReserveRequest("", 1)),
    "a long key": _spoilt(ReserveRequest("k" * 256, 1)),
    "no time": _spoilt(ReserveRequest("k", 1, NONE)),
    "too short": _spoilt(ReserveRequest("k", 1, 0)),
    "too long": _spoilt(ReserveRequest("k", 1, 86_401)),
    "something is due": _due,
    "one more than there is": _spoilt(ReserveRequest("k", 10 * CREDIT + 1)),
    "together more than there is": _spoilt(
        ReserveRequest("j", 6 * CREDIT), ReserveRequest("k", 4 * CREDIT + 1)
    ),
    "from an overdraft": _overdraft,
    "more than fits": _spoilt(*(ReserveRequest(f"k{n}", LARGEST) for n in range(20))),
    "one bad of three": _spoilt(
        ReserveRequest("j", 1), ReserveRequest("k", 0), ReserveRequest("l", 1)
    ),
}


@pytest.mark.parametrize("name", CASES)
async def test_what_is_not_plain_is_left_alone_and_its_neighbour_decided(
    name: str, world: World
) -> None:
    case = await CASES[name](world)
    neighbour = await world.accounts.open(10)
    # All of it, under keys that another account uses too.
    good = [ReserveRequest("k", 4 * CREDIT), ReserveRequest("j", 6 * CREDIT, 86_400)]
    await left_alone(world, world.credits.reserve_many, case, Case(neighbour, good))


async def test_what_spoils_one_account_is_plain_where_it_is_not_so(world: World) -> None:
    account = await world.due()
    assert [
        await world.credits.reserve_many([account], [ReserveRequest("k" * length, 1, ttl)])
        for length, ttl in ((1, 1), (255, 86_400))
    ] != [[None], [None]]
    await world.clock.set(NOW + HOUR - timedelta(microseconds=1))
    assert await world.credits.reserve_many([account], [ReserveRequest("j", 1)]) != [None]


async def test_null_is_no_account(world: World) -> None:
    account = await world.accounts.open(10)
    none: Any = None
    request = ReserveRequest("k", 1)
    [nobody, somebody] = await world.credits.reserve_many([none, account], [request, request])
    assert nobody is None
    assert somebody is not None


async def test_all_answers_of_an_account_carry_its_newest_balance(world: World) -> None:
    a, b = [await world.accounts.open(10) for _ in range(2)]
    answers = await world.credits.reserve_many(
        [a, b, a], [ReserveRequest(key, CREDIT) for key in "xyz"]
    )
    versions = [answer.balance and answer.balance.balance_version for answer in answers if answer]
    assert versions == [4, 3, 4]


async def test_256_requests_of_256_accounts(world: World) -> None:
    project = await world.accounts.project(welcome_grant=10 * CREDIT)
    ids: list[UUID] = [await world.accounts.open(project_id=project) for _ in range(256)]
    answers = await world.credits.reserve_many(
        ids, [ReserveRequest(f"k{n}", n + 1) for n in range(256)]
    )
    assert [answer and answer.version for answer in answers] == [3 for _ in ids]
    snapshot = await world.accounts.snapshot()
    [row] = of(snapshot, ids[-1])["credits.accounts"]
    assert row["reserved"] == 256
