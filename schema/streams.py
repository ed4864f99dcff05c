"""What stays open: sockets, and streams of events. Believes no key and no reader for ever."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, cast

from graphql import GraphQLError
from starlette.responses import StreamingResponse
from starlette.types import Send
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import (
    BaseGraphQLTransportWSHandler,
    Operation,
)
from strawberry.subscriptions.protocols.graphql_transport_ws.types import (
    Message,
    SubscribeMessage,
)

from app.core.database import Unavailable
from app.core.refusals import Refusal
from app.core.telemetry import log
from schema.build import coded
from schema.context import Context

# Longer than the server's pings take to fail (app.start).
_SEND_SECONDS = 60.0


class SocketHandler(BaseGraphQLTransportWSHandler[Context, None]):
    """Closes a socket that sends what is no message; believes no key and no reader for ever."""

    async def handle_message(self, message: Any) -> None:
        well_formed = (
            isinstance(message, dict)
            and isinstance(message.get("type"), str)
            and isinstance(message.get("id", ""), str)
            and (message["type"] != "subscribe" or _is_subscribe(message.get("payload")))
        )
        if not well_formed:
            await self.handle_invalid_message("Not a message of graphql-transport-ws")
            return
        await super().handle_message(cast("Any", message))

    async def handle_subscribe(self, message: SubscribeMessage) -> None:
        limit = self.max_subscriptions_per_connection
        if (
            self.connection_acknowledged
            and message["id"] not in self.operations
            and limit is not None
            and len(self.operations) >= limit
        ):
            error = GraphQLError(
                f"A socket carries at most {limit} operations.",
                extensions={"code": "BUSY", "limit": limit},
            )
            payload = [coded(error).formatted]
            await self.send_message({"id": message["id"], "type": "error", "payload": payload})
            return
        await super().handle_subscribe(message)

    async def send_message(self, message: Message) -> None:
        try:
            async with asyncio.timeout(_SEND_SECONDS):
                await super().send_message(message)
        except TimeoutError:
            # The server's pings have failed by now, but it waits for the bytes to go out.
            log.warning("socket.not_read", operations=len(self.operations))
            for name in list(self.operations):
                await self.cleanup_operation(name)

    async def run_operation(self, operation: Operation[Context, None]) -> None:
        try:
            # The key was good when the socket opened; it may have been revoked since.
            await self.context.renew()
        except (Refusal, Unavailable) as error:
            await operation.send_initial_errors([coded(GraphQLError("", original_error=error))])
            return
        await super().run_operation(operation)


def _is_subscribe(payload: object) -> bool:
    return (
        isinstance(payload, dict)
        and isinstance(payload.get("query"), str)
        and isinstance(payload.get("variables"), dict | None)
        and isinstance(payload.get("operationName"), str | None)
    )


class EventStream(StreamingResponse):
    """Ends when nobody reads it."""

    async def stream_response(self, send: Send) -> None:
        """Send what comes; a reader that takes nothing for too long is left."""

        async def send_in_time(message: Any) -> None:
            async with asyncio.timeout(_SEND_SECONDS):
                await send(message)

        try:
            await super().stream_response(send_in_time)
        except TimeoutError:
            log.warning("events.not_read")
        finally:
            # Cancelled while sending, the framework leaves it, and its subscription, open.
            await cast("AsyncGenerator[str]", self.body_iterator).aclose()
