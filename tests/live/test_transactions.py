"""Every ledger row once, in order, whatever becomes of the messages."""

import asyncio
import random
from typing import Any
from uuid import UUID

import pytest

from app.core.database import Database
from app.credits import Credits, ReserveRequest, SettleRequest
from app.credits.reads import CreditReads, Transaction
from app.credits.rows import Actor
from db.driver import Connection
from tests.live.conftest import Start
from tests.support.accounts import CREDIT, Accounts
from tests.support.live import TRANSACTIONS, Stream, until

CENT = CREDIT // 100


async def _ledger(admin: Connection, account: UUID, after: int) -> list[tuple[int, str]]:
    rows = await admin.fetch(
        "select version, upper(type) as type from credits.transactions"
        " where account_id = $1 and version > $2 order by version",
        account,
        after,
    )
    return [(row["version"], row["type"]) for row in rows]


async def _received(stream: Stream, until_version: int) -> list[tuple[int, str]]:
    rows: list[tuple[int, str]] = []
    while not rows or rows[-1][0] < until_version:
        row = await stream.next()
        rows.append((row["version"], row["type"]))
    return rows


async def test_each_row_arrives_in_order_and_only_rows_from_now_on(
    live: Start, accounts: Accounts
) -> None:
    server = await live()
    account = await accounts.open(10)
    async with server.socket() as client, server.events(TRANSACTIONS, account) as events:
        stream = await client.watch(TRANSACTIONS, account)
        await server.watched(account, by=2)
        await server.deduct(account, "1.5")
        done = await server.do("reserveCredits", account, amount="4")
        await server.do(
            "settleCredits", account, reservationId=done["reservation"]["id"], amount="3"
        )
        await server.do("grantCredits", account, amount="2", source="TOP_UP")
        for each in (stream, events):
            assert [await each.next() for _ in range(3)] == [
                {"version": 3, "type": "CONSUMPTION", "amount": "-1.5", "availableAfter": "8.5"},
                # Version 4 was the reservation, which is no row of the ledger.
                {"version": 5, "type": "CONSUMPTION", "amount": "-3", "availableAfter": "5.5"},
                {"version": 6, "type": "TOP_UP", "amount": "2", "availableAfter": "7.5"},
            ]


async def test_a_burst_longer_than_a_page_arrives_whole(
    live: Start, accounts: Accounts, database: Database, admin: Connection
) -> None:
    server = await live()
    account = await accounts.open(10)
    silent = Credits(database)
    async with server.socket() as client:
        stream = await client.watch(TRANSACTIONS, account)
        await server.watched(account)
        for first in range(0, 250, 50):
            await asyncio.gather(
                *(silent.deduct(account, CENT, f"d-{n}") for n in range(first, first + 50))
            )
        # One message for 251 rows: pages of 100, 100 and 51.
        await server.deduct(account, "0.01")
        assert await _received(stream, 253) == [(n, "CONSUMPTION") for n in range(3, 254)]
        # Exactly a page, and then one more.
        await asyncio.gather(*(silent.deduct(account, CENT, f"e-{n}") for n in range(99)))
        await server.deduct(account, "0.01")
        assert await _received(stream, 353) == [(n, "CONSUMPTION") for n in range(254, 354)]
        await server.deduct(account, "0.01")
        assert await _received(stream, 354) == [(354, "CONSUMPTION")]
    assert len(await _ledger(admin, account, 2)) == 352


