"""Functions of many accounts: what is too much, whom they lock, and that they wait for nobody."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal
from uuid import UUID, uuid4

import asyncpg
import pytest

from app.credits import Credits, ReleaseRequest, ReserveRequest, SettleRequest
from tests.functions.books import BAD_SET, refused
from tests.functions.many import of
from tests.support.accounts import CREDIT, Accounts
from tests.support.races import Race

Many = Callable[[Credits, Sequence[UUID], Sequence[Any]], Awaitable[list[Any]]]
Request = Callable[[UUID], Any]

# Each function of many accounts, and what it is asked about a reservation.
FUNCTIONS: dict[str, tuple[Many, Request]] = {
    "reserve": (Credits.reserve_many, lambda held: ReserveRequest(f"new {held}", 1)),
    "settle": (Credits.settle_many, lambda held: SettleRequest(held, 1)),
    "release": (Credits.release_many, ReleaseRequest),
}
of_each_function = pytest.mark.parametrize("name", FUNCTIONS)


async def _held(
    credits: Credits, accounts: Accounts, name: str, count: int
) -> tuple[list[UUID], list[Any]]:
    """Return accounts, and for each a request that is plain."""
    project = await accounts.project(welcome_grant=10 * CREDIT)
    ids = [await accounts.open(project_id=project) for _ in range(count)]
    rows = [await credits.reserve(account, ReserveRequest("held", 2)) for account in ids]
    return ids, [FUNCTIONS[name][1](row.reservation_id) for row in rows]


@of_each_function
async def test_a_call_has_1_to_256_requests(
    name: str, credits: Credits, accounts: Accounts
) -> None:
    many, request = FUNCTIONS[name]
    [account], _ = await _held(credits, accounts, name, 1)
    none: Any = None
    for count in (0, 257):
        async with refused(accounts, "VALIDATION_ERROR", BAD_SET):
            await many(credits, count * [account], [request(uuid4()) for _ in range(count)])
    async with refused(accounts, "VALIDATION_ERROR", BAD_SET):
        await credits._database.value(f"select credits.{name}_many($1, null)", [account])
    assert await many(credits, [none], [request(uuid4())]) == [None]


@of_each_function
async def test_each_request_has_its_account(
    name: str, credits: Credits, accounts: Accounts
) -> None:
    many, _ = FUNCTIONS[name]
    ids, requests = await _held(credits, accounts, name, 2)
    before = await accounts.snapshot()
    for some in ([], ids[:1], [*ids, ids[0]]):
        with pytest.raises(asyncpg.InvalidParameterValueError, match="each request has its acc"):
            await many(credits, some, requests)
    assert await accounts.snapshot() == before
    assert None not in await many(credits, ids, requests)


@of_each_function
@pytest.mark.parametrize("isolation", ["repeatable_read", "serializable"])
async def test_only_under_read_committed(
    name: str,
    isolation: Literal["repeatable_read", "serializable"],
    credits: Credits,
    accounts: Accounts,
    race: Race,
) -> None:
    many, _ = FUNCTIONS[name]
    ids, requests = await _held(credits, accounts, name, 2)
    before = await accounts.snapshot()
    session = await race._open()
    transaction = session._connection.transaction(isolation=isolation)
    await transaction.start()
    with pytest.raises(asyncpg.InvalidTransactionStateError):
        await many(session.credits, ids, requests)
    await transaction.rollback()
    assert await accounts.snapshot() == before


@of_each_function
async def test_who_is_locked_is_told_at_once(
    name: str, credits: Credits, accounts: Accounts, race: Race
) -> None:
    many, request = FUNCTIONS[name]
    [slow, free], requests = await _held(credits, accounts, name, 2)
    await race.hold(lambda session: session.credits.catch_up(slow))
    # Had it waited it would be refused as busy: the other keeps its lock until the end.
    before = await accounts.snapshot()
    rows = await credits._database.fetch(
        "select ordinal, outcome, replayed, facts, reservation_id, version"  # noqa: S608  # our own
        f" from credits.{name}_many($1, $2) order by ordinal",
        [slow, free, slow],
        [*requests, request(uuid4())],
    )
    assert [row["outcome"] for row in rows] == ["BUSY", "OK", "BUSY"]
    assert [tuple(row) for row in rows[::2]] == [
        (ordinal, "BUSY", False, None, None, None) for ordinal in (1, 3)
    ]
    assert of(await accounts.snapshot(), slow) == of(before, slow)
    [held] = await many(credits, [slow], requests[:1])
    assert held.outcome == "BUSY"
    await race.commit()
    [decided] = await many(credits, [slow], requests[:1])
    assert decided.outcome == "OK"


@of_each_function
async def test_two_calls_on_accounts_of_which_they_share_one(
    name: str, credits: Credits, accounts: Accounts, race: Race
) -> None:
    many, _ = FUNCTIONS[name]
    [a, b, c], requests = await _held(credits, accounts, name, 3)
    first = await race.hold(lambda session: many(session.credits, [a, b], requests[:2]))
    assert [answer.outcome for answer in first] == ["OK", "OK"]
    # What the first has not committed is seen by nobody, and nobody waits for it.
    [held, decided] = await many(credits, [b, c], requests[1:])
    assert (held.outcome, decided.outcome) == ("BUSY", "OK")
    await race.commit()
    for account, version in ((a, 4), (b, 4), (c, 4)):
        assert (await accounts.balance(account)).balance_version == version


@of_each_function
async def test_who_comes_meanwhile_for_one_account_waits_and_is_decided_after(
    name: str, credits: Credits, accounts: Accounts, race: Race
) -> None:
    many, _ = FUNCTIONS[name]
    [a, b], requests = await _held(credits, accounts, name, 2)
    await race.hold(lambda session: many(session.credits, [a, b], requests))
    waiting = await race.queue(
        lambda session: session.credits.reserve(b, ReserveRequest("waits", 1))
    )
    await race.commit()
    assert (await waiting).version == 5
