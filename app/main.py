"""The composition root of the API process: every object is made here, once."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from app.billing import OrganizationPlans
from app.catalog import Catalog
from app.core.bus import Bus
from app.core.database import Database, PoolLimits
from app.core.drain import Drain
from app.core.idempotency import Idempotency
from app.credits import Credits
from app.credits.feed import Feed
from app.credits.reads import CreditReads
from app.credits.shown import ShownCredits
from app.health import health_routes
from app.http import (
    Beside,
    CodedErrors,
    CrossOrigin,
    RequestContext,
    coded_exception_handlers,
)
from app.identity import Identity
from app.identity.customers import CustomerTokens
from app.identity.origins import Origins
from app.inference import Inference, ModelCalls
from app.inference.inference import Limits as InferenceLimits
from app.inference.lane import Lane, Patience
from app.inference.litellm import LiteLLMLane
from app.inference.openai import OpenAILane
from app.inference.providers import Protocol, make_provider
from app.inference.streams import StreamTerms
from app.openai import ASKED_BY_CLIENTS, PREFIX, TOLD_TO_CLIENTS, OpenAIEdge
from app.settings import Settings
from schema.build import make_schema
from schema.context import Services
from schema.credits.hot import HOT_READS
from schema.edge import PATH, Edge
from schema.engine import Engine, Limits
from schema.protocol import PREFLIGHTED

CONTRACT = Path(__file__).parents[1] / "frontend-contract"
STATIC = Path(__file__).parent / "static" / "graphiql"

# GraphiQL talks to this server alone and runs no script that is written into the page.
_IDE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; base-uri 'self'; form-action 'none'; frame-ancestors 'none'"
)

# Names of files carry no hash.
_IDE_HEADERS = {"Content-Security-Policy": _IDE_POLICY, "Cache-Control": "no-cache"}


def pool_limits(settings: Settings) -> PoolLimits:
    """Return the limits of the Postgres pool."""
    return PoolLimits(
        max_size=settings.database_pool_size,
        min_size=min(settings.database_pool_idle, settings.database_pool_size),
        acquire_seconds=settings.database_acquire_seconds,
        connect_seconds=settings.database_connect_seconds,
        command_seconds=settings.database_command_seconds,
        idle_seconds=settings.database_idle_seconds,
    )


def secret_of(settings: Settings) -> str:
    """Return the secret key; a fixed one in development, where nothing is secret."""
    if settings.secret_key is not None:
        return settings.secret_key.get_secret_value()
    return "development only: production refuses to start without a key"


def make_engine(settings: Settings) -> Engine:
    """Return what answers GraphQL, with the documents of the contract prepared."""
    operations = sorted((CONTRACT / "operations").glob("*.graphql"))
    return Engine(
        make_schema(),
        Limits(
            tokens=settings.graphql_tokens,
            depth=settings.graphql_depth,
            aliases=settings.graphql_aliases,
            root_fields=settings.graphql_root_fields,
            cost=settings.graphql_cost,
        ),
        introspection=settings.serves_graphiql,
        trusted=[path.read_text(encoding="utf-8") for path in operations],
        only_trusted=settings.trusted_documents_only and settings.environment == "production",
        subscribers=settings.subscribers,
        hot_reads=HOT_READS,
    )


def make_inference(settings: Settings, calls: ModelCalls) -> Inference:
    """Return what calls models, by the providers that have a key."""
    patience = Patience(
        connect_seconds=settings.provider_connect_seconds,
        silent_seconds=settings.provider_silent_seconds,
        total_seconds=settings.provider_seconds,
        answer_bytes=settings.provider_answer_bytes,
        connections=settings.provider_connections,
    )
    providers = {
        name: make_provider(name, each.api_key.get_secret_value(), each.base_url, each.protocol)
        for name, each in settings.providers.items()
    }
    lanes: dict[Protocol, Lane] = {Protocol.OPENAI: OpenAILane(patience)}
    if any(each.protocol is Protocol.LITELLM for each in providers.values()):
        lanes[Protocol.LITELLM] = LiteLLMLane(patience)
    return Inference(
        calls,
        providers,
        lanes,
        InferenceLimits(
            output_tokens=settings.inference_output_tokens,
            lease_seconds=settings.inference_lease_seconds,
            stream=StreamTerms(
                block_tokens=settings.stream_block_tokens,
                margin_tokens=settings.stream_margin_tokens,
            ),
        ),
    )


def create_app(settings: Settings, database: Database, drain: Drain | None = None) -> ASGIApp:
    """Return the application, around a database that is connected.

    Who stops it in order passes the drain by which it hears of that.
    """
    drain = drain or Drain()
    bus = Bus(settings.redis_url, settings.redis_timeout_seconds)
    feed = Feed(
        bus,
        pushes_per_second=settings.feed_pushes_per_second,
        resync_seconds=settings.feed_resync_seconds,
    )
    credits = Credits(database, feed, shared_lanes=settings.credit_lanes)
    reads = CreditReads(database)
    admin_key = settings.bootstrap_admin_key
    identity = Identity(
        database,
        admin_key=None if admin_key is None else admin_key.get_secret_value(),
        key_cache_seconds=settings.key_cache_seconds,
    )
    origins = Origins(identity, settings.allowed_origins, seconds=settings.origins_seconds)
    catalog = Catalog(
        database,
        recheck_seconds=settings.catalog_recheck_seconds,
        max_age_seconds=settings.catalog_max_age_seconds,
    )
    inference = make_inference(settings, ModelCalls(database, feed))
    services = Services(
        credits=credits,
        credit_reads=reads,
        shown_credits=ShownCredits(database),
        identity=identity,
        origins=origins,
        catalog=catalog,
        plans=OrganizationPlans(database, feed),
        inference=inference,
        idempotency=Idempotency(database, secret_of(settings)),
        customers=CustomerTokens(secret_of(settings)),
        feed=feed,
        rights_recheck_seconds=settings.rights_recheck_seconds,
    )

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        bus.start()
        feed.start(credits)
        await origins.start()
        inference.start()
        # What is loaded by now stays: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        try:
            yield
        finally:
            await inference.stop()
            await origins.stop()
            await feed.stop()
            await bus.stop()
            await database.close()

    framework = FastAPI(
        title="Exchequer",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        exception_handlers=coded_exception_handlers(),
    )
    edge = Edge(
        make_engine(settings),
        services,
        drain,
        body_bytes=settings.request_body_bytes,
        body_seconds=settings.request_seconds,
        socket_operations=settings.socket_operations,
        ide=_graphiql if settings.serves_graphiql else None,
    )
    framework.include_router(health_routes(database, bus, reads, drain))
    models = OpenAIEdge(
        inference,
        services,
        drain,
        body_bytes=settings.inference_body_bytes,
        body_seconds=settings.request_seconds,
    )
    if settings.serves_graphiql:
        framework.mount("/graphiql", _Assets(directory=STATIC), name="graphiql")
    # From the inside out. The framework serves what the edge does not; it answers faults by
    # itself, in words of its own, unless they are coded within.
    framework.add_middleware(CodedErrors, drain=drain)
    app: ASGIApp = Beside(
        framework, path=PREFIX, application=CodedErrors(models, drain=drain), is_deep=True
    )
    app = Beside(app, path=PATH, application=CodedErrors(edge, drain=drain))
    app = CrossOrigin(
        app,
        origins,
        allow_methods=["GET", "POST"],
        allow_headers=["content-type", "x-request-id", *PREFLIGHTED, *ASKED_BY_CLIENTS],
        expose_headers=["x-request-id", *TOLD_TO_CLIENTS],
        max_age=86_400,
    )
    return RequestContext(app, drain=drain, https_only=settings.environment == "production")


class _Assets(StaticFiles):
    """GraphiQL's files, which also hold its page: under the page's policy, asked for anew."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """Return a file, or that it has not changed."""
        response = super().file_response(*args, **kwargs)
        response.headers.update(_IDE_HEADERS)
        return response


async def _graphiql() -> Response:
    page = await asyncio.to_thread((STATIC / "index.html").read_text, encoding="utf-8")
    return HTMLResponse(
        page.replace('<base href="./">', '<base href="/graphiql/">'),
        headers=_IDE_HEADERS,
    )
