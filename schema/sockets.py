"""graphql-transport-ws: many operations over one socket.

The protocol is that of the npm package `graphql-ws`. A socket believes no key and no reader
for ever: each operation asks for the key again, and who takes nothing for a minute is left.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from graphql import OperationType
from starlette.types import Receive, Scope, Send

from app.core.database import Unavailable
from app.core.drain import Drain
from app.core.refusals import Refusal
from app.core.telemetry import log
from schema.context import Context
from schema.documents import Operation
from schema.engine import Engine, Payload
from schema.groups import Member
from schema.protocol import Headers, RequestRefused, bearer_of, check_request

PROTOCOL = "graphql-transport-ws"
# An ASGI extension of our server: a function that takes the bytes of a text, if it can at once.
SEND_TEXT = "exchequer.websocket.text"
# Longer than the server's pings take to fail (app.server).
SEND_SECONDS = 60.0
INIT_SECONDS = 10.0
# Answers that wait to be taken, beside those of the operations.
_UNTAKEN = 16

# A tuple: whatever was sent can be looked for in it, a list or an object as well.
_MESSAGES = ("connection_init", "ping", "pong", "subscribe", "complete")


class _Closed(Exception):  # noqa: N818  # not an error: what a socket is closed for
    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason
        super().__init__(code, reason)


class Socket:
    """One socket, from its handshake to its end."""

    def __init__(
        self,
        engine: Engine,
        context: Context,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        headers: Headers,
        drain: Drain,
        operations: int,
        is_let_in: bool,
    ) -> None:
        self._engine = engine
        self._context = context
        self._scope = scope
        self._receive = receive
        self._send = send
        self._drain = drain
        self._limit = operations
        self._is_let_in = is_let_in
        self._headers = headers
        extension = scope.get("extensions", {}).get(SEND_TEXT)
        self._send_at_once: Callable[[bytes], bool] | None = extension and extension["send"]
        self._operations: dict[str, asyncio.Task[None]] = {}
        # Also what is answered and only being told yet.
        self._tasks: set[asyncio.Task[None]] = set()
        # Mutations under way: they end by themselves, whatever becomes of the socket.
        self._effects: set[asyncio.Future[Payload | Member]] = set()
        self._is_open = False
        self._is_initialised = False

    async def serve(self) -> None:
        """Serve it until either side ends it."""
        await self._receive()
        if not self._is_let_in:
            await self._send({"type": "websocket.close", "code": 4403, "reason": "Forbidden"})
            return
        is_ours = PROTOCOL in self._scope.get("subprotocols", ())
        await self._send({"type": "websocket.accept", "subprotocol": PROTOCOL if is_ours else None})
        self._is_open = True
        try:
            if not is_ours:
                raise _Closed(4406, "Subprotocol not acceptable")  # noqa: TRY301
            async with self._drain.until_stop():
                await self._greet()
                while True:
                    self._handle(await self._next())
            # Queries and mutations are answered yet; subscriptions end by themselves.
            await asyncio.gather(*self._tasks, return_exceptions=True)
            raise _Closed(1012, "The server stops: connect again")  # noqa: TRY301
        except _Closed as closed:
            await self._close(closed.code, closed.reason)
        finally:
            await self._end()

    # The way in.

    async def _next(self) -> dict[str, Any]:
        # Who takes nothing is not listened to either: each of a million pings has an answer.
        while len(self._tasks) >= self._limit + _UNTAKEN:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        event = await self._receive()
        if event["type"] == "websocket.disconnect":
            self._is_open = False
            raise _Closed(1000, "")
        text = event.get("text")
        if text is None:
            raise _Closed(4400, "WebSocket message type must be text")
        try:
            message = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise _Closed(4400, "WebSocket message must be valid JSON") from error
        if not isinstance(message, dict) or message.get("type") not in _MESSAGES:
            raise _Closed(4400, "Not a message of graphql-transport-ws")
        return message

    async def _greet(self) -> None:
        """Wait for the first message; a ping may come before it."""
        try:
            async with asyncio.timeout(INIT_SECONDS):
                while (message := await self._next())["type"] != "connection_init":
                    self._handle(message)
        except TimeoutError as error:
            raise _Closed(4408, "Connection initialisation timeout") from error
        params = message.get("payload")
        if params is not None and not isinstance(params, dict):
            raise _Closed(4400, "Invalid connection init payload")
        await self._sign_in(params or {})
        self._is_initialised = True
        await self._tell({"type": "connection_ack"})

    async def _sign_in(self, params: Mapping[str, Any]) -> None:
        sent = params.get("Authorization", params.get("authorization"))
        header = self._headers.get("authorization")
        try:
            await self._context.sign_in(bearer_of(sent if isinstance(sent, str) else header))
        except Refusal as refusal:
            told = RequestRefused.of(refusal).error["message"]
            raise _Closed(4403, f"Forbidden: {told}") from refusal
        except RequestRefused as refused:
            raise _Closed(4403, f"Forbidden: {refused.error['message']}") from refused
        except Unavailable as error:
            raise _Closed(1013, "The database cannot be reached. Try again later.") from error

    def _handle(self, message: dict[str, Any]) -> None:
        kind, name = message["type"], message.get("id")
        if kind == "connection_init":
            raise _Closed(4429, "Too many initialisation requests")
        if kind == "ping":
            self._start("", self._tell({"type": "pong"}))
        elif kind in ("subscribe", "complete") and not isinstance(name, str):
            raise _Closed(4400, "Not a message of graphql-transport-ws")
        elif kind == "complete":
            if (running := self._operations.pop(str(name), None)) is not None:
                running.cancel()
        elif kind == "subscribe":
            self._subscribe(str(name), message.get("payload"))

    def _subscribe(self, name: str, payload: object) -> None:
        if not self._is_initialised:
            raise _Closed(4401, "Unauthorized")
        try:
            request = check_request(payload)
        except RequestRefused as refused:
            raise _Closed(4400, "Not a message of graphql-transport-ws") from refused
        if not request.get("extensions") and all(
            request.get(name) is None for name in ("query", "documentId")
        ):
            raise _Closed(4400, "Not a message of graphql-transport-ws")
        if name in self._operations:
            raise _Closed(4409, f"Subscriber for {name} already exists")
        if len(self._operations) >= self._limit:
            beyond = RequestRefused("BUSY").error
            beyond["message"] = f"A socket carries at most {self._limit} operations."
            beyond["extensions"]["limit"] = self._limit
            self._start("", self._tell({"id": name, "type": "error", "payload": [beyond]}))
            return
        self._operations[name] = self._start(name, self._run(name, request))

    def _start(self, name: str, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(work, name=f"socket-operation {name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # The way out.

    async def _run(self, name: str, request: Mapping[str, Any]) -> None:
        try:
            last = await self._answer(name, request)
        except RequestRefused as refused:
            last = {"id": name, "type": "error", "payload": [refused.error]}
        except Refusal as refusal:
            # The key was good when the socket opened; it may have been revoked since, or the
            # page shut out.
            last = {"id": name, "type": "error", "payload": [RequestRefused.of(refusal).error]}
        except Unavailable:
            last = {"id": name, "type": "error", "payload": [RequestRefused("UNAVAILABLE").error]}
        except Exception:  # noqa: BLE001  # logged, and told with its code
            # No client can have caused it; none shall wait for ever because of it.
            log.exception("socket.failed")
            last = {"id": name, "type": "error", "payload": [RequestRefused("INTERNAL").error]}
        if last is None:
            return
        # Its name is free before its end is told.
        if self._operations.get(name) is asyncio.current_task():
            del self._operations[name]
        await self._tell(last)

    async def _answer(self, name: str, request: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return what is to be told last; None where a client shall not take it for the end."""
        await self._context.renew()
        operation = self._engine.operation(request, self._context)
        if not isinstance(operation, Operation):
            return {"id": name, "type": "error", "payload": operation["errors"]}
        beginning = self._engine.begin(operation, request.get("variables"), self._context)
        if operation.type is OperationType.MUTATION:
            # Who no longer waits for its answer has asked for it all the same.
            effect = asyncio.ensure_future(beginning)
            self._effects.add(effect)
            effect.add_done_callback(self._effects.discard)
            began = await asyncio.shield(effect)
        else:
            began = await beginning
        if isinstance(began, Member):
            async with self._drain.until_stop():
                return await self._tell_all(name, began)
            return None
        if "data" not in began:
            return {"id": name, "type": "error", "payload": began["errors"]}
        await self._tell({"id": name, "type": "next", "payload": began})
        return {"id": name, "type": "complete"}

    async def _tell_all(self, name: str, member: Member) -> dict[str, Any]:
        head = b'{"id":' + orjson.dumps(name) + b',"type":"next","payload":'
        if (send := self._send_at_once) is not None:
            member.sink = lambda payload: self._is_open and send(head + payload + b"}")
        async with member:
            async for payload in member:
                await self._put((head + payload + b"}").decode())
                if not self._is_open:
                    break
        return {"id": name, "type": "complete"}

    async def _tell(self, message: dict[str, Any]) -> None:
        await self._put(orjson.dumps(message).decode())

    async def _put(self, text: str) -> None:
        if not self._is_open:
            return
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._send({"type": "websocket.send", "text": text})
        except TimeoutError:
            # The server's pings have failed by now, but it waits for the bytes to go out.
            log.warning("socket.not_read", operations=len(self._operations))
            for task in self._operations.values():
                if task is not asyncio.current_task():
                    task.cancel()
            self._is_open = False
        except (RuntimeError, OSError):
            # It was closed while this was on its way.
            self._is_open = False

    async def _close(self, code: int, reason: str) -> None:
        if self._is_open:
            self._is_open = False
            with contextlib.suppress(RuntimeError, OSError):
                # A reason has room for 123 bytes.
                await self._send(
                    {
                        "type": "websocket.close",
                        "code": code,
                        "reason": reason.encode()[:123].decode(errors="ignore"),
                    }
                )

    async def _end(self) -> None:
        self._operations.clear()
        running = list(self._tasks)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, *self._effects, return_exceptions=True)
