"""The same thing created twice at once, and keys of requests that move no credits."""

import asyncio
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from app.core.database import Database
from app.core.refusals import Refusal
from db.driver import Connection
from tests.support.accounts import CREDIT, Accounts
from tests.support.clock import Clock
from tests.support.races import Race, Session, figures


async def create_organization(database: Database, project: UUID) -> tuple[UUID, bool]:
    [row] = await database.fetch(
        "select id, replayed from identity.create_organization("
        "p_project_id => $1, p_name => 'Organization', p_external_ref => 'customer-1')",
        project,
    )
    return row["id"], row["replayed"]


async def begin(database: Database, request: bytes) -> tuple[bool, bytes | None]:
    [row] = await database.fetch(
        "select replayed, response from core.idempotency_begin("
        "p_scope => 's', p_key => 'k', p_request_hash => $1)",
        request,
    )
    return row["replayed"], row["response"]


async def work(database: Database, request: bytes, response: bytes) -> tuple[bool, bytes | None]:
    """Claim the key and answer; returns what the claim said."""
    claimed = await begin(database, request)
    await database.value(
        "select core.idempotency_complete(p_scope => 's', p_key => 'k', p_response => $1)",
        response,
    )
    return claimed


async def clear(database: Database) -> int:
    cleared: int = await database.value("select core.idempotency_clear()")
    return cleared


async def without_account(admin: Connection, project: UUID) -> UUID:
    """Return an organization that no account was opened for."""
    organization = uuid4()
    await admin.execute(
        "insert into identity.organizations (id, project_id, name, created_at, updated_at)"
        " values ($1, $2, 'Organization', now(), now())",
        organization,
        project,
    )
    return organization


async def test_an_account_opened_twice_at_once_gets_one_welcome(
    race: Race, accounts: Accounts, admin: Connection
) -> None:
    project = await accounts.project(period_grant=100 * CREDIT, welcome_grant=5 * CREDIT)
    account = await without_account(admin, project)
    first = await race.hold(lambda a: a.credits.open_account(account, project))
    waiting = await race.queue(lambda b: b.credits.open_account(account, project))
    await race.commit()
    second = await waiting
    assert (first.replayed, first.version_before, first.balance.balance_version) == (False, 0, 3)
    assert (second.replayed, second.version_before) == (True, 3)
    assert second.balance == first.balance == await accounts.balance(account)
    assert figures(first.balance) == (105 * CREDIT, 0, 0)


async def test_an_account_whose_opening_was_taken_back_is_opened_by_who_waited(
    race: Race, accounts: Accounts, admin: Connection
) -> None:
    project = await accounts.project(period_grant=100 * CREDIT, welcome_grant=5 * CREDIT)
    account = await without_account(admin, project)
    await race.hold(lambda a: a.credits.open_account(account, project))
    waiting = await race.queue(lambda b: b.credits.open_account(account, project))
    await race.rollback()
    second = await waiting
    assert (second.replayed, second.version_before) == (False, 0)
    assert await accounts.balance(account) == second.balance
    assert figures(second.balance) == (105 * CREDIT, 0, 0)


async def test_an_organization_created_twice_at_once_is_one(
    race: Race, accounts: Accounts, admin: Connection
) -> None:
    project = await accounts.project(welcome_grant=5 * CREDIT)
    first, first_replayed = await race.hold(lambda a: create_organization(a, project))
    waiting = await race.queue(lambda b: create_organization(b, project))
    await race.commit()
    second, second_replayed = await waiting
    assert (first_replayed, second_replayed) == (False, True)
    assert first == second
    assert await admin.fetchval("select count(*) from identity.organizations") == 1
    assert figures(await accounts.balance(first)) == (5 * CREDIT, 0, 0)