async def test_a_row_newer_than_the_message_is_sent_once(
    live: Start, accounts: Accounts, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await live()
    account = await accounts.open(10)
    silent = Credits(database)
    read = CreditReads.transactions_since
    keys = iter(range(100))

    async def race(self: CreditReads, *arguments: Any) -> list[Transaction]:
        # Just before the ledger is read, somebody writes: the row is there, its message not.
        await silent.deduct(account, CENT, f"race-{next(keys)}")
        return await read(self, *arguments)

    async with server.socket() as client:
        stream = await client.watch(TRANSACTIONS, account)
        await server.watched(account)
        monkeypatch.setattr(CreditReads, "transactions_since", race)
        await server.deduct(account, "0.01")
        await server.deduct(account, "0.01")
        await server.deduct(account, "0.01")
        monkeypatch.setattr(CreditReads, "transactions_since", read)
        last = (await server.deduct(account, "0.01"))["version"]
        rows = await _received(stream, last)
    assert rows == [(number, "CONSUMPTION") for number in range(3, last + 1)]


async def test_rows_of_a_process_that_says_nothing_are_found(
    live: Start, accounts: Accounts, database: Database
) -> None:
    server = await live(feed_resync_seconds=0.1)
    account = await accounts.open(10)
    silent = Credits(database)
    async with server.socket() as client:
        stream = await client.watch(TRANSACTIONS, account)
        await server.watched(account)
        for number in range(150):
            await silent.deduct(account, CENT, f"d-{number}")
        assert await _received(stream, 152) == [(n, "CONSUMPTION") for n in range(3, 153)]


async def test_no_row_is_lost_or_doubled_where_redis_loses_doubles_and_reorders(
    live: Start, accounts: Accounts, admin: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(20260310)
    writer, server = await live(), await live(feed_resync_seconds=0.1)
    account = await accounts.open(100)
    dispatch = server.bus._dispatch
    held: list[tuple[str, bytes]] = []

    def lossy(channel: str, data: bytes) -> None:
        roll = chance.random()
        if roll < 0.3:
            return
        if roll < 0.8:
            held.append((channel, data))
        if roll > 0.5:
            dispatch(channel, data)
        if held and chance.random() < 0.5:
            dispatch(*held.pop(chance.randrange(len(held))))

    monkeypatch.setattr(server.bus, "_dispatch", lossy)
    async with server.socket() as client:
        streams = [await client.watch(TRANSACTIONS, account) for _ in range(3)]
        await server.watched(account, by=3)
        credits = writer.services.credits

        async def work(worker: int) -> None:
            for number in range(25):
                key = f"{worker}-{number}"
                row = await credits.reserve(account, ReserveRequest(key, CENT))
                await credits.settle(account, SettleRequest(row.reservation_id, CENT))
                await credits.issue_grant(account, CENT, "promotional", key)

        await asyncio.gather(*(work(worker) for worker in range(6)))
        expected = await _ledger(admin, account, 2)
        assert len(expected) == 300
        for stream in streams:
            assert await _received(stream, expected[-1][0]) == expected


async def test_a_reader_that_stops_in_the_midst_of_a_page_leaves_nothing_behind(
    live: Start, accounts: Accounts, database: Database
) -> None:
    server = await live()
    account = await accounts.open(10)
    silent = Credits(database)
    async with server.socket() as client:
        name, stream = await client.subscribe(TRANSACTIONS, account)
        await server.watched(account)
        await asyncio.gather(*(silent.deduct(account, CENT, f"d-{n}") for n in range(150)))
        await server.deduct(account, "0.01")
        assert (await stream.next())["version"] == 3
        await client.send({"type": "complete", "id": name})
        await until(lambda: not server.feed._watches, "the end")
    assert server.bus._channels == {}


async def test_the_actor_of_a_row_is_told_to_who_may_read(live: Start, accounts: Accounts) -> None:
    server = await live()
    account = await accounts.open(10)
    document = TRANSACTIONS.replace("version type", "version actor { kind id label } type")
    async with server.socket() as client:
        stream = await client.watch(document, account)
        await server.watched(account)
        await server.services.credits.deduct(
            account, CENT, "d", actor=Actor("project_key", "7", "worker")
        )
        row = await stream.next()
        assert row["actor"] == {"kind": "project_key", "id": "7", "label": "worker"}
