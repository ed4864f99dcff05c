"""Single requests of an account ride together, and nobody pays for a neighbour."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest

from app.core.database import Database, Unavailable
from app.core.refusals import Refusal
from app.credits import Credits, ExtendRequest, ReleaseRequest, ReserveRequest, SettleRequest
from app.credits import batches as module
from app.credits.batches import SET_LIMIT, WAITING_LIMIT, Batches
from app.credits.rows import Reserved
from db.driver import Connection
from tests.support.accounts import CREDIT, Accounts
from tests.support.races import Race, figures


class Watched(Credits):
    """Notes how many requests each set took."""

    def __init__(self, database: Database) -> None:
        self.sets: list[int] = []
        super().__init__(database)

    async def reserve_set(
        self, account_id: UUID, requests: Sequence[ReserveRequest]
    ) -> list[Reserved]:
        self.sets.append(len(requests))
        return await super().reserve_set(account_id, requests)


@pytest.fixture
async def watched(database: Database) -> Watched:
    return Watched(database)


def ask(credits: Credits, account: UUID, key: str, amount: int = 1) -> "asyncio.Task[Reserved]":
    return asyncio.create_task(credits.reserve(account, ReserveRequest(key, amount)))


@asynccontextmanager
async def behind(
    race: Race, credits: Credits, account: UUID
) -> AsyncIterator["asyncio.Task[Reserved]"]:
    """Keep a first call waiting for the account's row; who asks meanwhile has asked by the end."""
    await race.hold(lambda session: session.credits.catch_up(account))
    first = ask(credits, account, "first")
    await race.someone_waits()
    yield first
    await asyncio.sleep(0)
    await race.commit()


async def test_nobody_waits_for_company(watched: Watched, accounts: Accounts) -> None:
    account = await accounts.open(1)
    for number in range(3):
        await watched.reserve(account, ReserveRequest(f"key {number}", 1))
    assert watched.sets == [1, 1, 1]
    assert watched._reserving.lanes == 0


async def test_who_comes_while_a_call_is_under_way_goes_in_the_next(
    watched: Watched, accounts: Accounts, race: Race
) -> None:
    account = await accounts.open(1)
    async with behind(race, watched, account) as first:
        later = [ask(watched, account, f"later {n}") for n in range(SET_LIMIT + 44)]
    rows = [await first, *await asyncio.gather(*later)]
    assert watched.sets == [1, SET_LIMIT, 44]
    # In the order in which they came.
    assert [row.version for row in rows] == list(range(3, 3 + len(rows)))
    # Each set's answers carry the balance after all of it.
    versions = [row.balance.balance_version for row in rows if row.balance]
    assert versions == [3] + SET_LIMIT * [3 + SET_LIMIT] + 44 * [3 + SET_LIMIT + 44]
    assert watched._reserving.lanes == 0


async def test_another_account_does_not_wait(
    credits: Credits, accounts: Accounts, race: Race
) -> None:
    slow, free = await accounts.open(1), await accounts.open(1)
    async with behind(race, credits, slow) as waiting:
        await credits.reserve(free, ReserveRequest("free", 1))
        assert not waiting.done()
    await waiting


@pytest.mark.parametrize("bad", ["nul \x00", "half a pair \ud800"])
async def test_what_cannot_be_sent_fails_alone(
    bad: str,
    watched: Watched,
    accounts: Accounts,
    race: Race,
) -> None:
    account = await accounts.open(1)
    keys = [*(f"key {n}" for n in range(6)), bad, *(f"key {n}" for n in range(6, 9))]
    async with behind(race, watched, account) as first:
        asked = [ask(watched, account, key) for key in keys]
    await first
    answers = await asyncio.gather(*asked, return_exceptions=True)
    for key, answer in zip(keys, answers, strict=True):
        assert isinstance(answer, Exception if key == bad else Reserved), (key, answer)
    balance = await accounts.balance(account)
    assert figures(balance) == (CREDIT - 10, 10, 0)


async def test_a_refusal_in_a_set_is_its_own(
    credits: Credits, accounts: Accounts, race: Race
) -> None:
    account = await accounts.open(1)
    async with behind(race, credits, account) as first:
        much = ask(credits, account, "much", 5 * CREDIT)
        little = ask(credits, account, "little", 2)
    await first
    with pytest.raises(Refusal) as refused:
        await much
    assert refused.value.code == "INSUFFICIENT_CREDITS"
    assert refused.value.facts["shortfall"] == 4 * CREDIT + 1
    assert (await little).version == 4


async def test_who_leaves_before_being_sent_has_asked_nothing(
    watched: Watched, accounts: Accounts, race: Race
) -> None:
    account = await accounts.open(1)
    async with behind(race, watched, account) as first:
        leaving, staying = ask(watched, account, "leaving"), ask(watched, account, "staying")
        await asyncio.sleep(0)
        leaving.cancel()
    await first
    await staying
    assert leaving.cancelled()
    assert watched.sets == [1, 1]
    again = await watched.reserve(account, ReserveRequest("leaving", 1))
    assert not again.replayed


