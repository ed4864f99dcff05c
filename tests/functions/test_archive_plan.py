"""Plans that are sold no more: who has them keeps them, nobody gets them."""

from uuid import UUID, uuid4

from app.catalog import Catalog
from db.driver import Connection
from tests.support.accounts import CREDIT
from tests.support.catalogs import FEATURE, LEVELS, OPENED, PLAN, refused
from tests.support.clock import Clock, utc

NOW = utc("2026-03-10 10:00")


async def test_an_archived_plan_stands_in_the_catalog_with_the_time(
    catalog: Catalog, project: UUID, clock: Clock
) -> None:
    await clock.set(NOW)
    archived = await catalog.archive_plan(project, "basic")
    assert (archived.key, archived.version, archived.archived_at) == ("basic", 1, NOW)
    assert not archived.replayed
    plan = (await catalog.read(project)).plan_by_key["basic"]
    assert plan.archived_at == NOW
    # What is in it stays: some have it.
    assert [each.feature for each in plan.features] == ["summary"]


async def test_archiving_again_keeps_the_time_and_restoring_takes_it_away(
    catalog: Catalog, project: UUID, clock: Clock
) -> None:
    await clock.set(NOW)
    await catalog.archive_plan(project, "basic")
    before = await catalog.version(project)
    await clock.set(utc("2026-03-11 10:00"))
    again = await catalog.archive_plan(project, "basic")
    assert (again.archived_at, again.replayed) == (NOW, True)
    assert await catalog.version(project) == before
    restored = await catalog.archive_plan(project, "basic", is_archived=False)
    assert (restored.archived_at, restored.replayed) == (None, False)
    assert (await catalog.archive_plan(project, "basic", is_archived=False)).replayed
    await catalog.upsert_plan(project, PLAN._replace(name="Base"), OPENED, LEVELS)


async def test_what_an_archived_plan_may_not_be(
    catalog: Catalog, project: UUID, admin: Connection
) -> None:
    await catalog.archive_plan(project, "basic")
    async with refused(admin, "PLAN_INACTIVE", {"plan": "basic"}):
        await catalog.set_default_plan(project, "basic")
    async with refused(admin, "PLAN_INACTIVE", {"plan": "basic"}):
        await catalog.upsert_plan(project, PLAN._replace(monthly_credits=CREDIT), OPENED, LEVELS)
    # A seed finds it there.
    assert (await catalog.upsert_plan(project, PLAN, OPENED, LEVELS, keep=True)).replayed


async def test_the_default_is_another_plan_first(
    catalog: Catalog, project: UUID, admin: Connection
) -> None:
    await catalog.set_default_plan(project, "basic")
    facts = {"field": "key", "reason": "must not be the default plan: set another first"}
    async with refused(admin, "VALIDATION_ERROR", facts):
        await catalog.archive_plan(project, "basic")
    await catalog.set_default_plan(project, None)
    assert (await catalog.archive_plan(project, "basic")).archived_at is not None


async def test_a_plan_of_another_project_is_none(
    catalog: Catalog, project: UUID, admin: Connection
) -> None:
    nowhere = uuid4()
    async with refused(admin, "NOT_FOUND", {"kind": "project", "id": str(nowhere)}):
        await catalog.archive_plan(nowhere, "basic")
    async with refused(admin, "NOT_FOUND", {"kind": "plan", "id": "dear"}):
        await catalog.archive_plan(project, "dear")


async def test_every_edit_is_noted_with_who_made_it_and_what_was_before(
    catalog: Catalog, project: UUID, clock: Clock
) -> None:
    await clock.set(NOW)
    actor = ("project_key", "key-1", "Back-end")
    await catalog.upsert_feature(project, FEATURE._replace(name="Digest"), actor=actor)
    await catalog.upsert_feature(project, FEATURE._replace(name="Digest"), actor=actor)
    await catalog.archive_plan(project, "basic", actor=actor)
    await catalog.set_default_plan(project, None, actor=actor)
    archived, renamed, made = (await catalog.changes(project))[:3]
    assert (renamed.catalog_version, renamed.subject, renamed.key) == (6, "feature", "summary")
    assert (renamed.actor_kind, renamed.actor_id, renamed.actor_label) == actor
    assert renamed.changed_at == NOW
    assert renamed.before == {**renamed.after, "name": "Summary"}
    assert renamed.after["name"] == "Digest"
    assert not {"project_id", "key", "created_at", "updated_at"} & renamed.after.keys()
    assert archived.before is not None
    assert (archived.before["archived_at"], archived.after["version"]) == (None, 1)
    assert archived.after["archived_at"] is not None
    # As they were made: nobody asked, and there was nothing before.
    assert (made.subject, made.actor_kind, made.before) == ("plan", None, None)
    versions = [each.catalog_version for each in await catalog.changes(project)]
    assert versions == [7, 6, 5, 4, 3, 2, 1]
    page = await catalog.changes(project, before_version=6, limit=2)
    assert [each.catalog_version for each in page] == [5, 4]


async def test_what_a_model_costs_is_noted_with_it(catalog: Catalog, project: UUID) -> None:
    made = {each.key: each for each in await catalog.changes(project) if each.subject == "model"}
    assert made["small"].after["price_version"] == 1
    assert made["small"].after["input_nanodollars"] == 1_000
    assert made["other"].after["price_version"] is None
