"""Health for balancers and people, metrics for Prometheus."""

import asyncio
import time

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import JSONResponse, Response

from app.core.bus import Bus
from app.core.database import Database, Unavailable
from app.core.drain import Drain
from app.core.refusals import Refusal
from app.core.telemetry import OPEN_RESERVATIONS, POOL_CONNECTIONS
from app.credits.reads import CreditReads

# What is known of readiness is good for so long.
_KNOWN_SECONDS = 1.0

# Nobody's account: the question is whether a credits function runs at all.
_PROBE = "select due from credits.check_balance('00000000-0000-0000-0000-000000000000')"


def health_routes(database: Database, bus: Bus, reads: CreditReads, drain: Drain) -> APIRouter:
    """Return the routes, with the aliases that other systems ask for."""
    router = APIRouter()
    readiness = _Readiness(database, bus)

    @router.get("/health/live")
    @router.get("/live")
    async def live() -> Response:
        return JSONResponse({"status": "ok"})

    @router.get("/health")
    @router.get("/healthz")
    @router.get("/health/ready")
    @router.get("/ready")
    async def ready() -> Response:
        if drain.is_begun:
            return JSONResponse({"status": "stopping"}, status_code=503)
        postgres, redis = await readiness.ask()
        status = "ok" if postgres and redis else "degraded" if postgres else "unavailable"
        return JSONResponse(
            {
                "status": status,
                "postgres": "up" if postgres else "down",
                "redis": "up" if redis else "down",
            },
            status_code=200 if postgres else 503,
        )

    @router.get("/metrics")
    async def metrics() -> Response:
        size, idle = database.size
        POOL_CONNECTIONS.labels("open").set(size)
        POOL_CONNECTIONS.labels("idle").set(idle)
        try:
            OPEN_RESERVATIONS.set(await reads.count_pending())
        except (Unavailable, Refusal):
            OPEN_RESERVATIONS.set(float("nan"))
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return router


class _Readiness:
    """Asks once for everybody who asks at the same time, and not again for a moment.

    A probe is a connection of its own: as many as anybody likes would leave none for work.
    """

    def __init__(self, database: Database, bus: Bus) -> None:
        self._database = database
        self._bus = bus
        self._lock = asyncio.Lock()
        self._known: tuple[bool, bool] = (False, False)
        self._known_until = float("-inf")

    async def ask(self) -> tuple[bool, bool]:
        """Return whether Postgres works, and whether Redis answers."""
        async with self._lock:
            if time.monotonic() >= self._known_until:
                self._known = (await _credits_work(self._database), await self._bus.ping())
                self._known_until = time.monotonic() + _KNOWN_SECONDS
            return self._known


async def _credits_work(database: Database) -> bool:
    """Run a credits function on a new connection: old ones can work when new ones cannot."""
    try:
        await database.probe(_PROBE)
    except Refusal as refusal:
        return refusal.code == "BALANCE_NOT_FOUND"
    except Unavailable:
        return False
    return True
