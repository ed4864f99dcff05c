"""The plan that an organization has: in the version that was sold, with its monthly credits."""

import asyncio
from uuid import UUID, uuid4

import pytest

from app.billing import OrganizationPlans
from app.core.database import Database
from app.credits import Credits
from tests.support.accounts import CREDIT
from tests.support.catalogs import PLAN
from tests.support.model_calls import Calling
from tests.support.refusals import refused_whole

MORE = PLAN._replace(key="more", monthly_credits=300 * CREDIT, rollover_cap=20 * CREDIT)


@pytest.fixture
async def plans(database: Database, calling: Calling) -> OrganizationPlans:
    await calling.catalog.upsert_plan(calling.project, MORE, [], [])
    return OrganizationPlans(database)


async def allowance(calling: Calling) -> tuple[int, int]:
    """Return what an account is granted each month, and keeps of it."""
    row = await calling.admin.fetchrow(
        "select period_grant, rollover_cap from credits.accounts where account_id = $1",
        calling.account,
    )
    assert row is not None
    return row["period_grant"], row["rollover_cap"]


async def held(calling: Calling, account: UUID | None = None) -> tuple[str, int]:
    """Return the plan by which calls are decided."""
    access = await calling.calls.check_access(account or calling.account, "summary")
    return str(access.plan_key), int(access.plan_version or 0)


async def test_a_plan_comes_with_its_credits(calling: Calling, plans: OrganizationPlans) -> None:
    assert await held(calling) == ("basic", 1)
    done = await plans.set_plan(calling.account, "more", reason="bought")
    assert (done.plan_key, done.plan_version, done.replayed) == ("more", 1, False)
    assert done.balance.monthly == 300 * CREDIT
    assert await allowance(calling) == (300 * CREDIT, 20 * CREDIT)
    assert await held(calling) == ("more", 1)
    again = await plans.set_plan(calling.account, "more")
    assert (again.replayed, again.balance) == (True, done.balance)


async def test_what_was_bought_is_kept_until_it_is_set_anew(
    calling: Calling, plans: OrganizationPlans
) -> None:
    await plans.set_plan(calling.account, "more")
    better = MORE._replace(monthly_credits=400 * CREDIT)
    await calling.catalog.upsert_plan(calling.project, better, [], [])
    assert await held(calling) == ("more", 1)
    assert await allowance(calling) == (300 * CREDIT, 20 * CREDIT)
    done = await plans.set_plan(calling.account, "more")
    assert (done.plan_version, done.replayed) == (2, False)
    assert done.balance.monthly == 400 * CREDIT


async def test_less_is_taken_back_but_not_what_is_used(
    calling: Calling, plans: OrganizationPlans, credits: Credits
) -> None:
    await plans.set_plan(calling.account, "more")
    await credits.deduct(calling.account, 290 * CREDIT, "d")
    done = await plans.set_plan(calling.account, "basic")
    # Ten of the month are used: more than it gives now, and what was used stays used.
    assert done.balance.monthly == 0
    assert await allowance(calling) == (10 * CREDIT, 0)


async def test_there_and_back_again_moves_credits_each_time(
    calling: Calling, plans: OrganizationPlans
) -> None:
    seen = []
    for key in ("more", "basic", "more"):
        done = await plans.set_plan(calling.account, key)
        seen.append((done.replayed, done.balance.monthly))
    assert seen == [(False, 300 * CREDIT), (False, 10 * CREDIT), (False, 300 * CREDIT)]


async def test_two_that_set_it_at_once_set_it_once(
    calling: Calling, plans: OrganizationPlans
) -> None:
    done = await asyncio.gather(*(plans.set_plan(calling.account, "more") for _ in range(4)))
    assert sorted(each.replayed for each in done) == [False, True, True, True]
    assert {each.balance.monthly for each in done} == {300 * CREDIT}


async def test_what_cannot_be_had_is_refused(calling: Calling, plans: OrganizationPlans) -> None:
    async with refused_whole(calling.stands, "NOT_FOUND", {"kind": "plan", "id": "none"}):
        await plans.set_plan(calling.account, "none")
    nobody = uuid4()
    facts = {"kind": "organization", "id": str(nobody)}
    async with refused_whole(calling.stands, "NOT_FOUND", facts):
        await plans.set_plan(nobody, "more")
    await calling.catalog.archive_plan(calling.project, "more", is_archived=True)
    async with refused_whole(calling.stands, "PLAN_INACTIVE", {"plan": "more"}):
        await plans.set_plan(calling.account, "more")


async def test_who_has_an_archived_plan_keeps_it(
    calling: Calling, plans: OrganizationPlans
) -> None:
    await plans.set_plan(calling.account, "more")
    await calling.catalog.archive_plan(calling.project, "more", is_archived=True)
    assert (await plans.set_plan(calling.account, "more")).replayed
    assert await held(calling) == ("more", 1)
