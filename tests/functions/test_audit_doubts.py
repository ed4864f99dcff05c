"""What an audit found each audit finds that follows, since the last too, until it is mended."""

from uuid import UUID

import pytest

from app.core.audit import Finding
from app.credits import Credits
from db.driver import Connection
from tests.conftest import Servers
from tests.support.accounts import CREDIT, Accounts
from tests.support.marks import audited_since, rewrite_history
from tests.support.races import Race, Session


async def spoiled(credits: Credits, accounts: Accounts, admin: Connection) -> UUID:
    """Return an account with its mark, and a row behind it that is not what it was.

    The account's own row is: nothing says that anybody should look at it.
    """
    accounts.broken_on_purpose = True
    account = await accounts.open(10)
    await credits.deduct(account, CREDIT, "before")
    assert await audited_since(credits) == []
    await admin.execute("set session_replication_role = replica")
    await admin.execute("update credits.transactions set estimated = 1 where type = 'consumption'")
    assert await audited_since(credits) == []
    return account


async def mend(admin: Connection) -> None:
    await admin.execute(
        "update credits.transactions set estimated = null where type = 'consumption'"
    )


async def audited(credits: Credits) -> list[Finding]:
    return [found async for page in credits.audit_pages() for found in page.findings]


async def test_a_finding_of_the_full_audit_is_found_until_it_is_mended(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await spoiled(credits, accounts, admin)
    neighbour = await accounts.open(10)
    [found] = await audited(credits)
    assert (found.account_id, found.invariant) == (account, "settlement")
    for _ in range(2):
        [page] = [page async for page in credits.audit_pages(since_last=True)]
        assert (page.read, page.skipped, page.findings) == (1, 1, [found])
    # Of what moves meanwhile, no newer mark is made.
    for each in (account, neighbour):
        await credits.deduct(each, CREDIT, "since")
    assert await audited_since(credits) == [found]
    await mend(admin)
    [page] = [page async for page in credits.audit_pages(since_last=True)]
    assert (page.read, page.skipped, page.findings) == (1, 1, [])
    [page] = [page async for page in credits.audit_pages(since_last=True)]
    assert (page.read, page.skipped, page.findings) == (0, 2, [])


@pytest.mark.parametrize("since_last", [False, True])
async def test_a_finding_is_found_though_the_account_goes_back_to_what_it_was(
    credits: Credits, accounts: Accounts, admin: Connection, *, since_last: bool
) -> None:
    account = await spoiled(credits, accounts, admin)
    await admin.execute("update credits.accounts set low_balance_percent = low_balance_percent + 1")
    found = [f async for page in credits.audit_pages(since_last=since_last) for f in page.findings]
    assert "terms" in {each.invariant for each in found}
    await admin.execute("update credits.accounts set low_balance_percent = low_balance_percent - 1")
    # Since there was something, all of it is read: older things are found too.
    [left] = await audited_since(credits)
    assert (left.account_id, left.invariant) == (account, "settlement")


async def test_whoever_contradicts_a_mark_does_so_ever_after(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    accounts.broken_on_purpose = True
    account = await accounts.open(10)
    await credits.deduct(account, CREDIT, "before")
    assert await audited_since(credits) == []
    await credits.deduct(account, CREDIT, "since")
    # The mark alone knows better, so it is not given up.
    await rewrite_history(admin)
    for _ in range(2):
        found = await audited(credits)
        assert [each.invariant for each in found] == ["mark"]
        assert await audited_since(credits) == found


async def test_an_audit_under_way_does_not_take_away_a_doubt_it_did_not_know(
    servers: Servers,
    database_name: str,
    credits: Credits,
    accounts: Accounts,
    admin: Connection,
) -> None:
    account = await spoiled(credits, accounts, admin)
    await credits.deduct(account, CREDIT, "since")

    async def whole(session: Session) -> list[Finding]:
        return await audited(session.credits)

    async def since(session: Session) -> list[Finding]:
        return await audited_since(session.credits)

    async with Race(servers.app_url(database_name)) as race:
        [found] = await race.hold(whole)
        # It reads what came since the mark, finds nothing, and waits to write its own.
        waiting = await race.queue(since)
        await race.commit()
        assert await waiting == []
    assert await audited_since(credits) == [found]
