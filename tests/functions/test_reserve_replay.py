"""credits.reserve: the same key again."""

from datetime import timedelta
from typing import Any

import pytest

from app.credits import Actor, Credits, ExtendRequest, ReleaseRequest, ReserveRequest, SettleRequest
from app.credits.rows import Reserved
from tests.functions.books import NOW, figures, refused
from tests.support.accounts import CREDIT, Accounts
from tests.support.clock import Clock

WHOLE = ReserveRequest(
    idempotency_key="k",
    amount=4 * CREDIT,
    ttl_seconds=60,
    feature="chat",
    quality="high",
    model="gpt-x",
    price_version="2026-03",
    end_customer_ref="customer-7",
    related_type="document",
    related_id="d-1",
    related_name="Annual report",
    actor=Actor("user", "u-1", "A user"),
    metadata={"a": [1, None]},
)


async def test_a_replay_answers_the_first_and_changes_nothing(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    first = await credits.reserve(account, WHOLE)
    await credits.deduct(account, CREDIT, "d")
    await clock.advance(timedelta(seconds=30))
    before = await accounts.snapshot()
    again = await credits.reserve(account, WHOLE)
    assert again == Reserved(
        ordinal=1,
        outcome="OK",
        facts=None,
        replayed=True,
        reservation_id=first.reservation_id,
        status="pending",
        amount=4 * CREDIT,
        expires_at=NOW + timedelta(seconds=60),
        version=3,
        version_before=4,
        balance=await accounts.balance(account),
    )
    assert figures(again.balance) == (5 * CREDIT, 4 * CREDIT, 0)
    assert await accounts.snapshot() == before


async def test_a_replay_answers_the_first_amount_and_expiry_after_an_extension(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    first = await credits.reserve(account, WHOLE)
    later = NOW + timedelta(hours=1)
    await credits.extend(account, ExtendRequest(first.reservation_id, 5 * CREDIT, later))
    before = await accounts.snapshot()
    again = await credits.reserve(account, WHOLE)
    assert (again.replayed, again.reservation_id) == (True, first.reservation_id)
    assert (again.status, again.amount, again.version) == ("pending", 4 * CREDIT, 3)
    assert again.expires_at == NOW + timedelta(seconds=60)
    assert figures(again.balance) == (5 * CREDIT, 5 * CREDIT, 0)
    assert await accounts.snapshot() == before


@pytest.mark.parametrize(
    ("status", "left"),
    [("settled", 7 * CREDIT), ("released", 10 * CREDIT), ("expired", 10 * CREDIT)],
)
async def test_a_replay_tells_the_present_status(
    credits: Credits, accounts: Accounts, clock: Clock, status: str, left: int
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    first = await credits.reserve(account, WHOLE)
    if status == "settled":
        await credits.settle(account, SettleRequest(first.reservation_id, 3 * CREDIT))
    elif status == "released":
        await credits.release(account, ReleaseRequest(first.reservation_id))
    else:
        await clock.advance(timedelta(seconds=60))
        await credits.expire_reservations(account)
    before = await accounts.snapshot()
    again = await credits.reserve(account, WHOLE)
    assert (again.replayed, again.reservation_id) == (True, first.reservation_id)
    assert (again.status, again.amount, again.version) == (status, 4 * CREDIT, 3)
    assert again.expires_at == first.expires_at
    assert figures(again.balance) == (left, 0, 0)
    assert await accounts.snapshot() == before


CHANGES: list[dict[str, Any]] = [
    {"amount": 4 * CREDIT + 1},
    {"ttl_seconds": 61},
    {"feature": "search"},
    {"feature": None},
    {"quality": "low"},
    {"model": "gpt-y"},
    {"price_version": "2026-04"},
    {"end_customer_ref": "customer-8"},
    {"related_type": "file"},
    {"related_id": "d-2"},
    {"metadata": {"a": [1]}},
    {"metadata": None},
]


async def test_the_same_key_with_another_request_is_refused(
    credits: Credits, accounts: Accounts, subtests: pytest.Subtests
) -> None:
    account = await accounts.open(10)
    await credits.reserve(account, WHOLE)
    for change in CHANGES:
        with subtests.test(**change):
            async with refused(accounts, "DUPLICATE_REQUEST", {"idempotencyKey": "k"}):
                await credits.reserve(account, WHOLE._replace(**change))


async def test_who_asks_and_a_new_name_do_not_make_another_request(
    credits: Credits, accounts: Accounts
) -> None:
    account = await accounts.open(10)
    first = await credits.reserve(account, WHOLE)
    before = await accounts.snapshot()
    renamed = WHOLE._replace(related_name="Report", actor=Actor("user", "u-2", "Another"))
    again = await credits.reserve(account, renamed)
    assert (again.replayed, again.reservation_id) == (True, first.reservation_id)
    assert await accounts.snapshot() == before


SHIFTS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"feature": "ab", "quality": "c"}, {"feature": "a", "quality": "bc"}),
    ({"feature": "a,b", "quality": None}, {"feature": "a", "quality": "b"}),
    ({"feature": "a,b", "quality": "c"}, {"feature": "a", "quality": "b,c"}),
    ({"feature": 'a","b', "quality": "c"}, {"feature": "a", "quality": 'b","c'}),
    ({"feature": "a", "quality": None}, {"feature": None, "quality": "a"}),
    ({"feature": "a", "quality": None}, {"feature": "a", "quality": ""}),
    ({"feature": "a\\", "quality": ",b"}, {"feature": "a\\,", "quality": "b"}),
    ({"related_id": '{"a":1}', "metadata": None}, {"related_id": None, "metadata": {"a": 1}}),
    ({"amount": 12, "ttl_seconds": 3}, {"amount": 1, "ttl_seconds": 23}),
]


