"""`Catalog`: one method for each SQL function of the catalog domain, and what is kept of it."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

from app.catalog.edits import (
    ArchivedPlan,
    Change,
    DefaultPlan,
    EditedFeature,
    EditedModel,
    EditedPlan,
    EditedQualityLevel,
    FeatureTerms,
    ModelTerms,
    PlanFeatureTerms,
    PlanLevelTerms,
    PlanTerms,
    PriceTerms,
    QualityTerms,
)
from app.catalog.rows import CatalogRow, CatalogSnapshot
from app.core.database import Database, Unavailable
from app.core.refusals import Refusal
from app.core.telemetry import log

_Edited = TypeVar("_Edited")

_KEPT_PROJECTS = 1_000


@dataclass(slots=True)
class _Kept:
    """A catalog, and until when it needs no look and may be used without one."""

    snapshot: CatalogSnapshot
    fresh_until: float
    usable_until: float


class Catalog:
    """What each project sells."""

    def __init__(
        self,
        database: Database,
        *,
        recheck_seconds: float = 1.0,
        max_age_seconds: float = 300.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take how long a catalog is used without a look, and how long without an answer."""
        self._database = database
        self._recheck_seconds = recheck_seconds
        self._max_age_seconds = max_age_seconds
        self._now = now
        self._kept: OrderedDict[UUID, _Kept] = OrderedDict()
        self._looking: dict[UUID, asyncio.Task[CatalogSnapshot]] = {}

    # What is kept.

    async def snapshot(self, project_id: UUID) -> CatalogSnapshot:
        """Return a project's catalog: at most `recheck_seconds` behind.

        While Postgres does not answer, what it said at most `max_age_seconds` ago; raises
        `Unavailable` after that, and NOT_FOUND for a project that is not there.
        """
        kept = self._kept.get(project_id)
        if kept is not None and self._now() < kept.fresh_until:
            return kept.snapshot
        looking = self._looking.get(project_id)
        if looking is None:
            # One look for all who ask; whoever leaves does not end it.
            looking = asyncio.create_task(self._look(project_id), name="catalog")
            self._looking[project_id] = looking
            looking.add_done_callback(lambda task: self._looked(project_id, task))
        return await asyncio.shield(looking)

    def _looked(self, project_id: UUID, task: "asyncio.Task[CatalogSnapshot]") -> None:
        del self._looking[project_id]
        if not task.cancelled():
            # Also where everybody who asked has left.
            task.exception()

    async def _look(self, project_id: UUID) -> CatalogSnapshot:
        kept = self._kept.get(project_id)
        began = self._now()
        try:
            if kept is not None and await self.version(project_id) == kept.snapshot.version:
                return self._keep(project_id, kept.snapshot, began)
            return self._keep(project_id, await self.read(project_id), began)
        except Unavailable as error:
            if kept is None or kept.usable_until <= self._now():
                raise
            log.warning("catalog.not_rechecked", project_id=str(project_id), error=str(error))
            # Not asked again by every request meanwhile.
            kept.fresh_until = min(self._now() + self._recheck_seconds, kept.usable_until)
            return kept.snapshot

    def _keep(self, project_id: UUID, snapshot: CatalogSnapshot, began: float) -> CatalogSnapshot:
        self._kept[project_id] = _Kept(
            snapshot, began + self._recheck_seconds, began + self._max_age_seconds
        )
        self._kept.move_to_end(project_id)
        while len(self._kept) > _KEPT_PROJECTS:
            self._kept.popitem(last=False)
        return snapshot

    # Reads.

    async def read(self, project_id: UUID) -> CatalogSnapshot:
        """Return a project's catalog as it stands now."""
        rows = await self._database.call(CatalogRow, "catalog.read", p_project_id=project_id)
        if not rows:
            raise Refusal("NOT_FOUND", {"kind": "project", "id": str(project_id)})
        return CatalogSnapshot.of(rows[0])

    async def version(self, project_id: UUID) -> int | None:
        """Return the version of a project's catalog; None if there is no such project."""
        version: int | None = await self._database.value(
            "select catalog_version from catalog.settings where project_id = $1", project_id
        )
        return version

    async def changes(
        self, project_id: UUID, *, before_version: int | None = None, limit: int = 100
    ) -> list[Change]:
        """Return who edited what, the newest first, from before a version on."""
        rows = await self._database.fetch(
            "select catalog_version, changed_at, subject, key, actor_kind, actor_id, actor_label,"
            " before, after from catalog.changes where project_id = $1"
            " and ($2::bigint is null or catalog_version < $2)"
            " order by catalog_version desc limit $3",
            project_id,
            before_version,
            limit,
        )
        return [Change(*row) for row in rows]

    # Functions. With `keep`, what is there stays as it is.

    async def upsert_feature(
        self,
        project_id: UUID,
        terms: FeatureTerms,
        *,
        keep: bool = False,
        actor: Sequence[str] | None = None,
    ) -> EditedFeature:
        """Make or change a feature."""
        edited = await self._database.call_one(
            EditedFeature,
            "catalog.upsert_feature",
            p_project_id=project_id,
            p_terms=terms,
            p_keep=keep,
            p_actor=actor,
        )
        return self._edited(project_id, edited)

    async def upsert_quality_level(
        self,
        project_id: UUID,
        terms: QualityTerms,
        *,
        keep: bool = False,
        actor: Sequence[str] | None = None,
    ) -> EditedQualityLevel:
        """Make or change a quality level."""
        edited = await self._database.call_one(
            EditedQualityLevel,
            "catalog.upsert_quality_level",
            p_project_id=project_id,
            p_terms=terms,
            p_keep=keep,
            p_actor=actor,
        )
        return self._edited(project_id, edited)

    async def upsert_model(
        self,
        project_id: UUID,
        terms: ModelTerms,
        price: PriceTerms | None = None,
        *,
        keep: bool = False,
        actor: Sequence[str] | None = None,
    ) -> EditedModel:
        """Make or change a model; another price is its next version."""
        edited = await self._database.call_one(
            EditedModel,
            "catalog.upsert_model",
            p_project_id=project_id,
            p_terms=terms,
            p_price=price,
            p_keep=keep,
            p_actor=actor,
        )
        return self._edited(project_id, edited)

    async def upsert_plan(
        self,
        project_id: UUID,
        terms: PlanTerms,
        features: Sequence[PlanFeatureTerms],
        levels: Sequence[PlanLevelTerms],
        *,
        keep: bool = False,
        actor: Sequence[str] | None = None,
    ) -> EditedPlan:
        """Make or change a plan; other contents are its next version."""
        edited = await self._database.call_one(
            EditedPlan,
            "catalog.upsert_plan",
            p_project_id=project_id,
            p_terms=terms,
            p_features=list(features),
            p_levels=list(levels),
            p_keep=keep,
            p_actor=actor,
        )
        return self._edited(project_id, edited)

    async def set_default_plan(
        self,
        project_id: UUID,
        plan_key: str | None,
        *,
        keep: bool = False,
        actor: Sequence[str] | None = None,
    ) -> DefaultPlan:
        """Say which plan organizations have that chose none."""
        edited = await self._database.call_one(
            DefaultPlan,
            "catalog.set_default_plan",
            p_project_id=project_id,
            p_plan_key=plan_key,
            p_keep=keep,
            p_actor=actor,
        )
        return self._edited(project_id, edited)

    async def archive_plan(
        self,
        project_id: UUID,
        plan_key: str,
        *,
        is_archived: bool = True,
        actor: Sequence[str] | None = None,
    ) -> ArchivedPlan:
        """Sell a plan no more, or again."""
        edited = await self._database.call_one(
            ArchivedPlan,
            "catalog.archive_plan",
            p_project_id=project_id,
            p_plan_key=plan_key,
            p_is_archived=is_archived,
            p_actor=actor,
        )
        return self._edited(project_id, edited)

    def _edited(self, project_id: UUID, answer: _Edited) -> _Edited:
        # Whoever asks here next looks; other processes do within `recheck_seconds`.
        self._kept.pop(project_id, None)
        return answer
