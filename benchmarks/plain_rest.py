"""The control of the HTTP rows: plain FastAPI routes, as one writes them by hand.

The same statements on a pool with the same settings, the same authentication, the same
figures; no response model, no middleware, orjson. Served as app.start serves.
"""

import asyncio
import base64
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg
import orjson
import uvicorn
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from app.core.bus import Bus
from app.core.database import Database, prepare_connection, server_settings
from app.core.refusals import CATALOGUE, Refusal
from app.core.telemetry import configure_logging
from app.core.units import show_credits
from app.credits import Actor, Balance, Credits, ReserveRequest
from app.credits.feed import Feed
from app.identity import Identity, Viewer
from app.identity.rights import Operation
from app.main import pool_limits
from app.settings import Settings
from db.driver import Connection, Pool
from schema.scalars import read_credits

_BALANCE = """
select due, account_id, balance_version, available, reserved, spendable, overage,
    overdraft_limit, granted, monthly, bonus, used_this_period, remaining, total,
    usage_basis_points, period_grant, period_start, period_end
from credits.check_balance(p_account_id => $1, p_required => $2)
"""
_TRANSACTIONS = """
select t.account_id, t.version, t.type, t.operation, t.amount, t.available_after,
    t.reserved_after, t.overage_after, t.reservation_id, t.grant_id, t.refund_of, t.estimated,
    t.drawn_grant_ids, t.drawn_amounts, t.idempotency_key, t.reason, t.feature, t.quality,
    t.model, t.price_version, t.end_customer_ref, t.related_type, t.related_id, t.related_name,
    t.actor_kind, t.actor_id, t.actor_label, t.metadata, t.created_at
from credits.transactions as t
where t.account_id = $1
    and ($2::text[] is null or t.type = any($2))
    and ($3::timestamptz is null or t.created_at >= $3)
    and ($4::timestamptz is null or t.created_at < $4)
    and ($5::text is null or t.feature = $5)
    and ($6::uuid is null or t.reservation_id = $6)
    and ($7::text is null or t.end_customer_ref = $7)
    and ($8::bigint is null or t.version < $8)
order by t.version desc limit $9
"""
_UNLIMITED = -1
_NO_FILTER = (None,) * 7


class _PooledConnection(Connection):
    """As the application's pool: its return costs no round trip."""

    def get_reset_query(self) -> str:
        return ""


class Related(BaseModel):
    """What credits are for."""

    type: str | None = Field(None, max_length=255)
    id: str | None = Field(None, max_length=255)
    name: str | None = Field(None, max_length=255)


class Reserve(BaseModel):
    """The body of a reservation."""

    model_config = ConfigDict(alias_generator=to_camel)

    amount: str
    idempotency_key: str = Field(min_length=1, max_length=255)
    ttl_seconds: int = 300
    feature: str | None = Field(None, max_length=255)
    quality: str | None = Field(None, max_length=255)
    model: str | None = Field(None, max_length=255)
    price_version: str | None = Field(None, max_length=255)
    end_customer_ref: str | None = Field(None, max_length=255)
    related: Related | None = None
    metadata: dict[str, Any] | None = None


def create_app(settings: Settings, database: Database, pool: Pool) -> FastAPI:
    """Return the routes."""
    bus = Bus(settings.redis_url, settings.redis_timeout_seconds)
    # Reservations are published, as the application publishes them.
    credits = Credits(database, Feed(bus))
    identity = Identity(database, key_cache_seconds=settings.key_cache_seconds)

    async def permit(request: Request, operation: Operation, organization_id: UUID) -> Viewer:
        header = request.headers.get("authorization", "")
        viewer = await identity.viewer(header.removeprefix("Bearer ") or None)
        await identity.authorize(viewer, operation, organization_id)
        return viewer

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        bus.start()
        gc.collect()
        gc.freeze()
        yield
        await bus.stop()

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)

    @app.exception_handler(Refusal)
    async def refuse(_request: Request, refusal: Refusal) -> Response:
        return _json({"code": refusal.code}, CATALOGUE[refusal.code].status)

    @app.get("/organizations/{organization_id}/credit-balance")
    async def credit_balance(organization_id: UUID, request: Request) -> Response:
        await permit(request, Operation.READ_CREDITS, organization_id)
        [row] = await pool.fetch(_BALANCE, organization_id, 0)
        if row["due"]:
            await credits.catch_up(organization_id)
            [row] = await pool.fetch(_BALANCE, organization_id, 0)
        return _json(_balance(row))

    @app.get("/organizations/{organization_id}/credit-transactions")
    async def credit_transactions(
        organization_id: UUID, request: Request, first: int = 20
    ) -> Response:
        await permit(request, Operation.READ_CREDITS, organization_id)
        rows = await pool.fetch(_TRANSACTIONS, organization_id, *_NO_FILTER, first + 1)
        shown = rows[:first]
        return _json(
            {
                "nodes": [_transaction(row) for row in shown],
                "pageInfo": {
                    "hasNextPage": len(rows) > first,
                    "hasPreviousPage": False,
                    "startCursor": _cursor(shown[0]["version"]) if shown else None,
                    "endCursor": _cursor(shown[-1]["version"]) if shown else None,
                },
            }
        )

    @app.post("/organizations/{organization_id}/reservations")
    async def reserve(organization_id: UUID, body: Reserve, request: Request) -> Response:
        viewer = await permit(request, Operation.RESERVE, organization_id)
        related = body.related or Related()
        row = await credits.reserve(
            organization_id,
            ReserveRequest(
                idempotency_key=body.idempotency_key,
                amount=read_credits(body.amount),
                ttl_seconds=body.ttl_seconds,
                feature=body.feature,
                quality=body.quality,
                model=body.model,
                price_version=body.price_version,
                end_customer_ref=body.end_customer_ref,
                related_type=related.type,
                related_id=related.id,
                related_name=related.name,
                actor=Actor(viewer.kind.value, viewer.id, viewer.label),
                metadata=body.metadata,
            ),
        )
        return _json(
            {
                "reservation": {
                    "id": str(row.reservation_id),
                    "status": row.status.upper(),
                    "amount": show_credits(row.amount),
                    "settledAmount": None,
                    "expiresAt": row.expires_at,
                },
                "balance": None if row.balance is None else _short_balance(row.balance),
                "replayed": row.replayed,
            }
        )

    return app


