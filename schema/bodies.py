"""Bodies of requests, bounded in bytes and in time."""

import asyncio

from starlette.types import Message, Receive

from schema.protocol import Headers, RequestRefused

# Who is still sending when a connection ends may not hear the answer: so what is too large,
# but not absurdly, is read to its end and thrown away.
PATIENCE = 64


class Bodies:
    """Reads them."""

    def __init__(self, most: int, seconds: float, *, patience: int = PATIENCE) -> None:
        """Take how many bytes, how many times that are read and thrown away, and how long."""
        self._bytes = most
        self._read_at_most = most * patience
        self._seconds = seconds

    async def read(self, headers: Headers, receive: Receive) -> bytes:
        """Return a body; raises `RequestRefused`."""
        patience = self._read_at_most
        too_large = RequestRefused(
            "PAYLOAD_TOO_LARGE", f"The limit is {self._bytes} bytes.", Connection="close"
        )
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > patience:
            raise too_large
        # One that comes at once need not be timed.
        message = await receive()
        if not message.get("more_body", False) and message["type"] != "http.disconnect":
            whole: bytes = message.get("body", b"")
            if len(whole) > self._bytes:
                raise too_large
            return whole
        try:
            async with asyncio.timeout(self._seconds):
                return await self._rest(message, receive, too_large)
        except TimeoutError as error:
            raise RequestRefused(
                "BAD_REQUEST",
                f"The body took more than {self._seconds:g} seconds.",
                Connection="close",
            ) from error

    async def _rest(self, message: Message, receive: Receive, too_large: RequestRefused) -> bytes:
        patience = self._read_at_most
        body = b""
        received = 0
        while True:
            if message["type"] == "http.disconnect":
                # No fault of ours; nobody is left to read the answer.
                raise RequestRefused("BAD_REQUEST")
            chunk: bytes = message.get("body", b"")
            received += len(chunk)
            if received <= self._bytes:
                body = body + chunk if body else chunk
            elif received > patience:
                raise too_large
            if not message.get("more_body", False):
                break
            message = await receive()
        if received > self._bytes:
            raise too_large
        return body
