"""Two who want the same credits, or send the same key, at the same moment."""

import pytest

from app.core.refusals import Refusal
from app.credits import ReserveRequest
from db.driver import Connection
from tests.support.accounts import CREDIT, Accounts
from tests.support.races import Race, figures


async def test_who_only_refers_to_the_account_does_not_wait(
    race: Race, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open(10)
    await race.hold(lambda a: a.credits.reserve(account, ReserveRequest("a", CREDIT)))
    await admin.execute("set lock_timeout = '1s'")
    await admin.execute(
        "insert into credits.findings (account_id, kind, subject, created_at)"
        " values ($1, 'of a test', 'account', core.clock())",
        account,
    )
    await race.commit()


async def test_of_two_reserves_that_do_not_both_fit_the_second_is_refused(
    race: Race, accounts: Accounts
) -> None:
    account = await accounts.open(10)
    first = await race.hold(lambda a: a.credits.reserve(account, ReserveRequest("a", 6 * CREDIT)))
    waiting = await race.queue(
        lambda b: b.credits.reserve(account, ReserveRequest("b", 6 * CREDIT))
    )
    await race.commit()
    with pytest.raises(Refusal) as refused:
        await waiting
    assert refused.value.code == "INSUFFICIENT_CREDITS"
    assert refused.value.facts == {
        "required": 6 * CREDIT,
        "spendable": 4 * CREDIT,
        "shortfall": 2 * CREDIT,
    }
    assert first.status == "pending"
    assert first.version == first.version_before + 1 == 3
    assert await accounts.balance(account) == first.balance
    assert figures(first.balance) == (4 * CREDIT, 6 * CREDIT, 0)


async def test_what_the_first_takes_back_the_second_gets(race: Race, accounts: Accounts) -> None:
    account = await accounts.open(10)
    await race.hold(lambda a: a.credits.reserve(account, ReserveRequest("a", 6 * CREDIT)))
    waiting = await race.queue(
        lambda b: b.credits.reserve(account, ReserveRequest("b", 6 * CREDIT))
    )
    await race.rollback()
    second = await waiting
    assert second.status == "pending"
    assert second.version == second.version_before + 1 == 3
    assert await accounts.balance(account) == second.balance
    assert figures(second.balance) == (4 * CREDIT, 6 * CREDIT, 0)


async def test_the_last_credit_goes_to_one_of_three(race: Race, accounts: Accounts) -> None:
    account = await accounts.open(10)
    first = await race.hold(lambda a: a.credits.reserve(account, ReserveRequest("a", 4 * CREDIT)))
    second = await race.queue(
        lambda b: b.credits.reserve_set(account, [ReserveRequest("b", 4 * CREDIT)])
    )
    third = await race.queue(
        lambda c: c.credits.reserve_set(account, [ReserveRequest("c", 4 * CREDIT)])
    )
    await race.commit()
    # Which of the two that wait comes first is for Postgres to say.
    rows = [*await second, *await third]
    accepted, refused = sorted(rows, key=lambda row: row.outcome, reverse=True)
    assert first.version == 3
    assert (accepted.outcome, accepted.version) == ("OK", 4)
    assert refused.outcome == "INSUFFICIENT_CREDITS"
    assert refused.facts == {
        "required": 4 * CREDIT,
        "spendable": 2 * CREDIT,
        "shortfall": 2 * CREDIT,
    }
    assert figures(await accounts.balance(account)) == (2 * CREDIT, 8 * CREDIT, 0)


async def test_a_reserve_sent_twice_at_once_is_one_reservation(
    race: Race, accounts: Accounts
) -> None:
    account = await accounts.open(10)
    request = ReserveRequest("k", 6 * CREDIT)
    first = await race.hold(lambda a: a.credits.reserve(account, request))
    waiting = await race.queue(lambda b: b.credits.reserve(account, request))
    await race.commit()
    second = await waiting
    assert not first.replayed
    assert second.replayed
    assert second.reservation_id == first.reservation_id
    assert (second.amount, second.expires_at) == (first.amount, first.expires_at)
    assert second.version == first.version == 3
    assert second.balance == first.balance == await accounts.balance(account)
    assert figures(first.balance) == (4 * CREDIT, 6 * CREDIT, 0)


async def test_one_key_for_two_reserves_at_once_belongs_to_the_first(
    race: Race, accounts: Accounts
) -> None:
    account = await accounts.open(10)
    first = await race.hold(lambda a: a.credits.reserve(account, ReserveRequest("k", 6 * CREDIT)))
    waiting = await race.queue(lambda b: b.credits.reserve(account, ReserveRequest("k", CREDIT)))
    await race.commit()
    with pytest.raises(Refusal) as refused:
        await waiting
    assert refused.value.code == "DUPLICATE_REQUEST"
    assert refused.value.facts == {"idempotencyKey": "k"}
    assert await accounts.balance(account) == first.balance
    assert figures(first.balance) == (4 * CREDIT, 6 * CREDIT, 0)


async def test_a_deduct_sent_twice_at_once_charges_once(race: Race, accounts: Accounts) -> None:
    account = await accounts.open(10)
    first = await race.hold(lambda a: a.credits.deduct(account, 4 * CREDIT, "k"))
    waiting = await race.queue(lambda b: b.credits.deduct(account, 4 * CREDIT, "k"))
    await race.commit()
    second = await waiting
    assert not first.replayed
    assert second.replayed
    assert second.version == first.version == 3
    assert second.balance == first.balance == await accounts.balance(account)
    assert figures(first.balance) == (6 * CREDIT, 0, 0)
    assert first.balance.used_this_period == 4 * CREDIT


async def test_one_key_for_two_deducts_at_once_belongs_to_the_first(
    race: Race, accounts: Accounts
) -> None:
    account = await accounts.open(10)
    first = await race.hold(lambda a: a.credits.deduct(account, 4 * CREDIT, "k"))
    waiting = await race.queue(lambda b: b.credits.deduct(account, 5 * CREDIT, "k"))
    await race.commit()
    with pytest.raises(Refusal) as refused:
        await waiting
    assert refused.value.code == "DUPLICATE_REQUEST"
    assert refused.value.facts == {"idempotencyKey": "k"}
    assert await accounts.balance(account) == first.balance
    assert figures(first.balance) == (6 * CREDIT, 0, 0)


async def test_of_two_deducts_that_do_not_both_fit_the_second_is_refused(
    race: Race, accounts: Accounts
) -> None:
    account = await accounts.open(10)
    first = await race.hold(lambda a: a.credits.deduct(account, 10 * CREDIT, "a"))
    waiting = await race.queue(lambda b: b.credits.deduct(account, 1, "b"))
    await race.commit()
    with pytest.raises(Refusal) as refused:
        await waiting
    assert refused.value.code == "INSUFFICIENT_CREDITS"
    assert refused.value.facts == {"required": 1, "spendable": 0, "shortfall": 1}
    assert await accounts.balance(account) == first.balance
    assert figures(first.balance) == (0, 0, 0)
