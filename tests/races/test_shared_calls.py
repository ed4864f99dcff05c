"""Shared lanes and Postgres: who is locked, who is refused, and what the feed is told."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest

from app.core.database import Database, PoolLimits
from app.core.refusals import Refusal
from app.credits import Credits, ReserveRequest, calls
from app.credits import batches as module
from app.credits.batches import SHARED_LANES
from app.credits.calls import Answered
from app.credits.rows import Balance, Reserved
from db.driver import Connection
from tests.conftest import Servers
from tests.support.accounts import CREDIT, Accounts
from tests.support.races import POLL_SECONDS, SEEN_WAITING_SECONDS, Race, Session, figures


class Told:
    """Notes what the feed is told."""

    def __init__(self) -> None:
        self.moves: list[tuple[UUID, int, int, list[UUID]]] = []

    def moved(
        self, version_before: int, balance: Balance, reservations: Sequence[Answered]
    ) -> None:
        ids = [row.reservation_id for row in reservations if isinstance(row, Reserved)]
        self.moves.append((balance.account_id, version_before, balance.balance_version, ids))


class Watched(Credits):
    """Notes which accounts each call on many had."""

    def __init__(self, database: Database, told: Told) -> None:
        self.calls: list[list[UUID]] = []
        super().__init__(database, told, shared_lanes=1)

    async def reserve_many(
        self, account_ids: Sequence[UUID], requests: Sequence[ReserveRequest]
    ) -> list[Reserved | None]:
        self.calls.append(list(account_ids))
        return await super().reserve_many(account_ids, requests)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def watched(database: Database, told: Told, monkeypatch: pytest.MonkeyPatch) -> Watched:
    monkeypatch.setattr(module, "QUIET", 1)
    return Watched(database, told)


def reserve(
    credits: Credits, account_id: UUID, key: str, amount: int = 1
) -> "asyncio.Task[Reserved]":
    return asyncio.create_task(credits.reserve(account_id, ReserveRequest(key, amount)))


@asynccontextmanager
async def behind(
    race: Race, credits: Credits, account_id: UUID, *locked: UUID
) -> AsyncIterator["asyncio.Task[Reserved]"]:
    """Keep a first account waiting in a lane of its own, so that others share one."""

    async def lock(session: Session) -> None:
        for each in (account_id, *locked):
            await session.credits.catch_up(each)

    await race.hold(lock)
    first = reserve(credits, account_id, "first")
    await race.someone_waits()
    yield first
    await race.commit()
    await first


async def test_a_locked_account_waits_alone_while_the_others_are_answered(
    watched: Watched, accounts: Accounts, race: Race
) -> None:
    busy, slow, a, b = [await accounts.open(1) for _ in range(4)]
    async with behind(race, watched, busy, slow) as first:
        late, *others = [reserve(watched, each, "k") for each in (slow, a, b)]
        answers = await asyncio.gather(*others)
        assert [answer.version for answer in answers] == [3, 3]
        assert watched.calls == [[slow, a, b]]
        assert not late.done()
        assert not first.done()
    assert (await late).version == 3


async def test_a_refusal_on_the_shared_way_is_its_own(
    watched: Watched, accounts: Accounts, race: Race
) -> None:
    slow, poor, rich = [await accounts.open(1) for _ in range(3)]
    async with behind(race, watched, slow):
        much, little = reserve(watched, poor, "k", 5 * CREDIT), reserve(watched, rich, "k", 2)
        assert (await little).version == 3
        with pytest.raises(Refusal) as refused:
            await much
        assert refused.value.code == "INSUFFICIENT_CREDITS"
        assert refused.value.facts["shortfall"] == 4 * CREDIT
    assert sorted(itertools.chain(*watched.calls)) == sorted([poor, rich])
    assert figures(await accounts.balance(poor)) == (CREDIT, 0, 0)


async def test_who_was_refused_asks_alone(watched: Watched, accounts: Accounts, race: Race) -> None:
    slow, poor = [await accounts.open(1) for _ in range(2)]
    with pytest.raises(Refusal, match="INSUFFICIENT_CREDITS"):
        await reserve(watched, poor, "k", 5 * CREDIT)
    async with behind(race, watched, slow):
        with pytest.raises(Refusal, match="INSUFFICIENT_CREDITS"):
            await reserve(watched, poor, "l", 5 * CREDIT)
    assert watched.calls == []


@pytest.mark.parametrize("bad", ["nul \x00", "half a pair \ud800"])
async def test_what_postgres_has_no_character_for_fails_alone(
    bad: str, watched: Watched, accounts: Accounts, race: Race
) -> None:
    slow, *others = [await accounts.open(1) for _ in range(4)]
    async with behind(race, watched, slow):
        keys = ["k", bad, "k"]
        answers: list[Any] = await asyncio.gather(
            *(reserve(watched, each, key) for each, key in zip(others, keys, strict=True)),
            return_exceptions=True,
        )
    assert [isinstance(answer, Reserved) for answer in answers] == [True, False, True]
    assert [figures(await accounts.balance(each))[1] for each in others] == [1, 0, 1]


async def test_the_feed_is_told_once_for_each_account(
    watched: Watched, told: Told, accounts: Accounts, race: Race
) -> None:
    slow, a, b = [await accounts.open(1) for _ in range(3)]
    async with behind(race, watched, slow):
        rows = await asyncio.gather(
            *(reserve(watched, each, key) for each, key in ((a, "x"), (b, "y"), (a, "z")))
        )
        ids = [row.reservation_id for row in rows]
        # Each account's requests stand together.
        assert watched.calls == [[a, a, b]]
        assert told.moves == [(a, 2, 4, [ids[0], ids[2]]), (b, 2, 3, [ids[1]])]
        assert [row.balance.balance_version for row in rows if row.balance] == [4, 3, 4]


_WAITING = """
select count(*) from pg_stat_activity
where datname = current_database() and wait_event_type = 'Lock'
"""


async def some_wait(admin: Connection, least: int) -> None:
    """Return once Postgres says that so many wait for locks."""
    async with asyncio.timeout(SEEN_WAITING_SECONDS):
        while await admin.fetchval(_WAITING) < least:
            await asyncio.sleep(POLL_SECONDS)


@pytest.mark.parametrize("way", ["reserve", "deduct"])
async def test_locked_accounts_leave_connections_for_those_that_are_free(
    way: str, credits: Credits, accounts: Accounts, race: Race, admin: Connection
) -> None:
    locked = [await accounts.open(1) for _ in range(credits._database.limit + 10)]
    free = await accounts.open(1)

    async def lock(session: Session) -> None:
        for account_id in locked:
            await session.credits.catch_up(account_id)

    async def ask(account_id: UUID) -> object:
        if way == "deduct":
            return await credits.deduct(account_id, 1, "k")
        return await credits.reserve(account_id, ReserveRequest("k", 1))

    await race.hold(lock)
    slow = [asyncio.create_task(ask(account_id)) for account_id in locked]
    # Three shared lanes' worth of connections and a fifth of the pool are left.
    bound = credits._database.limit * 4 // 5 - 3 * SHARED_LANES
    await some_wait(admin, bound)
    assert (await credits.reserve(free, ReserveRequest("k", 1))).version == 3
    assert await admin.fetchval(_WAITING) == bound
    # Answered while all the others still wait, none of them given up.
    assert not any(task.done() for task in slow)
    await race.commit()
    await asyncio.gather(*slow)


async def test_who_waits_too_long_to_be_called_is_told(
    credits: Credits, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    account_id = await accounts.open(1)
    monkeypatch.setattr(calls, "WAITING_SECONDS", 0.01)
    credits._calls = asyncio.Semaphore(0)
    with pytest.raises(Refusal) as refused:
        await credits.deduct(account_id, 1, "k")
    assert refused.value.code == "BUSY"
    assert figures(await accounts.balance(account_id)) == (CREDIT, 0, 0)


async def test_a_busy_account_has_two_calls_under_way_and_leaves_the_others_to_others(
    credits: Credits, accounts: Accounts, race: Race, admin: Connection
) -> None:
    busy, free = await accounts.open(100), await accounts.open(1)

    async def lock(session: Session) -> None:
        await session.credits.catch_up(busy)

    await race.hold(lock)
    deducts = [asyncio.create_task(credits.deduct(busy, 1, f"k{n}")) for n in range(50)]
    await some_wait(admin, 2)
    assert (await credits.deduct(free, 1, "k")).version == 3
    assert await admin.fetchval(_WAITING) == 2
    await race.commit()
    rows = await asyncio.gather(*deducts)
    assert sorted(row.version for row in rows) == list(range(3, 53))
    assert credits._turns == {}


async def test_a_locked_table_is_told_to_all_of_a_shared_call_and_not_asked_for_in_halves(
    watched: Watched, accounts: Accounts, admin: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUIET", 0)
    others = [await accounts.open(1) for _ in range(5)]
    async with admin.transaction():
        await admin.execute("lock table credits.reservations in share mode")
        answers = await asyncio.gather(
            *(reserve(watched, each, "k") for each in others), return_exceptions=True
        )
    for answer in answers:
        assert isinstance(answer, Refusal)
        assert answer.code == "BUSY"
    assert [len(call) for call in watched.calls] == [len(others)]


@pytest.mark.parametrize(
    ("pool", "lanes", "calls"), [(20, 2, 10), (10, 1, 5), (7, 1, 2), (1, 0, 1)]
)
async def test_a_small_pool_has_fewer_lanes(
    pool: int, lanes: int, calls: int, servers: Servers, database_name: str
) -> None:
    limits = PoolLimits(min_size=1, max_size=pool)
    database = await Database.connect(servers.app_url(database_name), limits)
    made = Credits(database)
    assert len(made._reserving._shared) == lanes
    assert made._calls._value == calls
    await database.close()
