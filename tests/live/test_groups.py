"""Subscribers who ask the same and may see the same: executed once, told to all."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from app.core.database import Database
from app.core.refusals import Refusal
from app.credits import Credits
from app.credits.reads import CreditReads
from app.identity.viewer import ADMIN
from schema import groups
from schema.context import Context
from schema.documents import Operation
from schema.execution import LeafExecutor
from schema.groups import Member
from tests.live.conftest import Start
from tests.support.accounts import CREDIT, Accounts
from tests.support.keys import key_of
from tests.support.live import (
    BALANCE,
    BALANCE_FIGURES,
    RESERVATIONS,
    TRANSACTIONS,
    LiveServer,
    until,
)

CENT = CREDIT // 100


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The events that were executed."""
    events: list[object] = []
    build = LeafExecutor.build_per_event_executor

    def noted(self: LeafExecutor, event: object) -> object:
        events.append(event)
        return build(self, event)

    monkeypatch.setattr(LeafExecutor, "build_per_event_executor", noted)
    return events


@asynccontextmanager
async def _member(server: LiveServer, document: str, account: UUID) -> AsyncIterator[Member]:
    """A subscriber of this process, without a socket: it is told when it asks."""
    context = Context(server.services, ADMIN)
    operation = server.engine.operation({"query": document}, context)
    assert isinstance(operation, Operation)
    member = await server.engine.begin(operation, {"id": str(account)}, context)
    assert isinstance(member, Member)
    async with member:
        yield member


async def test_one_run_and_the_same_text_for_all(
    live: Start, accounts: Accounts, runs: list[object]
) -> None:
    server = await live()
    account = await accounts.open(100)
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(server.socket()) for _ in range(5)]
        streams = [await each.watch(BALANCE_FIGURES, account) for each in sockets * 10]
        events = await stack.enter_async_context(server.events(BALANCE_FIGURES, account))
        for stream in (*streams, events):
            assert (await stream.next())["version"] == 2
        await server.watched(account, by=51)
        [group] = server.groups
        assert len(group.members) == 51
        assert len(server.feed._watches[account]) == 1
        runs.clear()
        await server.deduct(account)
        told = [(await stream.message())["payload"] for stream in (*streams, events)]
        assert {json.dumps(each) for each in told} == {json.dumps(told[0])}
        assert told[0]["data"]["creditBalanceUpdated"]["version"] == 3
        assert len(runs) == 1
    await until(lambda: not list(server.groups), "the end")
    assert server.groups.open == 0


async def test_who_may_see_the_same_is_in_one_group_whatever_key_it_has(
    live: Start, accounts: Accounts, database: Database
) -> None:
    server = await live()
    account = await accounts.open(10)
    one, _ = await key_of(database, "organization", account)
    two, _ = await key_of(database, "organization", account)
    project, _ = await key_of(database, "project", account)
    scoped, _ = await key_of(database, "project", account, "credits:grant")
    async with AsyncExitStack() as stack:
        for secret in (one, two, project, scoped):
            socket = await stack.enter_async_context(server.socket(secret))
            assert (await (await socket.watch(BALANCE_FIGURES, account)).next())["version"] == 2
        assert sorted(len(group.members) for group in server.groups) == [1, 1, 2]
        # Another document, and other variables, are other groups.
        socket = await stack.enter_async_context(server.socket(one))
        await (await socket.watch(BALANCE % "version", account)).next()
        assert sorted(len(group.members) for group in server.groups) == [1, 1, 1, 2]


async def test_reservations_are_told_to_each_by_itself(live: Start, accounts: Accounts) -> None:
    server = await live()
    account = await accounts.open(10)
    await server.do("reserveCredits", account, amount="1")
    async with server.socket() as client:
        one = await client.watch(RESERVATIONS, account)
        assert (await one.next())["status"] == "PENDING"
        await server.do("reserveCredits", account, amount="2")
        assert (await one.next())["amount"] == "2"
        # Who comes later begins with what is open.
        two = await client.watch(RESERVATIONS, account)
        assert [(await two.next())["amount"], (await two.next())["amount"]] == ["1", "2"]
        assert len(list(server.groups)) == 2


async def test_who_comes_late_sees_what_is_there_though_no_message_told_of_it(
    live: Start, accounts: Accounts, database: Database
) -> None:
    server = await live()
    account = await accounts.open(10)
    async with server.socket() as client:
        early = await client.watch(BALANCE_FIGURES, account)
        assert (await early.next())["version"] == 2
        # By a process that says nothing.
        await Credits(database).deduct(account, CENT, "silent")
        late = await client.watch(BALANCE_FIGURES, account)
        assert (await late.next())["version"] == 3
        # What was found is told to all.
        assert (await early.next())["version"] == 3
        await server.deduct(account)
        assert (await early.next())["version"] == (await late.next())["version"] == 4


