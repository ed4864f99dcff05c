"""An account with more due than one call may work: nothing new before what is due."""

from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

import pytest

from app.core.refusals import Refusal
from app.core.telemetry import CREDIT_OPERATIONS
from app.credits import Credits, ExtendRequest, ReleaseRequest, ReserveRequest, SettleRequest
from db.driver import Connection
from tests.functions.books import NOW, PERIOD_END, figures, reservation, versions
from tests.support.accounts import CREDIT, Accounts
from tests.support.clock import Clock, utc

# A call works 120 boundaries: one less than these grants have.
GRANTS = 121
LATER = timedelta(minutes=10)

CALLS: dict[str, Callable[[Credits, UUID, UUID], Awaitable[Any]]] = {
    "reserve": lambda credits, account, _: credits.reserve(account, ReserveRequest("new", CREDIT)),
    "extend": lambda credits, account, held: credits.extend(
        account, ExtendRequest(held, 5 * CREDIT)
    ),
    "settle": lambda credits, account, held: credits.settle(account, SettleRequest(held, CREDIT)),
    "release": lambda credits, account, held: credits.release(account, ReleaseRequest(held)),
    "deduct": lambda credits, account, _: credits.deduct(account, CREDIT, "new"),
}


async def held_far_behind(
    credits: Credits, accounts: Accounts, admin: Connection, ttl_seconds: int
) -> tuple[UUID, UUID]:
    """Reserve 4 of 10 credits beside grants that each end a second after the other.

    Those grants are drawn last, so the reservation keeps nothing of them.
    """
    account = await accounts.open(10)
    await admin.execute(
        "select credits.issue_grant($1, 1, 'promotional', 'g' || n,"
        " p_priority => 90, p_expires_at => $2::timestamptz + make_interval(secs => n))"
        " from generate_series(1, $3) as n",
        account,
        NOW,
        GRANTS,
    )
    row = await credits.reserve(account, ReserveRequest("held", 4 * CREDIT, ttl_seconds))
    assert row.version == 2 + GRANTS + 1
    return account, row.reservation_id


@pytest.mark.parametrize("name", CALLS)
async def test_who_asks_too_early_is_busy_and_what_was_worked_stays(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection, name: str
) -> None:
    await clock.set(NOW)
    account, held = await held_far_behind(credits, accounts, admin, 3_600)
    await clock.advance(LATER)
    with pytest.raises(Refusal) as refusal:
        await CALLS[name](credits, account, held)
    assert (refusal.value.code, refusal.value.facts) == ("BUSY", {})
    # Each of 120 grants has expired under a version of its own; of the last, the
    # micro-credit is left.
    behind = await accounts.balance(account)
    assert figures(behind) == (6 * CREDIT + 1, 4 * CREDIT, 0)
    assert behind.balance_version == 2 + GRANTS + 1 + 120
    assert (await reservation(admin, held))["status"] == "pending"

    row = await CALLS[name](credits, account, held)
    assert (row.outcome, row.replayed) == ("OK", False)
    # The last grant, then the request.
    assert (row.version_before, row.version) == (244, 246)
    assert await versions(admin, account) == list(range(1, 247))


class Behind(NamedTuple):
    """What there was before the account fell behind."""

    grant: UUID
    spent: int


SINGLE: dict[str, Callable[[Credits, UUID, Behind], Awaitable[Any]]] = {
    "issue_grant": lambda credits, account, _: credits.issue_grant(account, CREDIT, "top_up", "k"),
    "void_grant": lambda credits, account, behind: credits.void_grant(account, behind.grant, "k"),
    "refund": lambda credits, account, behind: credits.refund(account, "k", version=behind.spent),
    "adjust": lambda credits, account, _: credits.adjust(account, CREDIT, "k", "reason"),
    "adjust down": lambda credits, account, _: credits.adjust(account, -CREDIT, "k", "reason"),
    "forgive_overage": lambda credits, account, _: credits.forgive_overage(
        account, "k", "reason", amount=1
    ),
    "set_allowance": lambda credits, account, _: credits.set_allowance(account, CREDIT, "k"),
    "set_limits": lambda credits, account, _: credits.set_limits(account, "k", overdraft_limit=1),
    "set_terms": lambda credits, account, _: credits.set_terms(
        account, "k", overdraft_limit=1, period_grant=CREDIT
    ),
}


# Where the metric has another word.
COUNTED = {"issue_grant": "grant", "void_grant": "void", "adjust down": "adjust"}


