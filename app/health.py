"""Health for balancers and people, metrics for Prometheus."""

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import JSONResponse, Response

from app.core.bus import Bus
from app.core.database import Database, Unavailable
from app.core.refusals import Refusal
from app.core.telemetry import OPEN_RESERVATIONS, POOL_CONNECTIONS
from app.credits.reads import CreditReads

# Nobody's account: the question is whether a credits function runs at all.
_PROBE = "select due from credits.check_balance('00000000-0000-0000-0000-000000000000')"


def health_routes(database: Database, bus: Bus, reads: CreditReads) -> APIRouter:
    """Return the routes, with the aliases that other systems ask for."""
    router = APIRouter()

    @router.get("/health/live")
    @router.get("/live")
    async def live() -> Response:
        return JSONResponse({"status": "ok"})

    @router.get("/health")
    @router.get("/healthz")
    @router.get("/health/ready")
    @router.get("/ready")
    async def ready() -> Response:
        postgres = await _credits_work(database)
        redis = await bus.ping()
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


async def _credits_work(database: Database) -> bool:
    """Run a credits function on a new connection: old ones can work when new ones cannot."""
    try:
        await database.probe(_PROBE)
    except Refusal as refusal:
        return refusal.code == "BALANCE_NOT_FOUND"
    except Unavailable:
        return False
    return True
