"""Two who edit one catalog at once."""

from uuid import UUID

from app.catalog import Catalog
from app.catalog.edits import FeatureTerms, PlanFeatureTerms, PlanTerms
from app.catalog.seeds import seed_catalog
from app.core.database import Database
from tests.support.accounts import Accounts
from tests.support.races import Race, Session

FEATURE = FeatureTerms("summary", "ai", "Summary")
PLAN = PlanTerms("basic", "recurring", "Basic", 0, 0)


async def opening(session: Session, project: UUID, per_day: int) -> tuple[int, bool]:
    features = [PlanFeatureTerms("summary", per_day=per_day)]
    edited = await Catalog(session).upsert_plan(project, PLAN, features, [])
    return edited.version, edited.replayed


async def test_the_second_of_two_editors_sees_what_the_first_made(
    race: Race, database: Database, accounts: Accounts
) -> None:
    project = await accounts.project()
    catalog = Catalog(database)
    await catalog.upsert_feature(project, FEATURE)

    assert await race.hold(lambda session: opening(session, project, 1)) == (1, False)
    same = await race.queue(lambda session: opening(session, project, 1))
    other = await race.queue(lambda session: opening(session, project, 2))
    await race.commit()
    # Whoever of them goes first: the same is none, the other is the next, and so is the way back.
    versions = {await same, await other}
    assert versions in ({(1, True), (2, False)}, {(2, False), (3, False)})
    plan = (await catalog.read(project)).plan_by_key["basic"]
    assert plan.version == max(version for version, _ in versions)
    assert await catalog.version(project) == 1 + plan.version


async def test_what_an_editor_takes_back_the_next_does_not_see(
    race: Race, database: Database, accounts: Accounts
) -> None:
    project = await accounts.project()
    catalog = Catalog(database)
    await catalog.upsert_feature(project, FEATURE)

    assert await race.hold(lambda session: opening(session, project, 1)) == (1, False)
    waiting = await race.queue(lambda session: opening(session, project, 2))
    await race.rollback()
    assert await waiting == (1, False)
    assert (await catalog.read(project)).plan_by_key["basic"].features[0].per_day == 2


async def test_two_who_seed_one_project_make_everything_once(
    race: Race, database: Database, accounts: Accounts
) -> None:
    project = await accounts.project()
    catalog = Catalog(database)

    await race.hold(lambda session: seed_catalog(Catalog(session), project))
    waiting = await race.queue(lambda session: seed_catalog(Catalog(session), project))
    await race.commit()
    await waiting
    made = await catalog.read(project)
    # Five features, three levels, ten models, four plans, and which of these is the default.
    assert made.version == 5 + 3 + 10 + 4 + 1
    assert {plan.version for plan in made.plans} == {1}
    assert {model.price_version for model in made.models} == {None, 1}
