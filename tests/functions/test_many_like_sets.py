"""Whatever is plain, a call on many accounts does what a call on each of them does.

Pairs of accounts live the same life, drawn by chance: one of each pair is asked in calls on many
accounts, the other in sets. Answers, and every column of every money table, are compared;
ids are compared by the order in which they are met. Again:
`make test T=tests/functions/test_many_like_sets.py P='-k "[3]"'`.
"""

from dataclasses import dataclass, replace
from datetime import timedelta
from random import Random
from typing import Any
from uuid import UUID

import pytest

from app.credits import Credits, ReleaseRequest, ReserveRequest, SettleRequest
from app.credits.rows import Actor
from db.driver import Connection
from tests.functions.books import NOW
from tests.functions.likeness import answers_of, books
from tests.support.accounts import CREDIT, Accounts
from tests.support.clock import Clock

PAIRS = 4
ROUNDS = 36
SEEDS = 8
# Of all cases so many at least were plain: else little would have been compared.
PLAIN = ROUNDS * PAIRS // 5
OPERATIONS = ("reserve", "settle", "release")


class Life:
    """Draws what happens; both accounts of a pair are asked the same."""

    def __init__(self, random: Random, credits: Credits) -> None:
        self.random = random
        self.credits = credits
        self._keys = 0
        self.held: list[list[str]] = [[] for _ in range(PAIRS)]

    def request(self, operation: str, pair: int) -> tuple[Any, ...] | None:
        """Draw a request; the first of its fields is a key, or that of a reservation."""
        random = self.random
        if operation == "reserve":
            self._keys += 1
            return (
                f"k{self._keys}" if random.random() < 0.97 else "k1",
                random.choice([1, 7, CREDIT // 3, CREDIT]),
                random.choice([1, 300, 86_400]),
                *(random.choice([None, name]) for name in ("f", "q", "m", "p", "e", "t", "i", "n")),
                random.choice([None, Actor("user", "u", "U")]),
                random.choice([None, {"a": {"b": [1, None]}}]),
            )
        if not self.held[pair]:
            return None
        key = random.choice(self.held[pair][-6:])
        if operation == "release":
            return key, random.choice([None, "because"])
        return (
            key,
            random.choice([1, 1, 5, 7, CREDIT // 5]),
            *(random.choice([None, name]) for name in ("o", "m2")),
            *(random.choice([None, 0, 12]) for _ in range(2)),
            random.choice([None, True, False]),
            *(random.choice([None, 0, 15]) for _ in range(2)),
            random.choice([None, 200, 500]),
            random.choice([None, "trace"]),
            random.choice([None, NOW - timedelta(days=1)]),
            random.choice([None, Actor("key", "k", "K")]),
            random.choice([None, {"c": 2}]),
        )


_KINDS: dict[str, Any] = {
    "reserve": ReserveRequest,
    "settle": SettleRequest,
    "release": ReleaseRequest,
}


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_a_call_on_many_accounts_does_what_a_call_on_each_does(
    seed: int, credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    random = Random(seed)
    await clock.set(NOW)
    life = Life(random, credits)
    pairs = []
    for number in range(PAIRS):
        project = await accounts.project(
            period_grant=random.choice([0, -1, 20 * CREDIT]), overdraft_limit=2 * CREDIT
        )
        pair = [await accounts.open(project_id=project) for _ in range(2)]
        pairs.append(pair)
        for grant in range(random.randrange(1, 4)):
            told = random.choice([3, 20]) * CREDIT, random.choice(["top_up", "promotional"])
            ends = random.choice([None, NOW + timedelta(hours=random.randrange(1, 40))])
            priority = random.choice([5, 50])
            for account in pair:
                await credits.issue_grant(
                    account, *told, f"grant {number} {grant}", priority=priority, expires_at=ends
                )
    plain = 0
    for _ in range(ROUNDS):
        await clock.advance(timedelta(minutes=random.choice([0, 1, 50])))
        plain += await _round(life, pairs, admin)
        for many, sets in pairs:
            assert await books(admin, many) == await books(admin, sets)
    assert plain >= PLAIN


@dataclass(frozen=True, slots=True)
class Asked:
    """The same request to both accounts of a pair."""

    operation: str
    pair: int
    told: tuple[Any, ...]

    async def of(self, admin: Connection, account: UUID) -> Any:
        """Return the request to one of them: its reservation has an id of its own."""
        key, *rest = self.told
        if self.operation != "reserve":
            key = await admin.fetchval(
                "select id from credits.reservations"
                " where account_id = $1 and idempotency_key = $2",
                account,
                key,
            )
        return _KINDS[self.operation](key, *rest)


def _drawn(life: Life) -> list[Asked]:
    operation = life.random.choice(OPERATIONS)
    pairs = [life.random.randrange(PAIRS) for _ in range(life.random.randrange(1, 9))]
    drawn = [(pair, life.request(operation, pair)) for pair in pairs]
    return [Asked(operation, pair, told) for pair, told in drawn if told is not None]


async def _round(life: Life, pairs: list[list[UUID]], admin: Connection) -> int:
    """Ask the same of both accounts of each pair, in one call or in sets; compare answers."""
    asked = _drawn(life)
    if not asked:
        return 0
    operation = asked[0].operation
    as_set = getattr(life.credits, f"{operation}_set")
    answers = await getattr(life.credits, f"{operation}_many")(
        [pairs[each.pair][0] for each in asked],
        [await each.of(admin, pairs[each.pair][0]) for each in asked],
    )
    plain = 0
    for pair in sorted({each.pair for each in asked}):
        one, other = pairs[pair]
        own = [each for each in asked if each.pair == pair]
        first = [a for a, each in zip(answers, asked, strict=True) if each.pair == pair]
        second = await as_set(other, [await each.of(admin, other) for each in own])
        if None in first:
            assert set(first) == {None}
            first = await as_set(one, [await each.of(admin, one) for each in own])
        else:
            # Each answer of a call on many accounts carries the balance after all of it.
            second = [replace(row, balance=second[-1].balance) for row in second]
            plain += 1
        assert answers_of(first, one) == answers_of(second, other)
        if operation == "reserve":
            granted = zip(own, second, strict=True)
            life.held[pair] += [each.told[0] for each, row in granted if row.outcome == "OK"]
    return plain
