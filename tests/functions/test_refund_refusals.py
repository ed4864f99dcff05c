"""credits.refund: what it refuses and repeats."""

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

from app.credits import Credits, ReleaseRequest, ReserveRequest, SettleRequest
from tests.functions.books import BAD_AMOUNT, BAD_KEY, LARGEST, refused
from tests.functions.grants import top_up
from tests.support.accounts import CREDIT, Accounts

BAD_SUBJECT = {"field": "reservationId", "reason": "name the reservation or the transaction"}


async def reserved(credits: Credits, account: UUID, key: str) -> UUID:
    """Reserve a credit and return the reservation."""
    return (await credits.reserve(account, ReserveRequest(key, CREDIT))).reservation_id


async def test_malformed_requests(credits: Credits, accounts: Accounts) -> None:
    account = await accounts.open(10)
    spent = await credits.deduct(account, CREDIT, "spent")
    cases: list[tuple[dict[str, Any], dict[str, str]]] = [
        ({"amount": 0}, BAD_AMOUNT),
        ({"amount": -1}, BAD_AMOUNT),
        ({"amount": LARGEST + 1}, BAD_AMOUNT),
        ({"idempotency_key": ""}, BAD_KEY),
        ({"idempotency_key": "k" * 256}, BAD_KEY),
        ({"idempotency_key": None}, BAD_KEY),
        ({"version": None}, BAD_SUBJECT),
        ({"reservation_id": uuid4()}, BAD_SUBJECT),
    ]
    wanted: dict[str, Any] = {"idempotency_key": "k", "version": spent.version}
    for arguments, facts in cases:
        async with refused(accounts, "VALIDATION_ERROR", facts):
            await credits.refund(account, **(wanted | arguments))


async def test_unknown_account(credits: Credits, accounts: Accounts) -> None:
    account = uuid4()
    async with refused(accounts, "BALANCE_NOT_FOUND", {"accountId": str(account)}):
        await credits.refund(account, "k", version=1)


async def test_only_a_consumption_can_be_refunded(credits: Credits, accounts: Accounts) -> None:
    account, stranger = await accounts.open(10), await accounts.open(10)
    taken = await credits.adjust(account, -CREDIT, "taken", "by hand")
    theirs = await credits.deduct(stranger, CREDIT, "theirs")
    held = await credits.reserve(account, ReserveRequest("r", CREDIT))
    # The opening, the top-up, the adjustment, an opened reservation, none at all.
    for version in (1, 2, taken.version, held.version, 99, -1):
        async with refused(accounts, "TRANSACTION_NOT_FOUND", {"version": version}):
            await credits.refund(account, "k", version=version)
    # A version means another row in each account: versions of others are never met.
    refund = await credits.refund(stranger, "k", version=theirs.version)
    async with refused(accounts, "TRANSACTION_NOT_FOUND", {"version": refund.version}):
        await credits.refund(stranger, "again", version=refund.version)


async def test_only_a_settled_reservation_can_be_refunded(
    credits: Credits, accounts: Accounts
) -> None:
    account, stranger = await accounts.open(10), await accounts.open(10)
    pending = await reserved(credits, account, "pending")
    released = await reserved(credits, account, "released")
    await credits.release(account, ReleaseRequest(released))
    nothing = await reserved(credits, account, "nothing")
    await credits.settle(account, SettleRequest(nothing, 0))
    theirs = await reserved(credits, stranger, "theirs")
    await credits.settle(stranger, SettleRequest(theirs, CREDIT))
    for reservation in (pending, released, nothing):
        async with refused(accounts, "REFUND_EXCEEDS_SETTLED", {"requested": 0, "refundable": 0}):
            await credits.refund(account, "k", reservation_id=reservation)
    for reservation in (theirs, uuid4()):
        async with refused(accounts, "RESERVATION_NOT_FOUND", {"reservationId": str(reservation)}):
            await credits.refund(account, "k", reservation_id=reservation)


