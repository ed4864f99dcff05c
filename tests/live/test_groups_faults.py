"""What goes wrong in a shared subscription, and what becomes of its members."""

import asyncio
import json
from typing import Any
from uuid import UUID

import pytest

from app.core.database import Database, Unavailable
from app.credits.reads import CreditReads
from app.identity.viewer import ADMIN
from schema import groups
from schema.context import Context
from schema.credits.types import CreditBalance
from schema.groups import Keeps, Member, Told, Topic, Wanted
from tests.live.conftest import Faults, Start
from tests.support.accounts import CREDIT, Accounts
from tests.support.keys import key_of
from tests.support.live import BALANCE_FIGURES, TRANSACTIONS, LiveServer, Socket, until


async def test_an_outage_at_the_check_of_a_right_withholds_and_ends_nothing(
    live: Start, accounts: Accounts, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "_RETRY_SECONDS", 0.01)
    server = await live(rights_recheck_seconds=0.05, key_cache_seconds=0)
    account = await accounts.open(10)
    # One that Postgres is asked for, as an administrator's is not.
    secret, _ = await key_of(database, "organization", account)
    viewer, refused = server.services.identity.viewer, 0

    async def unreachable(_secret: str | None) -> Any:
        nonlocal refused
        refused += 1
        raise Unavailable("the database is away")

    async with server.socket(secret) as client:
        stream = await client.watch(BALANCE_FIGURES, account)
        assert (await stream.next())["version"] == 2
        monkeypatch.setattr(server.services.identity, "viewer", unreachable)
        await until(lambda: refused > 3, "some checks")
        await server.services.credits.deduct(account, CREDIT, "withheld")
        seen = refused
        await until(lambda: refused > seen + 3, "some more")
        assert client.pending(stream) == 0
        monkeypatch.setattr(server.services.identity, "viewer", viewer)
        assert (await stream.next())["version"] == 3


