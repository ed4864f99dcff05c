"""open_many, close_many: what is plain of several accounts is as if each were asked alone.

Pairs of accounts live the same life, drawn by chance: one of each pair is asked in calls on many
accounts, the other in sets. Answers, and every row of money tables and of calls, are compared.
Again: `make test T=tests/functions/test_calls_many.py P='-k "[3]"'`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any
from uuid import UUID

import pytest

from app.catalog.edits import PlanFeatureTerms, PlanLevelTerms
from app.core.database import Database
from app.credits.rows import Actor
from app.inference import CloseRequest, GiveBackRequest, ModelCalls, OpenRequest
from db.driver import Connection
from tests.functions.likeness import Names, answers_of, books
from tests.support.accounts import CREDIT
from tests.support.catalogs import FEATURE, LEVEL, PLAN
from tests.support.model_calls import Calling, digest, used

PAIRS = 4
ROUNDS = 36
SEEDS = 6
# Of all cases so many at least were plain: else little would have been compared.
PLAIN = ROUNDS * PAIRS // 10
UNKNOWN = UUID(int=7)


async def kept(admin: Connection, account: UUID) -> list[str]:
    """Return every row about an account: its money, and its calls."""
    told = await books(admin, account)
    names = Names()
    names.of(account)
    rows = await admin.fetch(
        "select to_jsonb(c) as row from inference.calls as c"
        " where account_id = $1 order by idempotency_key",
        account,
    )
    return [*told, *(names.of(sorted(row["row"].items())) for row in rows)]


@dataclass
class Life:
    """Draws what happens; both accounts of a pair are asked the same."""

    random: Random
    calling: Calling
    pairs: list[list[UUID]]
    keys: int = 0

    def opening(self) -> OpenRequest:
        """Draw a request to open."""
        random = self.random
        self.keys += 1
        key = f"k{self.keys}" if random.random() < 0.95 else "k1"
        return OpenRequest(
            key,
            digest(key),
            random.choice([*["summary", "chat"] * 6, "none"]),
            random.choice([*[None] * 6, "fast", "good"]),
            random.choice([*[None] * 6, "small", "other"]),
            random.choice([0, 7, 1_000]),
            random.choice([None, 1, 40]),
            random.choice([1, 1, 3]),
            random.choice([None, 16]),
            random.choice([60, 300]),
            end_customer_ref=random.choice([None, None, "customer"]),
            related_type=random.choice([None, "order"]),
            related_id=random.choice([None, "7"]),
            related_name=random.choice([None, "Order"]),
            trace_id=random.choice([None, "trace"]),
            actor=random.choice([None, Actor("user", "u", "U")]),
            metadata=random.choice([None, {"a": [1]}]),
        )

    def closing(self) -> tuple[Any, ...]:
        """Draw what was used, but for whose call it is."""
        random = self.random
        return (
            *random.choice(
                [(0, 0, 1), (7, 2, 12), (1_000, 0, 40), (1, 0, 1), (3, 4, -1), (0, 0, 0)]
            ),
            random.random() < 0.2,
            random.choice(["complete", "length", "left"]),
            random.choice([None, 200]),
            random.choice([None, 15]),
        )


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_a_call_on_many_accounts_does_what_a_call_on_each_does(
    seed: int, calling: Calling
) -> None:
    random = Random(seed)
    await calling.catalog.upsert_feature(calling.project, FEATURE._replace(key="chat"))
    await calling.catalog.upsert_quality_level(calling.project, LEVEL._replace(key="good", rank=1))
    limits: dict[str, Any] = {
        limit: random.choice([None, None, None, 6, 30])
        for limit in ("per_minute", "per_hour", "per_day")
    }
    any_model = random.random() < 0.5
    await calling.catalog.upsert_plan(
        calling.project,
        PLAN._replace(requests_per_minute=random.choice([None, 8])),
        [
            PlanFeatureTerms("summary", per_customer_day=random.choice([None, 2])),
            PlanFeatureTerms("chat", **limits, any_model=any_model),
        ],
        [
            PlanLevelTerms("summary", "fast", ["small", "other"]),
            PlanLevelTerms("summary", "good", ["other"]),
            *([] if any_model else [PlanLevelTerms("chat", "fast", ["other"])]),
        ],
    )
    credits = [random.choice([2_000, 100_000, 100_000]) for _ in range(PAIRS)]
    pairs = [
        [await calling.accounts.open(each, project_id=calling.project) for _ in range(2)]
        for each in credits
    ]
    life = Life(random, calling, pairs)
    plain = 0
    for _ in range(ROUNDS):
        await calling.later(seconds=random.choice([0, 1, 25, 400]))
        plain += await random.choice([_open, _open, _close, _give_back])(life)
        for many, sets in pairs:
            assert await kept(calling.admin, many) == await kept(calling.admin, sets)
    assert plain >= PLAIN


async def _open(life: Life) -> int:
    drawn = [(life.random.randrange(PAIRS), life.opening()) for _ in range(_size(life))]
    return await _asked(life, "open", [(pair, request, request) for pair, request in drawn])


async def _close(life: Life) -> int:
    drawn = []
    for _ in range(_size(life)):
        pair = life.random.randrange(PAIRS)
        told = life.closing()
        one, other = await _same_call(life, pair)
        drawn.append((pair, CloseRequest(one, *told), CloseRequest(other, *told)))
    return await _asked(life, "close", drawn)


async def _give_back(life: Life) -> int:
    """Nothing of it is of many accounts; what it leaves is."""
    pair = life.random.randrange(PAIRS)
    calls = await _same_call(life, pair)
    for account, call in zip(life.pairs[pair], calls, strict=True):
        await life.calling.calls.give_back_set(account, [GiveBackRequest(call, "gone")])
    return 0


def _size(life: Life) -> int:
    return life.random.randrange(1, 6)


async def _same_call(life: Life, pair: int) -> Sequence[UUID]:
    """Return a call that both of a pair have made, mostly an open one; seldom one of nobody."""
    found = []
    number = life.random.randrange(10**6)
    for account in life.pairs[pair]:
        rows = await life.calling.admin.fetch(
            "select id from inference.calls where account_id = $1"
            " order by state <> 'open' and $2, opened_at desc, idempotency_key limit 6",
            account,
            bool(number % 5),
        )
        known = bool(rows) and number % 20
        found.append(rows[number % len(rows)]["id"] if known else UNKNOWN)
    return found


async def _asked(life: Life, operation: str, drawn: list[tuple[int, Any, Any]]) -> int:
    """Ask the same of both accounts of each pair, in one call or in sets; compare answers."""
    as_set = getattr(life.calling.calls, f"{operation}_set")
    answers = await getattr(life.calling.calls, f"{operation}_many")(
        [life.pairs[pair][0] for pair, _, _ in drawn], [request for _, request, _ in drawn]
    )
    plain = 0
    for pair in sorted({pair for pair, _, _ in drawn}):
        one, other = life.pairs[pair]
        own = [each for each in drawn if each[0] == pair]
        first = [a for a, each in zip(answers, drawn, strict=True) if each[0] == pair]
        second = await as_set(other, [request for _, _, request in own])
        if None in first:
            assert set(first) == {None}
            first = await as_set(one, [request for _, request, _ in own])
        else:
            # Each answer of a call on many accounts carries the balance after all of it.
            second = [replace(row, balance=second[-1].balance) for row in second]
            plain += 1
        assert answers_of(first, one) == answers_of(second, other)
    return plain


async def test_whom_somebody_holds_is_told_busy_and_the_others_are_decided(
    calling: Calling, database: Database, admin: Connection
) -> None:
    other = await calling.accounts.open(10, project_id=calling.project)
    accounts, requests = [calling.account, other], [calling.request("a"), calling.request("b")]
    async with admin.transaction():
        await admin.execute(
            "select from credits.accounts where account_id = $1 for update", calling.account
        )
        opened = await calling.calls.open_many(accounts, requests)
        assert [row and row.outcome for row in opened] == ["BUSY", None]
    opened = await calling.calls.open_many(accounts, requests)
    assert [row and row.outcome for row in opened] == ["OK", None]
    assert opened[0] is not None
    call = opened[0].reservation_id
    async with admin.transaction():
        await admin.execute(
            "select from credits.accounts where account_id = $1 for update", calling.account
        )
        [held] = await ModelCalls(database).close_many([calling.account], [used(call, 900, 20)])
        assert held is not None
        assert (held.outcome, held.balance) == ("BUSY", None)
    assert (await calling.state(call))["state"] == "open"


async def test_what_only_a_second_look_can_decide_is_left_alone(calling: Calling) -> None:
    await calling.sell(PlanFeatureTerms("summary", per_hour=2, per_customer_day=9))
    opened = await calling.open("a")
    before = await calling.stands()
    for requests in (
        [calling.request("b", feature="none")],
        [calling.request("a")],
        [calling.request("b"), calling.request("b")],
        [calling.request("b", idempotency_key="")],
        # Two more are more than the hour has, one of a customer may be.
        [calling.request("b"), calling.request("c")],
        [calling.request("b", end_customer_ref="c")],
        [calling.request("b"), calling.request("c", feature="none")],
        [calling.request("b", prompt_tokens=100_000_000)],
    ):
        accounts = [calling.account] * len(requests)
        assert await calling.calls.open_many(accounts, requests) == [None] * len(requests)
    for usage in (
        [used(UNKNOWN, 1, 1)],
        [used(opened.reservation_id, -1, 1)],
        [used(opened.reservation_id, 0, 0)],
        [used(opened.reservation_id, 10_000, 1)],
        [used(opened.reservation_id, 1, 1)] * 2,
        [used(opened.reservation_id, 1, 1), used(UNKNOWN, 1, 1)],
    ):
        accounts = [calling.account] * len(usage)
        assert await calling.calls.close_many(accounts, usage) == [None] * len(usage)
    assert await calling.stands() == before
    assert [
        row and row.outcome
        for row in await calling.calls.open_many([calling.account], [calling.request("b")])
    ] == ["OK"]


async def test_each_is_answered_for_what_it_asked(calling: Calling) -> None:
    accounts = [await calling.accounts.open(100_000, project_id=calling.project) for _ in "abcd"]
    asked = [("small", 1, 10), ("other", 2, 20), (None, 3, 30), ("other", 4, 10)]
    opened = await calling.calls.open_many(
        accounts,
        [
            calling.request(
                f"k{number}", model=model, prompt_tokens=100 * number, output_tokens=limit
            )
            for model, number, limit in asked
        ],
    )
    told = [(row.model, row.output_limit, row.amount) for row in opened if row is not None]
    assert told == [
        ("small", 10, 140 * CREDIT),
        # 2 credits for 1,000 tokens, up to the next quarter.
        ("other", 20, CREDIT // 2),
        ("small", 30, 420 * CREDIT),
        ("other", 10, CREDIT),
    ]


async def test_the_last_of_an_account_carries_the_balance_in_each_answer(calling: Calling) -> None:
    other = await calling.accounts.open(100_000, project_id=calling.project)
    accounts = [calling.account, other, calling.account]
    opened = await calling.calls.open_many(accounts, [calling.request(key) for key in "abc"])
    assert [row and row.balance for row in opened] == [
        await calling.accounts.balance(account) for account in accounts
    ]
    calls = [row.reservation_id for row in opened if row is not None]
    closed = await calling.calls.close_many(accounts, [used(call, 900, 20) for call in calls])
    assert [row and row.balance for row in closed] == [
        await calling.accounts.balance(account) for account in accounts
    ]
    assert {row and row.settled_amount for row in closed} == {980 * CREDIT}