def _json(value: dict[str, Any], status: int = 200) -> Response:
    return Response(
        orjson.dumps(value, option=orjson.OPT_UTC_Z),
        status_code=status,
        media_type="application/json",
    )


def _balance(row: asyncpg.Record) -> dict[str, Any]:
    unlimited = row["period_grant"] == _UNLIMITED
    return {
        "organizationId": str(row["account_id"]),
        "granted": show_credits(row["granted"]),
        "available": show_credits(row["available"]),
        "reserved": show_credits(row["reserved"]),
        "spendable": show_credits(row["spendable"]),
        "overage": show_credits(row["overage"]),
        "overdraftLimit": show_credits(row["overdraft_limit"]),
        "usedThisPeriod": show_credits(row["used_this_period"]),
        "monthly": show_credits(row["monthly"]),
        "bonus": show_credits(row["bonus"]),
        "total": show_credits(row["total"]),
        "remaining": show_credits(row["remaining"]),
        "usagePercentage": row["usage_basis_points"] / 100,
        "allowance": None if unlimited else show_credits(row["period_grant"]),
        "unlimited": unlimited,
        "periodStart": row["period_start"],
        "periodEnd": row["period_end"],
        "version": row["balance_version"],
    }


def _short_balance(row: Balance) -> dict[str, Any]:
    return {
        "organizationId": str(row.account_id),
        "available": show_credits(row.available),
        "reserved": show_credits(row.reserved),
        "spendable": show_credits(row.spendable),
        "overage": show_credits(row.overage),
        "overdraftLimit": show_credits(row.overdraft_limit),
        "usedThisPeriod": show_credits(row.used_this_period),
        "total": show_credits(row.total),
        "remaining": show_credits(row.remaining),
        "usagePercentage": row.usage_basis_points / 100,
        "unlimited": row.period_grant == _UNLIMITED,
        "periodEnd": row.period_end,
        "version": row.balance_version,
    }


def _transaction(row: asyncpg.Record) -> dict[str, Any]:
    account = str(row["account_id"])
    return {
        "id": f"{account}:{row['version']}",
        "organizationId": account,
        "version": row["version"],
        "type": row["type"].upper(),
        "operation": row["operation"],
        "amount": show_credits(row["amount"]),
        "availableAfter": show_credits(row["available_after"]),
        "reservedAfter": show_credits(row["reserved_after"]),
        "overageAfter": show_credits(row["overage_after"]),
        "reservationId": _id(row["reservation_id"]),
        "grantId": _id(row["grant_id"]),
        "refundedTransactionId": None
        if row["refund_of"] is None
        else f"{account}:{row['refund_of']}",
        "estimated": None if row["estimated"] is None else show_credits(row["estimated"]),
        "drawn": [
            {"grantId": str(grant), "amount": show_credits(amount)}
            for grant, amount in zip(
                row["drawn_grant_ids"] or (), row["drawn_amounts"] or (), strict=True
            )
        ],
        "idempotencyKey": row["idempotency_key"],
        "reason": row["reason"],
        "feature": row["feature"],
        "quality": row["quality"],
        "model": row["model"],
        "priceVersion": row["price_version"],
        "endCustomerRef": row["end_customer_ref"],
        "related": _related(row),
        "actor": None
        if row["actor_kind"] is None
        else {"kind": row["actor_kind"], "id": row["actor_id"], "label": row["actor_label"]},
        "metadata": row["metadata"],
        "createdAt": row["created_at"],
    }


def _related(row: asyncpg.Record) -> dict[str, str | None] | None:
    kind, name = row["related_type"], row["related_name"]
    if kind is None and name is None and row["related_id"] is None:
        return None
    return {"type": kind, "id": row["related_id"], "name": name}


def _id(value: UUID | None) -> str | None:
    return None if value is None else str(value)


def _cursor(version: int) -> str:
    return base64.urlsafe_b64encode(f"1:{version}".encode()).decode()


async def _serve(settings: Settings) -> None:
    limits = pool_limits(settings)
    database = await Database.connect(settings.database_url, limits)
    pool = await asyncpg.create_pool(
        settings.database_url,
        min_size=limits.min_size,
        max_size=limits.max_size,
        timeout=limits.connect_seconds,
        command_timeout=limits.command_seconds,
        max_inactive_connection_lifetime=limits.idle_seconds,
        connection_class=_PooledConnection,
        init=prepare_connection,
        server_settings=server_settings(limits.command_seconds),
    )
    config = uvicorn.Config(
        create_app(settings, database, pool),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        h11_max_incomplete_event_size=65_536,
    )
    try:
        await uvicorn.Server(config).serve()
    finally:
        await pool.close()
        await database.close()


if __name__ == "__main__":
    configure_logging("warning")
    # The loop that uvicorn chooses where it is started from a command line.
    chosen = uvicorn.Config("", log_config=None).get_loop_factory()
    with asyncio.Runner(loop_factory=chosen) as runner:
        runner.run(_serve(Settings()))
