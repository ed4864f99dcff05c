"""credits.settle_many: what is plain on many accounts is settled, the rest is left alone."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from app.core.database import Database
from app.credits import ReleaseRequest, ReserveRequest, SettleRequest
from app.credits.rows import Actor, Settled
from tests.functions.books import LARGEST, NOW, figures, ledger, reservation, usage, versions
from tests.functions.grants import grants, top_up
from tests.functions.many import HOUR, UNKNOWN, Case, Spoil, World, left_alone, rows
from tests.support.accounts import CREDIT

NONE: Any = None


async def test_each_is_settled_in_turn_and_the_last_of_an_account_carries_its_balance(
    world: World, database: Database
) -> None:
    a = await world.accounts.open(10)
    b = await world.accounts.open(5, allowance=20)
    held = [
        await world.hold(account, CREDIT * amount, f"k{number}")
        for number, (account, amount) in enumerate([(a, 2), (b, 3), (a, 4), (b, 5)])
    ]
    answers = await rows(
        database,
        Settled,
        "settle_many",
        [a, b, UNKNOWN, a, b],
        [
            SettleRequest(held[0], CREDIT),
            SettleRequest(held[1], 3 * CREDIT),
            SettleRequest(held[0], CREDIT),
            SettleRequest(held[2], 1),
            SettleRequest(held[3], 2 * CREDIT),
        ],
    )
    assert [row.ordinal for row in answers] == [1, 2, 4, 5]
    assert [row.reservation_id for row in answers] == held
    assert [row.version for row in answers] == [5, 6, 6, 7]
    assert [row.version_before for row in answers] == [4, 5, 4, 5]
    assert [row.amount for row in answers] == [n * CREDIT for n in (2, 3, 4, 5)]
    assert [row.settled_amount for row in answers] == [CREDIT, 3 * CREDIT, 1, 2 * CREDIT]
    assert {(r.outcome, r.facts, r.replayed, r.status, r.late) for r in answers} == {
        ("OK", None, False, "settled", False)
    }
    assert [row.balance is None for row in answers] == [True, True, False, False]
    assert answers[2].balance == await world.accounts.balance(a)
    assert answers[3].balance == await world.accounts.balance(b)
    assert figures(answers[2].balance) == (9 * CREDIT - 1, 0, 0)
    assert (answers[2].balance.monthly, answers[2].balance.bonus) == (0, 9 * CREDIT - 1)
    assert (answers[3].balance.monthly, answers[3].balance.bonus) == (15 * CREDIT, 5 * CREDIT)
    assert answers[3].balance.used_this_period == 5 * CREDIT
    assert await versions(world.admin, a) == [1, 2, 3, 4, 5, 6]
    assert await versions(world.admin, b) == list(range(1, 8))
    assert [tuple(row) for row in await grants(world.admin, b)] == [
        ("plan_allocation", "live", 20 * CREDIT, 15 * CREDIT),
        ("top_up", "live", 5 * CREDIT, 5 * CREDIT),
    ]
    for row in answers:
        stored = await reservation(world.admin, row.reservation_id)
        assert (stored["status"], stored["settled_amount"]) == ("settled", row.settled_amount)
        assert (stored["closed_version"], stored["settled_version"]) == (row.version, row.version)
        assert stored["closed_at"] == NOW
    booked = await ledger(world.admin, a, after=4)
    assert [
        (r["version"], r["amount"], r["available_after"], r["reserved_after"], r["estimated"])
        for r in booked
    ] == [
        (5, -CREDIT, 5 * CREDIT, 4 * CREDIT, 2 * CREDIT),
        (6, -1, 9 * CREDIT - 1, 0, 4 * CREDIT),
    ]
    used = await usage(world.admin, b)
    assert [(r["version"], r["credits"], r["reservation_id"]) for r in used] == [
        (6, 3 * CREDIT, held[1]),
        (7, 2 * CREDIT, held[3]),
    ]


async def test_every_column_is_kept_and_told_again_by_the_function_of_one_account(
    world: World,
) -> None:
    account = await world.accounts.open(10)
    held = await world.credits.reserve(
        account,
        ReserveRequest(
            "k",
            CREDIT,
            60,
            "chat",
            "best",
            "asked",
            "v1",
            "customer",
            "order",
            "7",
            "Order 7",
            Actor("user", "u1", "Ada"),
            {"a": 1},
        ),
    )
    await world.clock.advance(HOUR / 120)
    request = SettleRequest(
        held.reservation_id,
        5,
        "complete",
        "used",
        11,
        12,
        True,  # noqa: FBT003  # a tuple in the order of its type
        13,
        14,
        200,
        "trace",
        NOW - HOUR,
        Actor("key", "k1", "Key"),
        {"b": 2},
    )
    [answer] = await world.credits.settle_many([account], [request])
    assert answer is not None
    [row] = await ledger(world.admin, account, after=3)
    subject = ("feature", "quality", "model", "price_version", "end_customer_ref")
    assert [row[name] for name in subject] == ["chat", "best", "used", "v1", "customer"]
    assert [row[f"related_{name}"] for name in ("type", "id", "name")] == ["order", "7", "Order 7"]
    assert [row[f"actor_{name}"] for name in ("kind", "id", "label")] == ["key", "k1", "Key"]
    assert (row["type"], row["operation"], row["metadata"]) == ("consumption", "settle", {"b": 2})
    assert row["created_at"] == NOW + HOUR / 120
    [record] = await usage(world.admin, account)
    expected = {
        "kind": "llm",
        "operation": "complete",
        "feature": "chat",
        "quality": "best",
        "model": "used",
        "price_version": "v1",
        "input_tokens": 11,
        "output_tokens": 12,
        "usage_estimated": True,
        "cost_nanodollars": 13,
        "credits": 5,
        "status_code": 200,
        "latency_ms": 14,
        "trace_id": "trace",
        "end_customer_ref": "customer",
        "metadata": {"b": 2},
        "occurred_at": NOW - HOUR,
        "recorded_at": NOW + HOUR / 120,
    }
    assert {name: record[name] for name in expected} == expected
    again = await world.credits.settle(account, request)
    assert again == replace(answer, replayed=True, version_before=4, balance=again.balance)


async def test_what_is_not_said_is_the_reservations(world: World) -> None:
    account = await world.accounts.open(10)
    actor = Actor("user", "u1", "Ada")
    held = await world.credits.reserve(
        account, ReserveRequest("k", CREDIT, model="asked", actor=actor, metadata={"a": 1})
    )
    await world.credits.settle_many([account], [SettleRequest(held.reservation_id, 5)])
    [row] = await ledger(world.admin, account, after=3)
    assert (row["model"], row["metadata"], row["actor_id"]) == ("asked", {"a": 1}, "u1")
    [record] = await usage(world.admin, account)
    assert (record["occurred_at"], record["metadata"]) == (NOW, None)


def _settled(*amounts: int | None, held: int = 4 * CREDIT, **told: Any) -> Spoil:
    """Return a case: an account of 10 credits, a reservation for each amount to settle."""

    async def spoil(world: World) -> Case:
        account = await world.accounts.open(10)
        return Case(
            account,
            [
                SettleRequest(await world.hold(account, held, f"k{n}"), amount, **told)
                for n, amount in enumerate(amounts)
            ],
        )

    return spoil


async def _twice(world: World) -> Case:
    account = await world.accounts.open(10)
    request = SettleRequest(await world.hold(account, CREDIT), 1)
    return Case(account, [request, request])


async def _unknown(world: World) -> Case:
    return Case(await world.accounts.open(10), [SettleRequest(UNKNOWN, 1)])


async def _unknown_beside_known(world: World) -> Case:
    account = await world.accounts.open(10)
    held = await world.hold(account, CREDIT)
    return Case(account, [SettleRequest(held, 1), SettleRequest(UNKNOWN, 1)])


async def _null(world: World) -> Case:
    return Case(await world.accounts.open(10), [SettleRequest(None, 1)])


async def _anothers(world: World) -> Case:
    account, other = [await world.accounts.open(10) for _ in range(2)]
    await world.hold(account, CREDIT)
    return Case(account, [SettleRequest(await world.hold(other, CREDIT), 1)])


async def _closed(world: World, status: str) -> Case:
    account = await world.accounts.open(10)
    held = await world.hold(account, CREDIT)
    if status == "settled":
        await world.credits.settle(account, SettleRequest(held, 1))
    elif status == "released":
        await world.credits.release(account, ReleaseRequest(held))
    else:
        await world.clock.set(NOW + 24 * HOUR)
        await world.credits.expire_reservations(account)
    assert (await reservation(world.admin, held))["status"] == status
    return Case(account, [SettleRequest(held, 1)])


def _of_status(status: str) -> Spoil:
    return lambda world: _closed(world, status)


async def _due(world: World) -> Case:
    account = await world.due()
    held = await world.hold(account, CREDIT)
    await world.clock.set(NOW + HOUR)
    return Case(account, [SettleRequest(held, 1)])


async def _lapsing(world: World) -> Case:
    account = await world.lapsing()
    return Case(account, [SettleRequest(await world.hold(account, CREDIT), 1)])


async def _indebted(world: World) -> Case:
    account, held = await world.indebted()
    return Case(account, [SettleRequest(held, 1)])


async def _used_up(world: World) -> Case:
    account = await world.accounts.open(10)
    await top_up(world.credits, account, 1, "first", expires_at=NOW + 24 * HOUR)
    held = await world.hold(account, CREDIT)
    return Case(account, [SettleRequest(held, CREDIT)])


async def _two_grants(world: World) -> Case:
    account = await world.accounts.open(10)
    await top_up(world.credits, account, 1, "first", expires_at=NOW + 24 * HOUR)
    some = [await world.hold(account, CREDIT, f"k{n}") for n in range(2)]
    return Case(account, [SettleRequest(held, CREDIT // 2 + 1) for held in some])


async def _runs_low(world: World) -> Case:
    account = await world.accounts.open(allowance=100)
    some = [await world.hold(account, 41 * CREDIT, f"k{n}") for n in range(2)]
    return Case(account, [SettleRequest(some[0], 40 * CREDIT), SettleRequest(some[1], 40_000_001)])


async def _runs_out(world: World) -> Case:
    account = await world.accounts.open(10)
    held = await world.hold(account, 10 * CREDIT)
    return Case(account, [SettleRequest(held, 10 * CREDIT - CREDIT // 4 + 1)])


async def _huge(world: World) -> Case:
    account = await world.accounts.open(10)
    ids = [UUID(int=number) for number in range(100, 120)]
    return Case(account, [SettleRequest(each, LARGEST) for each in ids])


CASES: dict[str, Spoil] = {
    "the same reservation twice": _twice,
    "a reservation that is not there": _unknown,
    "one that is, and one that is not": _unknown_beside_known,
    "no reservation": _null,
    "a reservation of another account": _anothers,
    **{status: _of_status(status) for status in ("settled", "released", "expired")},
    "no amount": _settled(None),
    "nothing": _settled(0),
    "less than nothing": _settled(-1),
    "more than was reserved": _settled(4 * CREDIT + 1),
    "input tokens": _settled(1, input_tokens=-1),
    "output tokens": _settled(1, output_tokens=-1),
    "cost": _settled(1, cost_nanodollars=-1),
    "latency": _settled(1, latency_ms=-1),
    "one bad of two": _settled(1, 0),
    "something is due": _due,
    "something lapses": _lapsing,
    "a debt": _indebted,
    "a grant is used up": _used_up,
    "two grants are drawn": _two_grants,
    "credits run low": _runs_low,
    "credits run out": _runs_out,
    "more than fits": _huge,
}


@pytest.mark.parametrize("name", CASES)
async def test_what_is_not_plain_is_left_alone_and_its_neighbour_decided(
    name: str, world: World
) -> None:
    neighbour = await world.accounts.open(10)
    good = [
        SettleRequest(await world.hold(neighbour, 4 * CREDIT, "a"), 4 * CREDIT, input_tokens=0),
        SettleRequest(await world.hold(neighbour, 4 * CREDIT, "b"), 1, latency_ms=0),
    ]
    case = await CASES[name](world)
    await left_alone(world, world.credits.settle_many, case, Case(neighbour, good))


async def test_a_reservation_past_its_time_is_settled_as_long_as_nobody_expired_it(
    world: World,
) -> None:
    account = await world.accounts.open(10)
    held = await world.hold(account, CREDIT)
    await world.clock.set(NOW + 48 * HOUR)
    [answer] = await world.credits.settle_many([account], [SettleRequest(held, 1)])
    assert answer is not None
    assert (answer.status, answer.late) == ("settled", False)


async def test_up_to_the_threshold_and_to_the_last_but_one_of_a_grant(world: World) -> None:
    account = await world.accounts.open(5, allowance=100)
    held = await world.hold(account, 100 * CREDIT)
    [low] = await world.credits.settle_many([account], [SettleRequest(held, 85 * CREDIT + 1)])
    assert low is None
    [ample] = await world.credits.settle_many([account], [SettleRequest(held, 85 * CREDIT)])
    assert ample is not None
    other = await world.accounts.open(5)
    await top_up(world.credits, other, 1, "first", expires_at=NOW + HOUR)
    held = await world.hold(other, CREDIT)
    [last_but_one] = await world.credits.settle_many([other], [SettleRequest(held, CREDIT - 1)])
    assert last_but_one is not None
    assert await grants(world.admin, other) == [
        ("top_up", "live", 5 * CREDIT, 5 * CREDIT),
        ("top_up", "live", CREDIT, 1),
    ]


async def test_all_is_drawn_from_the_grant_that_goes_first(world: World) -> None:
    account = await world.accounts.open(10)
    keys = {"later": 6 * HOUR, "first": 5 * HOUR, "last": None}
    for key, time in keys.items():
        await top_up(
            world.credits,
            account,
            2,
            key,
            expires_at=NOW + time if time else None,
            category="promotional",
        )
    some = [await world.hold(account, CREDIT, f"k{n}") for n in range(2)]
    answers = await world.credits.settle_many(
        2 * [account], [SettleRequest(held, 3) for held in some]
    )
    assert None not in answers
    left = [remaining for *_, remaining in await grants(world.admin, account)]
    assert left == [10 * CREDIT, 2 * CREDIT, 2 * CREDIT - 6, 2 * CREDIT]


async def test_a_grant_of_the_future_is_not_drawn(world: World) -> None:
    account = await world.accounts.open(10)
    await world.credits.issue_grant(
        account, 5 * CREDIT, "top_up", "later", priority=1, effective_at=NOW + HOUR
    )
    held = await world.hold(account, 2)
    [answer] = await world.credits.settle_many([account], [SettleRequest(held, 1)])
    assert answer is not None
    assert await grants(world.admin, account) == [
        ("top_up", "live", 10 * CREDIT, 10 * CREDIT - 1),
        ("top_up", "scheduled", 5 * CREDIT, 5 * CREDIT),
    ]


async def test_null_is_no_account(world: World) -> None:
    account = await world.accounts.open(10)
    request = SettleRequest(await world.hold(account, 2), 1)
    [nobody, somebody] = await world.credits.settle_many([NONE, account], [request, request])
    assert nobody is None
    assert somebody is not None
