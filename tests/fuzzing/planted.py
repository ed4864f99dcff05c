"""The server with faults planted in it, by which it is seen that the fuzzer finds them.

`python -m tests.fuzzing.planted serve`, with the faults in PLANTED: one request in 25, by the
index in its id, is answered wrongly, raises or leaves memory behind, or one in 200 takes long.
"""

import asyncio
import json
import os
import re
import time

from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.telemetry import configure_logging
from app.main import create_app
from app.server import Server, configured
from app.settings import Settings
from app.start import connect
from tests.fuzzing.control import slowness

_FEW = 25
_MEBIBYTES = 8
# Far above the limit: client and server are not always equally slow.
_SLOW_SECONDS = 0.800
# Fewer of them: each is looked at again and again.
_FEW_SLOW = 200
_INDEX = re.compile(rb"fuzz-(\d+)-\d+")


class Planted:
    """The application, and before it the faults, each for requests of its own."""

    def __init__(self, app: ASGIApp, faults: list[str]) -> None:
        self._app = app
        self._faults = faults
        self._kept: list[bytes] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or socket."""
        request_id = dict(scope.get("headers", ())).get(b"x-request-id", b"")
        index = _INDEX.fullmatch(request_id)
        fault = None
        if scope["type"] == "http" and index is not None:
            fault = self._fault_of(int(index[1]))
        if fault is None:
            await self._app(scope, receive, send)
        elif fault == "a leak":
            # Not zeros, of which the kernel would keep only one page.
            self._kept.append(b"x" * (_MEBIBYTES << 20))
            await self._app(scope, receive, send)
        elif fault == "a 5xx":
            await _refuse(send, 500, request_id)
        elif fault == "an exception":
            await _refuse(send, 400, request_id)
            raise RuntimeError("planted")
        elif fault == "a slow refusal":
            until = time.process_time() + _SLOW_SECONDS * slowness()
            while time.process_time() < until:
                pass
            await _refuse(send, 400, request_id)
        else:
            raise ValueError(fault)

    def _fault_of(self, index: int) -> str | None:
        for place, fault in enumerate(self._faults):
            if index % (_FEW_SLOW if fault == "a slow refusal" else _FEW) == place:
                return fault
        return None


async def _refuse(send: Send, status: int, request_id: bytes) -> None:
    extensions = {"code": "BAD_REQUEST", "requestId": request_id.decode()}
    body = json.dumps({"errors": [{"message": "Planted.", "extensions": extensions}]}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", request_id),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def serve() -> None:
    """Serve until told to stop, as app.start does it."""
    settings = Settings(_env_file=None)
    configure_logging(settings.log_level)
    app = create_app(settings, await connect(settings))
    config = configured(Planted(app, os.environ["PLANTED"].split(", ")), settings)
    config.host, config.port = settings.host, settings.port
    await Server(config).serve()


if __name__ == "__main__":
    asyncio.run(serve())
