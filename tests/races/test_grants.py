"""Grants that come and go at the same moment as others, or as what draws on them."""

from uuid import UUID

import pytest

from app.core.refusals import Refusal
from app.credits import Credits, ReserveRequest, SettleRequest
from tests.support.accounts import CREDIT, Accounts
from tests.support.races import Race, figures


async def granted(credits: Credits, accounts: Accounts) -> tuple[UUID, UUID]:
    """Return an account and its only grant, of ten credits."""
    account = await accounts.open()
    row = await credits.issue_grant(account, 10 * CREDIT, "top_up", "opening")
    assert row.version == 2
    return account, row.grant_id


async def owing(credits: Credits, accounts: Accounts) -> UUID:
    """Return an account that owes five credits for work that is done."""
    account = await accounts.open(10)
    held = await credits.reserve(account, ReserveRequest("r", 10 * CREDIT))
    settled = await credits.settle(account, SettleRequest(held.reservation_id, 15 * CREDIT))
    assert figures(settled.balance) == (0, 0, 5 * CREDIT)
    return account


async def test_a_grant_sent_twice_at_once_is_given_once(race: Race, accounts: Accounts) -> None:
    account = await accounts.open()
    first = await race.hold(
        lambda a: a.credits.issue_grant(account, 10 * CREDIT, "top_up", "payment")
    )
    waiting = await race.queue(
        lambda b: b.credits.issue_grant(account, 10 * CREDIT, "top_up", "payment")
    )
    await race.commit()
    second = await waiting
    assert not first.replayed
    assert second.replayed
    assert second.grant_id == first.grant_id
    assert (second.amount, second.grant_remaining) == (10 * CREDIT, 10 * CREDIT)
    assert second.version == first.version == 2
    assert second.balance == first.balance == await accounts.balance(account)
    assert figures(first.balance) == (10 * CREDIT, 0, 0)


async def test_one_key_for_two_grants_at_once_belongs_to_the_first(
    race: Race, accounts: Accounts
) -> None:
    account = await accounts.open()
    first = await race.hold(
        lambda a: a.credits.issue_grant(account, 10 * CREDIT, "top_up", "payment")
    )
    waiting = await race.queue(
        lambda b: b.credits.issue_grant(account, 11 * CREDIT, "top_up", "payment")
    )
    await race.commit()
    with pytest.raises(Refusal) as refused:
        await waiting
    assert refused.value.code == "DUPLICATE_REQUEST"
    assert refused.value.facts == {"idempotencyKey": "payment"}
    assert await accounts.balance(account) == first.balance
    assert figures(first.balance) == (10 * CREDIT, 0, 0)


async def test_a_reserve_behind_a_void_finds_nothing_left(
    race: Race, credits: Credits, accounts: Accounts
) -> None:
    account, grant = await granted(credits, accounts)
    first = await race.hold(lambda a: a.credits.void_grant(account, grant, "v"))
    waiting = await race.queue(
        lambda b: b.credits.reserve(account, ReserveRequest("r", 6 * CREDIT))
    )
    await race.commit()
    with pytest.raises(Refusal) as refused:
        await waiting
    assert refused.value.code == "INSUFFICIENT_CREDITS"
    assert refused.value.facts == {
        "required": 6 * CREDIT,
        "spendable": 0,
        "shortfall": 6 * CREDIT,
    }
    assert (first.taken, first.missing, first.overage_added) == (10 * CREDIT, 0, 0)
    assert await accounts.balance(account) == first.balance
    assert figures(first.balance) == (0, 0, 0)


async def test_a_void_behind_a_reserve_takes_what_is_not_reserved(
    race: Race, credits: Credits, accounts: Accounts
) -> None:
    account, grant = await granted(credits, accounts)
    first = await race.hold(lambda a: a.credits.reserve(account, ReserveRequest("r", 6 * CREDIT)))
    waiting = await race.queue(lambda b: b.credits.void_grant(account, grant, "v"))
    await race.commit()
    second = await waiting
    assert figures(first.balance) == (4 * CREDIT, 6 * CREDIT, 0)
    assert (second.requested, second.taken) == (10 * CREDIT, 4 * CREDIT)
    assert (second.missing, second.overage_added) == (6 * CREDIT, 0)
    assert await accounts.balance(account) == second.balance
    assert figures(second.balance) == (0, 6 * CREDIT, 0)


async def test_a_dispute_behind_a_reserve_turns_what_is_reserved_into_debt(
    race: Race, credits: Credits, accounts: Accounts
) -> None:
    account, grant = await granted(credits, accounts)
    await race.hold(lambda a: a.credits.reserve(account, ReserveRequest("r", 6 * CREDIT)))
    waiting = await race.queue(
        lambda b: b.credits.void_grant(account, grant, "v", missing_becomes_overage=True)
    )
    await race.commit()
    second = await waiting
    assert (second.requested, second.taken) == (10 * CREDIT, 4 * CREDIT)
    assert (second.missing, second.overage_added) == (0, 6 * CREDIT)
    assert await accounts.balance(account) == second.balance
    assert figures(second.balance) == (0, 6 * CREDIT, 6 * CREDIT)