async def test_an_organization_that_was_taken_back_is_created_by_who_waited(
    race: Race, accounts: Accounts, admin: Connection
) -> None:
    project = await accounts.project(welcome_grant=5 * CREDIT)
    first, _ = await race.hold(lambda a: create_organization(a, project))
    waiting = await race.queue(lambda b: create_organization(b, project))
    await race.rollback()
    second, second_replayed = await waiting
    assert not second_replayed
    assert first != second
    assert await admin.fetchval("select id from identity.organizations") == second
    assert figures(await accounts.balance(second)) == (5 * CREDIT, 0, 0)


async def test_creating_the_same_thing_gives_up_after_two_seconds(
    race: Race, accounts: Accounts, admin: Connection
) -> None:
    project = await accounts.project(welcome_grant=5 * CREDIT)
    account = await without_account(admin, project)
    before = await accounts.snapshot()

    async def create_all(session: Session) -> None:
        await create_organization(session, project)
        await session.credits.open_account(account, project)
        await begin(session, b"request")

    await race.hold(create_all)
    waiting = [
        await race.queue(lambda b: create_organization(b, project)),
        await race.queue(lambda b: b.credits.open_account(account, project)),
        await race.queue(lambda b: begin(b, b"request")),
    ]
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert [repr(answer) for answer in answers] == ["Refusal('BUSY')"] * 3
    await race.rollback()
    assert await accounts.snapshot() == before
    assert await admin.fetchval("select count(*) from identity.organizations") == 1
    assert await admin.fetchval("select count(*) from core.idempotency_keys") == 0


async def test_who_waits_for_a_key_replays_the_first_answer(race: Race) -> None:
    first = await race.hold(lambda a: work(a, b"request", b"answer"))
    waiting = await race.queue(lambda b: begin(b, b"request"))
    await race.commit()
    assert first == (False, None)
    assert await waiting == (True, b"answer")


async def test_a_key_that_was_given_back_is_claimed_by_who_waited(race: Race) -> None:
    await race.hold(lambda a: work(a, b"request", b"answer"))
    waiting = await race.queue(lambda b: begin(b, b"request"))
    await race.rollback()
    assert await waiting == (False, None)


async def test_who_waits_for_a_key_with_another_request_is_refused(race: Race) -> None:
    await race.hold(lambda a: work(a, b"request", b"answer"))
    waiting = await race.queue(lambda b: begin(b, b"another request"))
    await race.commit()
    with pytest.raises(Refusal) as refused:
        await waiting
    assert refused.value.code == "DUPLICATE_REQUEST"
    assert refused.value.facts == {"idempotencyKey": "k"}


async def test_a_key_of_yesterday_is_claimed_anew_by_one_of_two(
    race: Race, database: Database, clock: Clock
) -> None:
    await work(database, b"old request", b"old answer")
    await clock.advance(timedelta(hours=24, seconds=1))
    first = await race.hold(lambda a: work(a, b"request", b"answer"))
    waiting = await race.queue(lambda b: begin(b, b"request"))
    await race.commit()
    assert first == (False, None)
    assert await waiting == (True, b"answer")


async def test_a_key_that_is_just_cleared_away_is_new(
    race: Race, database: Database, clock: Clock
) -> None:
    await work(database, b"request", b"old answer")
    await clock.advance(timedelta(hours=48, seconds=1))
    assert await race.hold(clear) == 1
    waiting = await race.queue(lambda b: begin(b, b"request"))
    await race.commit()
    assert await waiting == (False, None)


async def test_a_key_that_is_locked_to_be_cleared_away_is_new(
    race: Race, database: Database, clock: Clock, admin: Connection
) -> None:
    await work(database, b"request", b"old answer")
    await clock.advance(timedelta(hours=48, seconds=1))
    # core.idempotency_clear, stopped between its lock and its delete.
    async with admin.transaction():
        await admin.execute("select from core.idempotency_keys for update")
        waiting = await race.queue(lambda b: begin(b, b"request"), behind=admin.get_server_pid())
        await admin.execute("delete from core.idempotency_keys")
    assert await waiting == (False, None)