def busy() -> Counter[str]:
    """Return how often each operation was counted as busy."""
    return Counter(
        {
            sample.labels["operation"]: int(sample.value)
            for metric in CREDIT_OPERATIONS.collect()
            for sample in metric.samples
            if sample.name.endswith("_total") and sample.labels["outcome"] == "busy"
        }
    )


@pytest.mark.parametrize("name", SINGLE)
async def test_functions_of_one_request_are_busy_and_get_there_too(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection, name: str
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10, overdraft=5)
    grant = await credits.issue_grant(account, 2 * CREDIT, "top_up", "given")
    spent = await credits.deduct(account, CREDIT, "spent")
    if name == "forgive_overage":
        await credits.deduct(account, 12 * CREDIT, "into debt")
    behind = Behind(grant.grant_id, spent.version)
    before = (await credits.set_limits(account, "before", low_balance_percent=30)).version
    await clock.set(PERIOD_END + 120 * timedelta(days=31))
    counted = busy()
    with pytest.raises(Refusal) as refusal:
        await SINGLE[name](credits, account, behind)
    assert (refusal.value.code, refusal.value.facts) == ("BUSY", {})
    # 120 months have passed, and nothing else has.
    assert (await accounts.balance(account)).balance_version == before + 120
    assert (
        await admin.fetchval(
            "select count(*) from credits.account_changes where version > $1"
            " and operation = 'roll_period'",
            before,
        )
        == 120
    )
    assert busy() - counted == Counter({COUNTED.get(name, name): 1})

    row = await SINGLE[name](credits, account, behind)
    assert not row.replayed
    assert row.version > before + 120


@pytest.mark.parametrize("name", ["extend", "settle", "release"])
async def test_every_request_of_a_set_is_busy(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection, name: str
) -> None:
    await clock.set(NOW)
    account, held = await held_far_behind(credits, accounts, admin, 3_600)
    await clock.advance(LATER)
    none: Any = None
    rows: list[Any]
    if name == "extend":
        rows = [*await credits.extend_set(account, [ExtendRequest(held, 5 * CREDIT)] * 2)]
    elif name == "settle":
        rows = [*await credits.settle_set(account, [SettleRequest(held, CREDIT)] * 2)]
    else:
        rows = [*await credits.release_set(account, [ReleaseRequest(held)] * 2)]
    assert [
        (row.outcome, row.facts, row.reservation_id, row.status, row.amount, row.version)
        for row in rows
    ] == [("BUSY", {}, none, none, none, none)] * 2
    assert figures(rows[-1].balance) == (6 * CREDIT + 1, 4 * CREDIT, 0)


async def test_replays_are_answered_however_far_behind(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(utc("2015-01-10 10:00"))
    account = await accounts.open(10)
    asked = [ReserveRequest(key, CREDIT) for key in ("settled", "released")]
    settled, released = [row.reservation_id for row in await credits.reserve_set(account, asked)]
    await credits.settle(account, SettleRequest(settled, CREDIT))
    await credits.release(account, ReleaseRequest(released))
    await credits.deduct(account, CREDIT, "d")
    replays: list[Callable[[], Awaitable[Any]]] = [
        lambda: credits.reserve(account, asked[0]),
        lambda: credits.settle(account, SettleRequest(settled, CREDIT)),
        lambda: credits.release(account, ReleaseRequest(released)),
        lambda: credits.deduct(account, CREDIT, "d"),
    ]
    # So many months that after each of the calls there is more due.
    await clock.set(utc("2065-01-10 10:00"))
    before = (await accounts.balance(account)).balance_version
    for done, replay in enumerate(replays):
        row = await replay()
        assert (row.outcome, row.replayed) == ("OK", True)
        assert (row.version_before, row.balance.balance_version) == (
            before + 120 * done,
            before + 120 * (done + 1),
        )
        assert figures(row.balance) == (8 * CREDIT, 0, 0)


async def test_a_reservation_that_ends_after_what_is_due_waits_for_it(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    await clock.set(NOW)
    account, held = await held_far_behind(credits, accounts, admin, GRANTS + 4)
    await clock.advance(LATER)
    first = await credits.expire_reservations(account)
    assert figures(first.balance) == (6 * CREDIT + 1, 4 * CREDIT, 0)
    assert (await reservation(admin, held))["status"] == "pending"
    rest = await credits.expire_reservations(account)
    assert figures(rest.balance) == (10 * CREDIT, 0, 0)
    assert await versions(admin, account) == list(range(1, 247))