async def test_an_outage_at_a_read_of_the_ledger_ends_nothing(
    live: Start, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("schema.credits.subscriptions._RETRY_SECONDS", 0.01)
    server = await live()
    account = await accounts.open(10)
    read, refused, is_away = CreditReads.transactions_since, 0, True

    async def unreachable(*arguments: Any) -> Any:
        nonlocal refused
        if not is_away:
            return await read(*arguments)
        refused += 1
        raise Unavailable("the database is away")

    async with server.socket() as client:
        stream = await client.watch(TRANSACTIONS, account)
        await server.watched(account)
        monkeypatch.setattr(CreditReads, "transactions_since", unreachable)
        await server.deduct(account)
        await until(lambda: refused > 3, "some reads")
        is_away = False
        assert (await stream.next())["version"] == 3


async def test_a_fault_at_the_check_of_a_right_is_told_and_its_name_is_free(
    live: Start,
    accounts: Accounts,
    database: Database,
    faults: Faults,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    faults.expect("graphql.failed")
    server = await live(rights_recheck_seconds=0.05, key_cache_seconds=0)
    account = await accounts.open(10)
    # One that Postgres is asked for, as an administrator's is not.
    secret, _ = await key_of(database, "organization", account)
    viewer = server.services.identity.viewer

    async def broken(_secret: str | None) -> Any:
        raise ValueError("a secret of ours")

    async with server.socket(secret) as client:
        name, stream = await client.subscribe(BALANCE_FIGURES, account)
        assert (await stream.next())["version"] == 2
        monkeypatch.setattr(server.services.identity, "viewer", broken)
        assert await stream.refused() == "INTERNAL"
        await stream.completed()
        monkeypatch.setattr(server.services.identity, "viewer", viewer)
        await _again(client, name, account)


async def test_a_fault_before_an_operation_begins_is_told_and_its_name_is_free(
    live: Start,
    accounts: Accounts,
    database: Database,
    faults: Faults,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    faults.expect("socket.failed")
    server = await live(key_cache_seconds=0)
    account = await accounts.open(10)
    # One that Postgres is asked for, as an administrator's is not.
    secret, _ = await key_of(database, "organization", account)
    viewer = server.services.identity.viewer

    async def broken(_secret: str | None) -> Any:
        raise ValueError("a secret of ours")

    async with server.socket(secret) as client:
        monkeypatch.setattr(server.services.identity, "viewer", broken)
        name, stream = await client.subscribe(BALANCE_FIGURES, account)
        message = await stream.message()
        assert message["type"] == "error"
        [error] = message["payload"]
        assert error["extensions"]["code"] == "INTERNAL"
        assert error["extensions"]["requestId"]
        monkeypatch.setattr(server.services.identity, "viewer", viewer)
        await _again(client, name, account)


async def _again(client: Socket, name: str, account: UUID) -> None:
    payload = {"query": BALANCE_FIGURES, "variables": {"id": str(account)}}
    stream = client.expect(name)
    await client.send({"id": name, "type": "subscribe", "payload": payload})
    assert (await stream.next())["version"] == 2


async def test_an_error_within_an_event_is_told_to_each_with_its_own_request(
    live: Start, accounts: Accounts, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults.expect("graphql.failed")
    server = await live()
    account = await accounts.open(10)
    document = BALANCE_FIGURES.replace("version", "version allowance")
    async with server.socket() as one, server.socket() as two:
        streams = [await each.watch(document, account) for each in (one, two)]
        for stream in streams:
            await stream.next()
        [group] = server.groups
        assert len(group.members) == 2
        whole = CreditBalance.of

        def broken(row: Any) -> CreditBalance:
            balance = whole(row)
            # Its field may be null: only it is.
            balance.allowance = "no amount"  # type: ignore[assignment]
            return balance

        monkeypatch.setattr(CreditBalance, "of", broken)
        await server.deduct(account)
        told = [(await stream.message())["payload"] for stream in streams]
        ids = set()
        for payload in told:
            figures = payload["data"]["creditBalanceUpdated"]
            assert (figures["version"], figures["allowance"]) == (3, None)
            [error] = payload["errors"]
            assert (error["path"][-1], error["extensions"]["code"]) == ("allowance", "INTERNAL")
            ids.add(error["extensions"]["requestId"])
        assert len(ids) == 2


def _bare(server: LiveServer, keeps: Keeps) -> Member:
    """A member in no group: it takes what it is offered."""

    def failed(*, original_error: Exception) -> Told:
        code = getattr(original_error, "code", "INTERNAL")
        return Told(code.encode(), None, errors=[], is_last=True)

    wanted = Wanted("key", Topic("balance", keeps), None, failed)  # type: ignore[arg-type]
    member = Member(server.groups, wanted, Context(server.services, ADMIN))
    member._group = None
    return member


def _queued(member: Member) -> list[bytes]:
    return [told.payload for told in member._queue]


async def test_a_failure_is_the_last_that_is_told(
    live: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "_QUEUED", 2)
    server = await live()
    failure = Told(b"failed", None, errors=[], is_last=True)
    member = _bare(server, Keeps.NEWEST)
    member.offer(Told(b"1", 1))
    member.offer(failure)
    # Looked up meanwhile for who came late.
    member.offer(Told(b"2", 2))
    assert _queued(member) == [b"1", b"failed"]
    member = _bare(server, Keeps.ALL)
    for version in range(1, 5):
        member.offer(Told(b"%d" % version, version))
    member.offer(failure)
    # First what is missing, then why no more comes.
    assert _queued(member) == [b"1", b"2", b"EVENTS_MISSED", b"failed"]


async def test_who_is_told_at_once_and_then_waits_is_told_in_order(
    live: Start, accounts: Accounts
) -> None:
    server = await live()
    account = await accounts.open(100)
    async with server.socket() as client:
        stream = await client.watch(TRANSACTIONS, account)
        await server.watched(account)
        [member] = server.members(account)
        sink = member.sink
        assert sink is not None
        at_once: list[int] = []
        is_full = False

        def take(payload: bytes) -> bool:
            version = json.loads(payload)["data"]["creditTransactionAdded"]["version"]
            if is_full or not sink(payload):
                return False
            at_once.append(version)
            return True

        member.sink = take
        for number in range(12):
            # The line is full now and then: what comes waits, and what comes behind it too.
            is_full = number % 4 in (1, 2)
            await server.deduct(account)
        versions = [(await stream.next())["version"] for _ in range(12)]
        assert versions == list(range(3, 15))
        assert at_once
        assert len(at_once) < 12


async def test_without_the_extension_of_our_server_all_works(
    live: Start, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("schema.sockets.SEND_TEXT", "what no server has")
    server = await live()
    account = await accounts.open(100)
    async with server.socket() as client:
        stream = await client.watch(BALANCE_FIGURES, account)
        assert (await stream.next())["version"] == 2
        [member] = server.members(account)
        assert member.sink is None
        await server.deduct(account)
        assert (await stream.next())["version"] == 3


async def test_a_mutation_whose_answer_nobody_waits_for_is_done(
    live: Start, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await live()
    account = await accounts.open(10)
    credits = server.services.credits
    deduct, begun, go = credits.deduct, asyncio.Event(), asyncio.Event()

    async def slowly(*arguments: Any, **named: Any) -> Any:
        begun.set()
        await go.wait()
        return await deduct(*arguments, **named)

    monkeypatch.setattr(credits, "deduct", slowly)
    document = (
        'mutation($id: ID!) { deductCredits(input: {organizationId: $id, amount: "1",'
        ' idempotencyKey: "left"}) { __typename } }'
    )
    for way in ("complete", "leave"):
        begun.clear()
        go.clear()
        before = await accounts.balance(account)
        async with server.socket() as client:
            name, _ = await client.subscribe(document.replace("left", way), account)
            async with asyncio.timeout(10):
                await begun.wait()
            if way == "complete":
                await client.send({"id": name, "type": "complete"})
                # It was read: what comes after it is answered.
                await (await client.watch(BALANCE_FIGURES, account)).next()
            go.set()

        async def done(after: int = before.available - CREDIT) -> bool:
            return (await accounts.balance(account)).available == after

        await until(done, "the deduction")