async def test_a_crowd_that_comes_at_once_is_looked_for_once(
    live: Start, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await live()
    account = await accounts.open(10)
    looks = 0
    held, go = asyncio.Event(), asyncio.Event()
    check = server.services.credits.check_balance

    async def hold(account_id: UUID, required: int = 0) -> Any:
        nonlocal looks
        looks += 1
        held.set()
        await go.wait()
        return await check(account_id, required)

    async with server.socket() as first, server.socket() as crowd:
        await (await first.watch(BALANCE_FIGURES, account)).next()
        monkeypatch.setattr(server.services.credits, "check_balance", hold)
        one = await crowd.watch(BALANCE_FIGURES, account)
        async with asyncio.timeout(10):
            await held.wait()
        # One look is under way, and may have read before these came: they need another.
        streams = [await crowd.watch(BALANCE_FIGURES, account) for _ in range(90)]
        await until(lambda: len(server.members(account)) == 92, "the crowd")
        go.set()
        for stream in (one, *streams):
            assert (await stream.next())["version"] == 2
    assert looks == 2


@pytest.mark.parametrize("document", [BALANCE_FIGURES, TRANSACTIONS])
async def test_who_comes_late_is_asked_for_its_own_right(
    document: str, live: Start, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await live()
    account = await accounts.open(10)
    async with server.socket() as client:
        early = await client.watch(document, account)
        await server.watched(account)

        async def refuse(*_: object) -> None:
            raise Refusal("NOT_FOUND", {"kind": "organization", "id": str(account)})

        monkeypatch.setattr(server.services.identity, "authorize", refuse)
        late = await client.watch(document, account)
        assert await late.refused() == "NOT_FOUND"
        await late.completed()
        monkeypatch.undo()
        await server.deduct(account)
        assert (await early.until_version(3))[-1]["version"] == 3


async def test_a_group_outlives_who_began_it(live: Start, accounts: Accounts) -> None:
    server = await live()
    account = await accounts.open(10)
    async with server.socket() as founder, server.socket() as client:
        name, began = await founder.subscribe(BALANCE_FIGURES, account)
        await began.next()
        stays = await client.watch(BALANCE_FIGURES, account)
        await stays.next()
        await founder.send({"type": "complete", "id": name})
        await until(lambda: len(server.members(account)) == 1, "the end of one")
        await server.deduct(account)
        assert (await stays.next())["version"] == 3


async def test_a_failure_is_told_to_all_once_and_who_comes_begins_anew(
    live: Start, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[str] = []
    log = SimpleNamespace(error=lambda event, **_: logged.append(event))
    monkeypatch.setattr("schema.errors.log", log)
    server = await live()
    account = await accounts.open(10)
    read = CreditReads.transactions_since

    async def fail(*_: object) -> Any:
        raise ValueError("a secret of ours")

    async with server.socket() as one, server.socket() as two:
        streams = [await each.watch(TRANSACTIONS, account) for each in (one, two)]
        await server.watched(account, by=2)
        monkeypatch.setattr(CreditReads, "transactions_since", fail)
        await server.deduct(account)
        for stream in streams:
            assert await stream.refused() == "INTERNAL"
            await stream.completed()
        assert logged == ["graphql.failed"]
        monkeypatch.setattr(CreditReads, "transactions_since", read)
        again = await one.watch(TRANSACTIONS, account)
        await server.watched(account)
        await server.deduct(account)
        assert (await again.next())["version"] == 4


async def test_whoever_is_too_slow_for_a_log_is_told_what_it_missed(
    live: Start, accounts: Accounts, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "_QUEUED", 5)
    server = await live()
    account = await accounts.open(100)
    silent = Credits(database)
    async with (
        _member(server, TRANSACTIONS, account) as slow,
        server.socket() as client,
    ):
        first = asyncio.ensure_future(anext(slow))
        reads = await client.watch(TRANSACTIONS, account)
        await server.watched(account, by=2)
        await server.deduct(account)
        assert json.loads(await first)["data"]["creditTransactionAdded"]["version"] == 3
        assert (await reads.next())["version"] == 3
        # It takes nothing more; who reads misses nothing meanwhile.
        for number in range(10):
            await silent.deduct(account, CENT, f"d-{number}")
            await server.deduct(account)
            for version in (4 + 2 * number, 5 + 2 * number):
                assert (await reads.next())["version"] == version
        told = [json.loads(await anext(slow)) for _ in range(6)]
        assert [each["data"]["creditTransactionAdded"]["version"] for each in told[:5]] == [
            *range(4, 9)
        ]
        [error] = told[5]["errors"]
        assert told[5]["data"] is None
        assert error["extensions"] == {"code": "EVENTS_MISSED", "after": 8, "through": 23}
        # What it missed stands in the ledger; it goes on with what comes.
        await server.deduct(account)
        again = json.loads(await anext(slow))
        assert again["data"]["creditTransactionAdded"]["version"] == 24
        assert (await reads.next())["version"] == 24


async def test_a_state_has_no_queue(live: Start, accounts: Accounts) -> None:
    server = await live()
    account = await accounts.open(10)
    async with _member(server, BALANCE_FIGURES, account) as slow, server.socket() as client:
        assert json.loads(await anext(slow))["data"]["creditBalanceUpdated"]["version"] == 2
        reads = await client.watch(BALANCE_FIGURES, account)
        await reads.next()
        for version in range(3, 13):
            await server.deduct(account, "0.01")
            assert (await reads.next())["version"] == version
        assert len(slow._queue) == 1
        assert json.loads(await anext(slow))["data"]["creditBalanceUpdated"]["version"] == 12
