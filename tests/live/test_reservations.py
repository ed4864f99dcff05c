"""Reservations as they are pushed: the open ones first, then each as it changes."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from app.core.database import Database
from app.credits import Credits, ReserveRequest, SettleRequest
from app.credits.reads import CreditReads, Reservation
from tests.live.conftest import Start
from tests.support.accounts import CREDIT, Accounts
from tests.support.clock import Clock
from tests.support.live import RESERVATIONS, Stream

Told = tuple[str, str, str, str | None]


async def _told(stream: Stream, times: int) -> list[Told]:
    """Return what is told of so many changes."""
    rows = [await stream.next() for _ in range(times)]
    for row in rows:
        # An end has no time at which it ends by itself.
        assert (row["expiresAt"] is None) == (row["status"] != "PENDING")
    return [(row["id"], row["status"], row["amount"], row["settledAmount"]) for row in rows]


async def _open(credits: Credits, account: UUID, key: str, amount: int = 1, ttl: int = 300) -> str:
    row = await credits.reserve(account, ReserveRequest(key, amount * CREDIT, ttl))
    return str(row.reservation_id)


async def _settle(credits: Credits, account: UUID, reservation: str, amount: int = 1) -> None:
    await credits.settle(account, SettleRequest(UUID(reservation), amount * CREDIT))


async def test_the_open_ones_come_first_oldest_first_and_then_each_change(
    live: Start, accounts: Accounts
) -> None:
    server = await live()
    account = await accounts.open(100)
    credits = server.services.credits
    one, two, gone = [await _open(credits, account, key, 2) for key in ("1", "2", "3")]
    await _settle(credits, account, gone)
    async with server.socket() as client, server.events(RESERVATIONS, account) as events:
        streams = (await client.watch(RESERVATIONS, account), events)
        for stream in streams:
            assert await _told(stream, 2) == [
                (one, "PENDING", "2", None),
                (two, "PENDING", "2", None),
            ]
        done = await server.do("reserveCredits", account, amount="4")
        three = done["reservation"]["id"]
        for stream in streams:
            assert await stream.next() == done["reservation"]
        done = await server.do("extendReservation", account, reservationId=three, amount="5")
        for stream in streams:
            assert await stream.next() == done["reservation"]
        await server.do("settleCredits", account, reservationId=three, amount="6")
        await server.do("releaseCredits", account, reservationId=two)
        for stream in streams:
            assert await _told(stream, 2) == [
                (three, "SETTLED", "5", "6"),
                (two, "RELEASED", "2", None),
            ]


async def test_a_set_is_told_one_by_one_in_its_order(live: Start, accounts: Accounts) -> None:
    server = await live()
    account = await accounts.open(100)
    async with server.socket() as client:
        stream = await client.watch(RESERVATIONS, account)
        await server.watched(account)
        requests = [ReserveRequest(f"r{number}", CREDIT) for number in range(40)]
        rows = await server.services.credits.reserve_set(account, requests)
        ids = [str(row.reservation_id) for row in rows]
        assert [told[0] for told in await _told(stream, 40)] == ids
        await server.services.credits.settle_set(
            account, [SettleRequest(row.reservation_id, 0) for row in rows]
        )
        assert await _told(stream, 40) == [(each, "SETTLED", "1", "0") for each in ids]


async def test_what_changes_no_reservation_tells_nothing(live: Start, accounts: Accounts) -> None:
    server = await live()
    account = await accounts.open(100)
    credits = server.services.credits
    one = await _open(credits, account, "1")
    async with server.socket() as client:
        stream = await client.watch(RESERVATIONS, account)
        assert await _told(stream, 1) == [(one, "PENDING", "1", None)]
        await server.deduct(account)
        await server.do("grantCredits", account, amount="1", source="TOP_UP")
        # Extending to what it holds already is no change, nor is a replay.
        await server.do("extendReservation", account, reservationId=one, amount="1")
        assert await _open(credits, account, "1") == one
        await _settle(credits, account, one)
        await _settle(credits, account, one)
        two = await _open(credits, account, "2")
        assert await _told(stream, 2) == [(one, "SETTLED", "1", "1"), (two, "PENDING", "1", None)]


async def test_what_the_sweep_expires_is_told_and_so_is_its_late_settle(
    live: Start, accounts: Accounts, clock: Clock
) -> None:
    server = await live()
    account = await accounts.open(100)
    credits = server.services.credits
    one, two = await _open(credits, account, "1", 1, 60), await _open(credits, account, "2", 1, 600)
    async with server.socket() as client:
        stream = await client.watch(RESERVATIONS, account)
        assert await _told(stream, 2) == [(one, "PENDING", "1", None), (two, "PENDING", "1", None)]
        await clock.advance(timedelta(seconds=61))
        await credits.expire_reservations(account)
        assert await _told(stream, 1) == [(one, "EXPIRED", "1", None)]
        await _settle(credits, account, one)
        assert await _told(stream, 1) == [(one, "SETTLED", "1", "1")]


async def test_after_a_gap_those_that_opened_and_those_that_ended_are_told(
    live: Start, accounts: Accounts, database: Database
) -> None:
    server = await live(feed_resync_seconds=0.1)
    account = await accounts.open(100)
    silent = Credits(database)
    stays, ends = await _open(silent, account, "1"), await _open(silent, account, "2")
    async with server.socket() as client:
        stream = await client.watch(RESERVATIONS, account)
        assert [told[0] for told in await _told(stream, 2)] == [stays, ends]
        await _settle(silent, account, ends)
        assert await _told(stream, 1) == [(ends, "SETTLED", "1", "1")]
        opens = await _open(silent, account, "3")
        assert await _told(stream, 1) == [(opens, "PENDING", "1", None)]
        await _settle(server.services.credits, account, stays)
        assert await _told(stream, 1) == [(stays, "SETTLED", "1", "1")]


async def test_a_message_with_a_gap_before_it_heals_what_it_does_not_tell(
    live: Start, accounts: Accounts, database: Database
) -> None:
    server = await live()
    account = await accounts.open(100)
    silent = Credits(database)
    shown = await _open(silent, account, "1")
    async with server.socket() as client:
        stream = await client.watch(RESERVATIONS, account)
        assert await _told(stream, 1) == [(shown, "PENDING", "1", None)]
        await _settle(silent, account, shown)
        unseen = await _open(silent, account, "2")
        brief = await _open(silent, account, "3")
        await _settle(silent, account, brief)
        told = await _open(server.services.credits, account, "4")
        # What opened and ended unseen is no business of a client any more.
        assert await _told(stream, 3) == [
            (shown, "SETTLED", "1", "1"),
            (unseen, "PENDING", "1", None),
            (told, "PENDING", "1", None),
        ]


async def test_what_was_looked_up_before_its_message_came_is_told_once(
    live: Start, accounts: Accounts, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await live()
    account = await accounts.open(100)
    silent = Credits(database)
    credits = server.services.credits
    one = await _open(silent, account, "1")
    look = CreditReads.reservations

    async def race(self: CreditReads, *arguments: Any, **more: Any) -> list[Reservation]:
        monkeypatch.undo()
        await _settle(credits, account, one)
        return await look(self, *arguments, **more)

    async with server.socket() as client:
        stream = await client.watch(RESERVATIONS, account)
        assert await _told(stream, 1) == [(one, "PENDING", "1", None)]
        monkeypatch.setattr(CreditReads, "reservations", race)
        # A deduction lists no reservation, so it is looked up; meanwhile one is settled.
        await server.deduct(account)
        assert await _told(stream, 1) == [(one, "SETTLED", "1", "1")]
        two = await _open(credits, account, "2")
        assert await _told(stream, 1) == [(two, "PENDING", "1", None)]


async def test_the_snapshot_shows_the_newest_hundred(
    live: Start, accounts: Accounts, database: Database
) -> None:
    server = await live()
    account = await accounts.open(1000)
    credits = server.services.credits
    # Without a feed: a push still on its way would tell of them all.
    rows = [
        *await Credits(database).reserve_set(
            account, [ReserveRequest(f"a{n}", CREDIT) for n in range(130)]
        )
    ]
    ids = [str(row.reservation_id) for row in rows]
    async with server.socket() as client:
        stream = await client.watch(RESERVATIONS, account)
        assert [told[0] for told in await _told(stream, 100)] == ids[30:]
        # An older one is told of all the same when it changes.
        await _settle(credits, account, ids[0])
        assert await _told(stream, 1) == [(ids[0], "SETTLED", "1", "1")]
