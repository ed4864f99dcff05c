"""What a process keeps of a catalog: how far behind it may be, and what it does alone."""

import asyncio
from uuid import UUID, uuid4

import pytest

from app.catalog import Catalog, CatalogSnapshot
from app.catalog.edits import FeatureTerms
from app.core.database import Database, Unavailable
from app.core.refusals import Refusal
from tests.support.accounts import Accounts

FEATURE = FeatureTerms("summary", "ai", "Summary")


class Watch:
    """A clock that is turned by hand."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


class Watched(Catalog):
    """A catalog whose looks are counted, kept waiting, or lead nowhere."""

    reads = 0
    looks = 0
    gate: asyncio.Event | None = None
    is_gone = False

    async def read(self, project_id: UUID) -> CatalogSnapshot:
        self.reads += 1
        await self._pass()
        return await super().read(project_id)

    async def version(self, project_id: UUID) -> int | None:
        self.looks += 1
        await self._pass()
        return await super().version(project_id)

    async def _pass(self) -> None:
        if self.gate is not None:
            await self.gate.wait()
        if self.is_gone:
            raise Unavailable("gone")


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def catalog(database: Database, watch: Watch) -> Watched:
    return Watched(database, recheck_seconds=1, max_age_seconds=300, now=watch)


@pytest.fixture
async def project(accounts: Accounts) -> UUID:
    return await accounts.project()


async def test_an_edit_is_seen_at_the_next_look_and_nothing_is_read_without_one(
    catalog: Watched, project: UUID, watch: Watch, database: Database
) -> None:
    first = await catalog.snapshot(project)
    assert (await catalog.snapshot(project), catalog.reads, catalog.looks) == (first, 1, 0)
    # As another process edits it.
    await Catalog(database).upsert_feature(project, FEATURE)
    watch.seconds += 0.99
    assert await catalog.snapshot(project) is first
    watch.seconds += 0.01
    assert (await catalog.snapshot(project)).features[0].key == "summary"
    assert (catalog.reads, catalog.looks) == (2, 1)
    watch.seconds += 1
    # Looked at, and as it was.
    assert len((await catalog.snapshot(project)).features) == 1
    assert (catalog.reads, catalog.looks) == (2, 2)


async def test_who_edits_reads_the_edit_at_once(catalog: Watched, project: UUID) -> None:
    await catalog.snapshot(project)
    await catalog.upsert_feature(project, FEATURE)
    assert [each.key for each in (await catalog.snapshot(project)).features] == ["summary"]


async def test_all_who_ask_at_once_wait_for_one_look_and_who_leaves_does_not_end_it(
    catalog: Watched, project: UUID
) -> None:
    catalog.gate = asyncio.Event()
    asking = [asyncio.create_task(catalog.snapshot(project)) for _ in range(50)]
    await asyncio.sleep(0)
    asking[0].cancel()
    await asyncio.wait(asking[:1])
    catalog.gate.set()
    answers = await asyncio.gather(*asking[1:])
    assert all(answer is answers[0] for answer in answers)
    assert catalog.reads == 1


async def test_without_postgres_the_younger_is_used_and_the_older_refused(
    catalog: Watched, project: UUID, watch: Watch
) -> None:
    first = await catalog.snapshot(project)
    catalog.is_gone = True
    watch.seconds += 298.95
    assert await catalog.snapshot(project) is first
    # Nor does everybody knock meanwhile.
    assert (await catalog.snapshot(project), catalog.looks) == (first, 1)
    # A look shortly before the end makes it no younger.
    watch.seconds += 1
    assert await catalog.snapshot(project) is first
    watch.seconds += 0.05
    with pytest.raises(Unavailable, match="gone"):
        await catalog.snapshot(project)
    catalog.is_gone = False
    assert await catalog.snapshot(project) == first
    with pytest.raises(Refusal) as refusal:
        await catalog.snapshot(nobody := uuid4())
    assert refusal.value.facts == {"kind": "project", "id": str(nobody)}
    # What is not there is asked for again.
    with pytest.raises(Refusal):
        await catalog.snapshot(nobody)


async def test_a_look_that_fails_with_nobody_waiting_is_no_fault(
    catalog: Watched, project: UUID
) -> None:
    catalog.gate = asyncio.Event()
    catalog.is_gone = True
    asking = asyncio.create_task(catalog.snapshot(project))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait([asking])
    catalog.gate.set()
    with pytest.raises(Unavailable):
        await catalog.snapshot(project)
