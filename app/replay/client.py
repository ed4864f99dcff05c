"""GraphQL over HTTP, the way a careful client speaks it.

Whatever leaves open whether the server acted is answered with the same request again,
key and all: after a lost connection, a time-out, a busy account, a fault of the server.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp
import orjson
from yarl import URL

from app.replay.errors import ReplayError

Result = TypeVar("Result")

_AGAIN = frozenset({"BUSY", "UNAVAILABLE", "INTERNAL"})
_SERVER_FAULT = 500
# 22 seconds altogether, give or take: a server has time to start again.
_ATTEMPTS = 12
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 4.0
# Longer than the server gives itself for a connection and a statement.
_REQUEST_SECONDS = 20.0
# Shorter than servers keep an idle connection: a request must not meet its end.
_IDLE_SECONDS = 3.0


class RefusedError(Exception):
    """The server said no, and would say it again."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(f"{code}: {message}")


class UnansweredError(Exception):
    """No answer after many attempts: what became of the request is unknown."""


class _AgainError(Exception):
    """Worth the same request again."""


@dataclass(frozen=True, slots=True)
class Document:
    """One operation with one root field; written once, sent often."""

    field: str
    head: bytes

    @classmethod
    def of(cls, field: str, text: str) -> "Document":
        """Return the document of an operation."""
        return cls(field, b'{"query":' + orjson.dumps(" ".join(text.split())) + b',"variables":')

    def body(self, variables: dict[str, Any]) -> bytes:
        """Return a request's body."""
        return self.head + orjson.dumps(variables) + b"}"


class Client:
    """Asks a server, at most so many requests at a time."""

    def __init__(self, url: str, key: str, concurrency: int) -> None:
        self._url = URL(url)
        if self._url.scheme not in ("http", "https") or not self._url.host:
            raise ReplayError(f"--url must be an http address, not {url}")
        self._slots = asyncio.Semaphore(concurrency)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=concurrency, keepalive_timeout=_IDLE_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=_REQUEST_SECONDS),
            headers={
                "Authorization": f"Bearer {key}",
                "Content-Type": "application/json",
                "Accept": "application/json",
            },
        )
        self.retries = 0

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def ask(
        self, document: Document, variables: dict[str, Any], attempts: int = _ATTEMPTS
    ) -> dict[str, Any]:
        """Return what the document's root field answers; raises what it refuses."""
        body = document.body(variables)
        pause = _FIRST_PAUSE
        attempt = 1
        while True:
            try:
                async with self._slots:
                    return await self._post(document.field, body)
            except _AgainError as error:
                if attempt == attempts:
                    raise UnansweredError(f"{document.field}: {error}") from error
            attempt += 1
            self.retries += 1
            # Those who failed together must not come back together.
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  # not a secret
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _post(self, field: str, body: bytes) -> dict[str, Any]:
        try:
            async with self._session.post(self._url, data=body, allow_redirects=False) as response:
                status, raw = response.status, await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _AgainError(str(error) or type(error).__name__) from error
        try:
            payload = orjson.loads(raw)
            if errors := payload.get("errors"):
                raise _no(errors[0].get("extensions", {}).get("code", ""), errors[0]["message"])
            answer: dict[str, Any] = payload["data"][field]
            if "code" in answer:
                raise _no(answer["code"], answer["message"])
        except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError) as error:
            if status >= _SERVER_FAULT:
                raise _AgainError(f"HTTP {status}") from error
            raise RefusedError("NOT_GRAPHQL", f"{self._url} answers HTTP {status}") from error
        return answer


async def together(work: Callable[[int], Awaitable[Result]], count: int) -> list[Result]:
    """Return what `work` makes of each number; all have ended when the first fault is raised."""
    ended = await asyncio.gather(*map(work, range(count)), return_exceptions=True)
    done: list[Result] = []
    for result in ended:
        if isinstance(result, BaseException):
            raise result
        done.append(result)
    return done


def _no(code: str, message: str) -> Exception:
    return _AgainError(code) if code in _AGAIN else RefusedError(code, message)