async def test_text_moved_between_neighbouring_fields_is_another_request(
    credits: Credits, accounts: Accounts, subtests: pytest.Subtests
) -> None:
    account = await accounts.open(20)
    for place, (first, second) in enumerate(SHIFTS):
        key = f"k{place}"
        request = ReserveRequest(key, CREDIT)
        with subtests.test(first=first, second=second):
            await credits.reserve(account, request._replace(**first))
            async with refused(accounts, "DUPLICATE_REQUEST", {"idempotencyKey": key}):
                await credits.reserve(account, request._replace(**second))


async def test_a_key_belongs_to_its_account_and_its_operation(
    credits: Credits, accounts: Accounts
) -> None:
    one = await accounts.open(10)
    other = await accounts.open(10)
    first = await credits.reserve(one, ReserveRequest("k", 4 * CREDIT))
    second = await credits.reserve(other, ReserveRequest("k", 3 * CREDIT))
    deducted = await credits.deduct(one, CREDIT, "k")
    assert (first.replayed, second.replayed, deducted.replayed) == (False, False, False)
    assert first.reservation_id != second.reservation_id
    assert figures(await accounts.balance(one)) == (5 * CREDIT, 4 * CREDIT, 0)
    assert figures(await accounts.balance(other)) == (7 * CREDIT, 3 * CREDIT, 0)


async def test_a_refusal_is_not_recorded_under_its_key(
    credits: Credits, accounts: Accounts
) -> None:
    account = await accounts.open(1)
    request = ReserveRequest("k", 4 * CREDIT)
    async with refused(
        accounts,
        "INSUFFICIENT_CREDITS",
        {"required": 4 * CREDIT, "spendable": CREDIT, "shortfall": 3 * CREDIT},
    ):
        await credits.reserve(account, request)
    await credits.issue_grant(account, 4 * CREDIT, "top_up", "t")
    row = await credits.reserve(account, request)
    assert (row.replayed, figures(row.balance)) == (False, (CREDIT, 4 * CREDIT, 0))
