"""What reads and writes a connection: uvicorn's protocols, with bounds and codes of our own."""

import asyncio
from typing import Any, ClassVar
from uuid import uuid4

from httptools import HttpParserError
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.http11 import Request

from app.core.telemetry import REQUEST_ID
from app.http import error_response
from schema.events import ABORT
from schema.sockets import SEND_TEXT

_TOO_LARGE = "The head of the request is too large: at most {} bytes of address and headers."
_GOODBYE_SECONDS = 2.0
_NOT_HTTP = "This is not HTTP as RFC 9112 has it."


class Http(HttpToolsProtocol):
    """A connection whose heads have a bound, in bytes and in time; what is refused is coded."""

    head_bytes: ClassVar[int]
    head_seconds: ClassVar[float]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._in_head = True
        self._head = 0
        self._unread = 0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Expect a request."""
        super().connection_made(transport)
        self._timer = self.loop.call_later(self.head_seconds, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Expect nothing more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read; a head may come in pieces, but neither too many nor for ever."""
        super().data_received(data)
        if not self._in_head:
            self._stop_waiting()
            return
        self._unread += len(data)
        if self._unread > self.head_bytes and not self.transport.is_closing():
            self._refuse("PAYLOAD_TOO_LARGE", 431, _TOO_LARGE.format(self.head_bytes))
        elif self._timer is None:
            self._timer = self.loop.call_later(self.head_seconds, self.transport.close)

    def on_message_begin(self) -> None:
        """Begin a head."""
        self._in_head, self._head, self._unread = True, 0, 0
        super().on_message_begin()
        # ASGI's own place for what a server can do besides.
        self.scope["extensions"] = {ABORT: {"abort": self.transport.abort}}

    def on_url(self, url: bytes) -> None:
        """Take in a piece of the address."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take in a header."""
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """End a head."""
        self._in_head = False
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # as uvicorn's
        """Refuse what the parser refused, or what was too much for it."""
        if self._head > self.head_bytes:
            self._refuse("PAYLOAD_TOO_LARGE", 431, _TOO_LARGE.format(self.head_bytes))
        else:
            self._refuse("BAD_REQUEST", 400, _NOT_HTTP)

    def _count(self, size: int) -> None:
        self._head += size
        if self._head > self.head_bytes:
            raise HttpParserError

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, code: str, status: int, message: str) -> None:
        """Answer what never becomes a request, and close."""
        request_id = str(uuid4())
        token = REQUEST_ID.set(request_id)
        response = error_response(code, status, message)
        REQUEST_ID.reset(token)
        headers = [
            *self.server_state.default_headers,
            *response.raw_headers,
            (b"x-request-id", request_id.encode()),
            (b"connection", b"close"),
        ]
        self.transport.write(
            b"HTTP/1.1 %d \r\n" % status
            + b"".join(name + b": " + value + b"\r\n" for name, value in headers)
            + b"\r\n"
            + bytes(response.body)
        )
        self.transport.close()


class WebSocket(WebSocketsSansIOProtocol):
    """A socket whose client is told to come again when it did not answer pings."""

    LOST: ClassVar = (1001, "No answer to pings")

    def handle_connect(self, event: Request) -> None:
        """Serve a socket, which may be sent to without a turn of the event loop."""
        super().handle_connect(event)
        if not self.close_sent:
            # As above.
            self.scope["extensions"] = {SEND_TEXT: {"send": self.send_text}}

    def send_text(self, text: bytes) -> bool:
        """Send at once; say no where the line is full or closed, and `send` has to wait."""
        if not self.writable.is_set() or self.disconnected or self.close_sent:
            return False
        try:
            self.conn.send_text(text)
        except InvalidState:
            return False
        self.transport.write(b"".join(self.conn.data_to_send()))
        return True

    def keepalive_timeout(self) -> None:
        """End a line that seems dead.

        A machine that slept reads the end when it wakes, and npm's client takes the server's
        own 1011 as final.
        """
        self.pong_timer = None
        self.pending_ping_payload = None
        if self.close_sent or self.transport.is_closing():
            return
        self.conn.fail(*self.LOST)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        # What was sent before may never be taken: whoever serves it need not wait for that.
        self.queue.put_nowait({"type": "websocket.disconnect", "code": self.LOST[0]})
        self.transport.close()
        # That waits for what was sent to be taken, which may be never.
        self.loop.call_later(_GOODBYE_SECONDS, self.transport.abort)
