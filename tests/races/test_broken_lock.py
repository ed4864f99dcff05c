"""Why the lock is as it is: without it, two get the same credits.

Each test breaks `credits._lock` in its own database and puts it back.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import pytest

from app.core.refusals import Refusal
from app.credits import ReserveRequest
from db.driver import Connection
from tests.support.accounts import CREDIT, Accounts
from tests.support.races import Race, figures

READ: Final = """
    select a.* into v_account
    from credits.accounts as a
    where a.account_id = p_account_id
    for no key update;
"""
BROKEN: Final = {
    "no lock": """
    select a.* into v_account
    from credits.accounts as a
    where a.account_id = p_account_id;
""",
    "a lock that does not keep out its like": """
    select a.* into v_account
    from credits.accounts as a
    where a.account_id = p_account_id
    for key share;
""",
    "a lock taken after the balance was read": """
    select a.* into v_account
    from credits.accounts as a
    where a.account_id = p_account_id;
    perform from credits.accounts as a
    where a.account_id = p_account_id
    for no key update;
""",
    "a lock taken in the statement that reads": """
    select a.* into v_account
    from credits.accounts as a, pg_advisory_xact_lock(1)
    where a.account_id = p_account_id;
""",
}


@asynccontextmanager
async def broken(admin: Connection, lock: str) -> AsyncIterator[None]:
    """Put another lock in the place of the row lock."""
    definition: str = await admin.fetchval("select pg_get_functiondef('credits._lock'::regproc)")
    assert READ in definition
    await admin.execute(definition.replace(READ, lock))
    try:
        yield
    finally:
        await admin.execute(definition)


@pytest.mark.parametrize("lock", BROKEN)
async def test_two_get_the_same_credits_behind(
    lock: str, race: Race, accounts: Accounts, admin: Connection
) -> None:
    accounts.broken_on_purpose = True
    account = await accounts.open(10)
    async with broken(admin, BROKEN[lock]):
        first = await race.hold(
            lambda a: a.credits.reserve(account, ReserveRequest("a", 6 * CREDIT))
        )
        waiting = await race.queue(
            lambda b: b.credits.reserve(account, ReserveRequest("b", 6 * CREDIT))
        )
        await race.commit()
        second = await waiting
    # Twelve of ten credits are promised, and no constraint has seen it.
    assert (first.outcome, second.outcome) == ("OK", "OK")
    assert first.version == second.version == 3
    assert figures(await accounts.balance(account)) == (4 * CREDIT, 6 * CREDIT, 0)
    promised = await admin.fetchval(
        "select sum(r.amount)::bigint from credits.reservations as r"
        " where r.account_id = $1 and r.status = 'pending'",
        account,
    )
    assert promised == 12 * CREDIT

    # Put back, the same lock that failed holds again.
    sound = await accounts.open(10)
    await race.hold(lambda a: a.credits.reserve(sound, ReserveRequest("a", 6 * CREDIT)))
    waiting = await race.queue(lambda b: b.credits.reserve(sound, ReserveRequest("b", 6 * CREDIT)))
    await race.commit()
    with pytest.raises(Refusal) as refused:
        await waiting
    assert refused.value.code == "INSUFFICIENT_CREDITS"
    assert figures(await accounts.balance(sound)) == (4 * CREDIT, 6 * CREDIT, 0)