async def test_a_settle_behind_a_void_is_paid_from_what_was_left_for_it(
    race: Race, credits: Credits, accounts: Accounts
) -> None:
    account, grant = await granted(credits, accounts)
    held = await credits.reserve(account, ReserveRequest("r", 6 * CREDIT))
    first = await race.hold(lambda a: a.credits.void_grant(account, grant, "v"))
    waiting = await race.queue(
        lambda b: b.credits.settle(account, SettleRequest(held.reservation_id, 5 * CREDIT))
    )
    await race.commit()
    second = await waiting
    assert (first.taken, first.missing) == (4 * CREDIT, 6 * CREDIT)
    assert figures(first.balance) == (0, 6 * CREDIT, 0)
    assert second.settled_amount == 5 * CREDIT
    assert await accounts.balance(account) == second.balance
    assert figures(second.balance) == (CREDIT, 0, 0)


async def test_a_void_behind_a_settle_takes_what_was_not_spent(
    race: Race, credits: Credits, accounts: Accounts
) -> None:
    account, grant = await granted(credits, accounts)
    held = await credits.reserve(account, ReserveRequest("r", 6 * CREDIT))
    first = await race.hold(
        lambda a: a.credits.settle(account, SettleRequest(held.reservation_id, 5 * CREDIT))
    )
    waiting = await race.queue(lambda b: b.credits.void_grant(account, grant, "v"))
    await race.commit()
    second = await waiting
    assert figures(first.balance) == (5 * CREDIT, 0, 0)
    assert (second.requested, second.taken) == (10 * CREDIT, 5 * CREDIT)
    assert (second.missing, second.overage_added) == (5 * CREDIT, 0)
    assert await accounts.balance(account) == second.balance
    assert figures(second.balance) == (0, 0, 0)


async def test_two_refunds_give_no_more_than_was_settled(race: Race, accounts: Accounts) -> None:
    account = await accounts.open(10)
    spent = await race.hold(lambda a: a.credits.deduct(account, 10 * CREDIT, "d"))
    await race.commit()
    first = await race.hold(
        lambda a: a.credits.refund(account, "a", version=spent.version, amount=7 * CREDIT)
    )
    waiting = await race.queue(
        lambda b: b.credits.refund(account, "b", version=spent.version, amount=7 * CREDIT)
    )
    await race.commit()
    with pytest.raises(Refusal) as refused:
        await waiting
    assert refused.value.code == "REFUND_EXCEEDS_SETTLED"
    assert refused.value.facts == {"requested": 7 * CREDIT, "refundable": 3 * CREDIT}
    assert (first.amount, first.refundable) == (7 * CREDIT, 3 * CREDIT)
    assert await accounts.balance(account) == first.balance
    assert figures(first.balance) == (7 * CREDIT, 0, 0)


async def test_of_two_refunds_of_the_rest_the_second_gets_what_is_left(
    race: Race, accounts: Accounts
) -> None:
    account = await accounts.open(10)
    spent = await race.hold(lambda a: a.credits.deduct(account, 10 * CREDIT, "d"))
    await race.commit()
    await race.hold(
        lambda a: a.credits.refund(account, "a", version=spent.version, amount=7 * CREDIT)
    )
    waiting = await race.queue(lambda b: b.credits.refund(account, "b", version=spent.version))
    await race.commit()
    second = await waiting
    assert (second.amount, second.refundable, second.replayed) == (3 * CREDIT, 0, False)
    assert await accounts.balance(account) == second.balance
    assert figures(second.balance) == (10 * CREDIT, 0, 0)


async def test_a_refund_sent_twice_at_once_gives_back_once(race: Race, accounts: Accounts) -> None:
    account = await accounts.open(10)
    spent = await race.hold(lambda a: a.credits.deduct(account, 10 * CREDIT, "d"))
    await race.commit()
    first = await race.hold(lambda a: a.credits.refund(account, "k", version=spent.version))
    waiting = await race.queue(lambda b: b.credits.refund(account, "k", version=spent.version))
    await race.commit()
    second = await waiting
    assert not first.replayed
    assert second.replayed
    assert second.grant_ids == first.grant_ids
    assert (second.amount, second.refundable, second.version) == (10 * CREDIT, 0, first.version)
    assert second.balance == first.balance == await accounts.balance(account)
    assert figures(first.balance) == (10 * CREDIT, 0, 0)


async def test_a_grant_behind_a_pardon_is_not_eaten_by_the_debt(
    race: Race, credits: Credits, accounts: Accounts
) -> None:
    account = await owing(credits, accounts)
    first = await race.hold(lambda a: a.credits.forgive_overage(account, "f", "goodwill"))
    waiting = await race.queue(lambda b: b.credits.issue_grant(account, 8 * CREDIT, "top_up", "g"))
    await race.commit()
    second = await waiting
    assert first.amount == 5 * CREDIT
    assert figures(first.balance) == (0, 0, 0)
    assert second.grant_remaining == 8 * CREDIT
    assert await accounts.balance(account) == second.balance
    assert figures(second.balance) == (8 * CREDIT, 0, 0)


async def test_a_pardon_behind_a_grant_finds_the_debt_paid(
    race: Race, credits: Credits, accounts: Accounts
) -> None:
    account = await owing(credits, accounts)
    first = await race.hold(lambda a: a.credits.issue_grant(account, 8 * CREDIT, "top_up", "g"))
    waiting = await race.queue(lambda b: b.credits.forgive_overage(account, "f", "goodwill"))
    await race.commit()
    with pytest.raises(Refusal) as refused:
        await waiting
    assert refused.value.code == "VALIDATION_ERROR"
    assert refused.value.facts == {
        "field": "amount",
        "reason": "must be at most the 0 micro-credits that are owed",
    }
    assert first.grant_remaining == 3 * CREDIT
    assert await accounts.balance(account) == first.balance
    assert figures(first.balance) == (3 * CREDIT, 0, 0)