async def test_who_leaves_after_being_sent_may_have_it_done_and_asks_again(
    credits: Credits, accounts: Accounts, race: Race
) -> None:
    account = await accounts.open(1)
    async with behind(race, credits, account) as leaving:
        staying = ask(credits, account, "staying")
        await asyncio.sleep(0)
        leaving.cancel()
    # That it left breaks nothing off for who rides behind it.
    await staying
    assert leaving.cancelled()
    again = await credits.reserve(account, ReserveRequest("first", 1))
    assert (again.replayed, again.version) == (True, 3)


async def test_a_lock_that_is_not_had_is_told_to_all_of_the_set(
    watched: Watched, accounts: Accounts, race: Race
) -> None:
    account = await accounts.open(1)
    async with behind(race, watched, account) as first:
        with pytest.raises(Refusal) as refused:
            await first
        assert refused.value.code == "BUSY"
        # The lane is open for the next.
        assert watched._reserving.lanes == 0
    await watched.reserve(account, ReserveRequest("first", 1))


async def test_an_account_that_is_not_there(credits: Credits) -> None:
    with pytest.raises(Refusal) as refused:
        await credits.reserve(UUID(int=7), ReserveRequest("key", 1))
    assert refused.value.code == "BALANCE_NOT_FOUND"


async def test_a_lost_connection_is_told_to_all_and_the_same_key_asked_again(
    credits: Credits, accounts: Accounts, race: Race, admin: Connection
) -> None:
    account = await accounts.open(1)
    async with behind(race, credits, account) as first:
        later = ask(credits, account, "later")
        await asyncio.sleep(0)
        await admin.execute("select pg_terminate_backend($1)", await race.someone_waits())
        with pytest.raises(Unavailable):
            await first
    await later
    assert not (await credits.reserve(account, ReserveRequest("first", 1))).replayed


async def test_no_more_wait_than_may(credits: Credits, accounts: Accounts, race: Race) -> None:
    account = await accounts.open(1)
    async with behind(race, credits, account) as first:
        waiting = [ask(credits, account, f"key {n}") for n in range(WAITING_LIMIT)]
        await asyncio.sleep(0)
        with pytest.raises(Refusal) as refused:
            await credits.reserve(account, ReserveRequest("one too many", 1))
        assert refused.value.code == "BUSY"
        for task in waiting:
            task.cancel()
    await first


async def test_nobody_is_sent_who_has_waited_too_long(
    watched: Watched,
    accounts: Accounts,
    race: Race,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    account = await accounts.open(1)
    async with behind(race, watched, account) as first:
        monkeypatch.setattr(module, "WAITING_SECONDS", -1.0)
        late = ask(watched, account, "late")
    await first
    with pytest.raises(Refusal) as refused:
        await late
    assert refused.value.code == "BUSY"
    assert watched.sets == [1]
    assert (await accounts.balance(account)).reserved == 1


async def test_every_operation_rides_together(credits: Credits, accounts: Accounts) -> None:
    account = await accounts.open(100)
    count = 40

    async def live(number: int) -> None:
        held = await credits.reserve(account, ReserveRequest(f"key {number}", CREDIT))
        await credits.extend(account, ExtendRequest(held.reservation_id, CREDIT + 1))
        if number % 2:
            settled = await credits.settle(account, SettleRequest(held.reservation_id, number))
            assert (settled.reservation_id, settled.settled_amount) == (held.reservation_id, number)
        else:
            released = await credits.release(account, ReleaseRequest(held.reservation_id))
            assert released.reservation_id == held.reservation_id

    await asyncio.gather(*map(live, range(count)))
    spent = sum(range(1, count, 2))
    assert figures(await accounts.balance(account)) == (100 * CREDIT - spent, 0, 0)


async def test_a_task_that_is_ended_leaves_nobody_waiting() -> None:
    started = asyncio.Event()

    async def send(_account: UUID, requests: Sequence[str]) -> list[Any]:
        started.set()
        await asyncio.Event().wait()
        return list(requests)

    gathered: Batches[str, Any] = Batches(send, calls=asyncio.Semaphore())
    sent = asyncio.create_task(gathered.ask(UUID(int=1), "sent"))
    await started.wait()
    waiting = asyncio.create_task(gathered.ask(UUID(int=1), "waiting"))
    await asyncio.sleep(0)
    [line] = gathered._lines.values()
    assert line.task is not None
    line.task.cancel()
    for task in (sent, waiting):
        with pytest.raises(Unavailable):
            await task
    assert gathered.lanes == 0
