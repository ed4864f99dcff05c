"""What lapsed grants keep is a pool of the reservations it was kept for, and of no others."""

from collections.abc import Sequence

import pytest

from app.credits import (
    Credits,
    ExtendRequest,
    ReleaseRequest,
    SettleRequest,
)
from db.driver import Connection
from tests.functions.books import NOW
from tests.functions.grants import top_up
from tests.functions.lapses import DUE, expired, left, release, reserve, settle, whole
from tests.support.accounts import CREDIT, Accounts
from tests.support.clock import Clock


@pytest.mark.parametrize(
    ("used", "available", "gone"),
    [
        ([10, 20, 30], 40, 0),
        ([5, 5, 5], 40, 45),
        # Each is decided in its turn: what the first leaves is gone before the last.
        ([0, 20, 40], 30, 10),
        ([60, 10, 10], 20, 0),
        ([10, 0, 0], 40, 50),
    ],
)
async def test_set_of_settles_while_lapsed(
    credits: Credits,
    accounts: Accounts,
    admin: Connection,
    clock: Clock,
    used: Sequence[int],
    available: int,
    gone: int,
) -> None:
    await clock.set(NOW)
    account = await accounts.open(40)
    await top_up(credits, account, 60, "g", expires_at=DUE)
    held = [await reserve(credits, account, 10 * n, f"{n}") for n in (1, 2, 3)]
    await clock.set(DUE)
    await credits.catch_up(account)
    version = (await accounts.balance(account)).balance_version
    rows = await credits.settle_set(
        account,
        [SettleRequest(r, u * CREDIT) for r, u in zip(held, used, strict=True)],
    )
    assert [row.outcome for row in rows] == ["OK"] * 3
    assert [row.ordinal for row in rows] == [1, 2, 3]
    last = rows[-1].balance
    assert last is not None
    assert whole(last) == (available, 0, 0)
    assert await accounts.balance(account) == last
    assert sum(amount for amount, _ in await expired(admin, account, version)) == gone


async def test_set_of_releases_while_lapsed(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(40)
    await top_up(credits, account, 60, "g", expires_at=DUE)
    held = [await reserve(credits, account, 10 * n, f"{n}") for n in (1, 2, 3)]
    await clock.set(DUE)
    rows = await credits.release_set(account, [ReleaseRequest(r) for r in held])
    last = rows[-1].balance
    assert last is not None
    assert whole(last) == (40, 0, 0)
    assert await expired(admin, account) == [(60, DUE)]


async def test_an_extension_made_after_keeps_nothing_that_had_lapsed(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(100)
    await top_up(credits, account, 100, "g", expires_at=DUE)
    one = await reserve(credits, account, 1, "one")
    other = await reserve(credits, account, 99, "other")
    await clock.set(DUE)
    await credits.extend(account, ExtendRequest(one, 100 * CREDIT))
    assert await left(admin, account) == [("live", 100), ("lapsed", 100)]
    # 99 were held by the other alone: the extension holds what can still be spent.
    assert whole(await release(credits, account, other)) == (1, 100, 0)
    assert await left(admin, account) == [("live", 100), ("lapsed", 1)]
    assert whole(await settle(credits, account, one, 100)) == (1, 0, 0)
    assert await expired(admin, account) == [(99, DUE)]


async def test_a_settle_after_expiry_draws_on_nothing_that_is_kept_for_others(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(100)
    await top_up(credits, account, 100, "g", expires_at=DUE)
    late = await reserve(credits, account, 40, "late", ttl_seconds=3_600)
    other = await reserve(credits, account, 60, "other")
    await clock.set(DUE)
    await credits.catch_up(account)
    assert await left(admin, account) == [("live", 100), ("lapsed", 60)]
    assert whole(await settle(credits, account, late, 40)) == (60, 60, 0)
    assert await left(admin, account) == [("live", 60), ("lapsed", 60)]
    assert whole(await release(credits, account, other)) == (60, 0, 0)


async def test_what_a_reservation_used_beyond_its_own_comes_from_what_others_keep(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    # What is kept is a pool of the work that was under way.
    await clock.set(NOW)
    account = await accounts.open(100)
    await top_up(credits, account, 100, "g", expires_at=DUE)
    one = await reserve(credits, account, 10, "one")
    other = await reserve(credits, account, 90, "other")
    await clock.set(DUE)
    assert whole(await settle(credits, account, one, 30)) == (80, 90, 0)
    assert await left(admin, account) == [("live", 100), ("lapsed", 70)]
    assert whole(await settle(credits, account, other, 90)) == (80, 0, 0)