async def test_refunds_never_exceed_what_was_charged(credits: Credits, accounts: Accounts) -> None:
    account = await accounts.open(10)
    spent = await credits.deduct(account, 6 * CREDIT, "spent")
    async with refused(
        accounts,
        "REFUND_EXCEEDS_SETTLED",
        {"requested": 6 * CREDIT + 1, "refundable": 6 * CREDIT},
    ):
        await credits.refund(account, "over", version=spent.version, amount=6 * CREDIT + 1)
    await credits.refund(account, "part", version=spent.version, amount=4 * CREDIT)
    async with refused(
        accounts,
        "REFUND_EXCEEDS_SETTLED",
        {"requested": 2 * CREDIT + 1, "refundable": 2 * CREDIT},
    ):
        await credits.refund(account, "over", version=spent.version, amount=2 * CREDIT + 1)
    await credits.refund(account, "rest", version=spent.version)
    for amount, requested in ((1, 1), (None, 6 * CREDIT)):
        async with refused(
            accounts, "REFUND_EXCEEDS_SETTLED", {"requested": requested, "refundable": 0}
        ):
            await credits.refund(account, "over", version=spent.version, amount=amount)


async def test_a_voided_refund_does_not_make_room_for_another(
    credits: Credits, accounts: Accounts
) -> None:
    account = await accounts.open(10)
    spent = await credits.deduct(account, 6 * CREDIT, "spent")
    back = await credits.refund(account, "k", version=spent.version)
    await credits.void_grant(account, back.grant_ids[0], "v")
    async with refused(
        accounts, "REFUND_EXCEEDS_SETTLED", {"requested": 6 * CREDIT, "refundable": 0}
    ):
        await credits.refund(account, "again", version=spent.version)


async def test_each_consumption_is_counted_apart(credits: Credits, accounts: Accounts) -> None:
    account = await accounts.open(10)
    one = await credits.deduct(account, 2 * CREDIT, "one")
    two = await credits.deduct(account, 3 * CREDIT, "two")
    assert (await credits.refund(account, "1", version=one.version)).amount == 2 * CREDIT
    assert (await credits.refund(account, "2", version=two.version)).amount == 3 * CREDIT


async def test_lifetime_limit(credits: Credits, accounts: Accounts) -> None:
    account = await accounts.open()
    for n in range(9):
        await credits.issue_grant(account, LARGEST, "top_up", f"{n}")
    spent = await credits.deduct(account, CREDIT, "spent")
    async with refused(accounts, "BALANCE_LIMIT", {"limit": 9 * LARGEST}):
        await credits.refund(account, "k", version=spent.version)


async def test_replay_answers_the_same_grants(credits: Credits, accounts: Accounts) -> None:
    account = await accounts.open()
    await top_up(credits, account, 3, "promotional", category="promotional")
    await top_up(credits, account, 3, "paid")
    spent = await credits.deduct(account, 6 * CREDIT, "spent")
    first = await credits.refund(account, "k", version=spent.version, amount=4 * CREDIT)
    assert len(first.grant_ids) == 2
    more = await credits.refund(account, "more", version=spent.version, amount=CREDIT)
    before = await accounts.snapshot()
    again = await credits.refund(
        account, "k", version=spent.version, amount=4 * CREDIT, reason="told again"
    )
    # What could still be refunded is as of now.
    assert again == replace(
        first,
        refundable=CREDIT,
        replayed=True,
        version_before=more.version,
        balance=more.balance,
    )
    assert await accounts.snapshot() == before


async def test_replay_of_a_refund_of_all(credits: Credits, accounts: Accounts) -> None:
    account = await accounts.open(10)
    spent = await credits.deduct(account, 6 * CREDIT, "spent")
    first = await credits.refund(account, "k", version=spent.version)
    before = await accounts.snapshot()
    again = await credits.refund(account, "k", version=spent.version)
    assert again == replace(first, replayed=True, version_before=first.version)
    assert await accounts.snapshot() == before


async def test_same_key_for_another_refund(credits: Credits, accounts: Accounts) -> None:
    account = await accounts.open(10)
    one = await credits.deduct(account, 2 * CREDIT, "one")
    two = await credits.deduct(account, 2 * CREDIT, "two")
    held = await reserved(credits, account, "r")
    await credits.settle(account, SettleRequest(held, CREDIT))
    await credits.refund(account, "k", version=one.version, amount=CREDIT)
    cases: list[dict[str, Any]] = [
        {"version": one.version, "amount": 2 * CREDIT},
        {"version": one.version},
        {"version": two.version, "amount": CREDIT},
        {"reservation_id": held, "amount": CREDIT},
    ]
    for changed in cases:
        async with refused(accounts, "DUPLICATE_REQUEST", {"idempotencyKey": "k"}):
            await credits.refund(account, "k", **changed)
