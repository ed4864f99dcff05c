"""The lane of providers that speak OpenAI's protocol: pooled connections, bytes as they come."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import aiohttp
import orjson

from app.inference.lane import Answered, Failure, Patience, ProviderFailed, Question, failure_of
from app.inference.providers import Provider
from app.inference.sse import Events, TooLong

_JSON: Final = "application/json"
_ERROR_BYTES: Final = 65_536


class OpenAILane:
    """Asks by HTTP; one pool of connections for all providers of a process."""

    def __init__(self, patience: Patience | None = None) -> None:
        self._patience = patience or Patience()
        self._session: aiohttp.ClientSession | None = None

    def start(self) -> None:
        """Do nothing: connections are made when they are needed."""

    async def ask(self, provider: Provider, question: Question) -> Answered:
        """Return the whole answer; raises `ProviderFailed`."""
        async with self._asked(provider, question) as response:
            body = await self._read(response, self._patience.answer_bytes)
            return Answered(response.status, body)

    async def stream(self, provider: Provider, question: Question) -> AsyncGenerator[bytes, None]:
        """Return the events of an answer; raises `ProviderFailed`."""
        async with self._asked(provider, question) as response:
            events = Events()
            async for piece in response.content.iter_any():
                for event in events.feed(piece):
                    yield event
            if rest := events.rest():
                # Some end without a blank line.
                yield rest + b"\n\n"

    async def close(self) -> None:
        """Let go of all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    @asynccontextmanager
    async def _asked(
        self, provider: Provider, question: Question
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        if self._session is None:
            self._session = self._open()
        try:
            async with self._session.post(
                f"{provider.base_url}{question.path}",
                data=orjson.dumps(question.body),
                headers={"Authorization": f"Bearer {provider.key}", "Content-Type": _JSON},
            ) as response:
                if response.status >= 400:  # noqa: PLR2004  # errors begin there
                    raise await self._failure(response)
                yield response
        except TimeoutError as error:
            # aiohttp's own are of this kind as well.
            raise ProviderFailed(Failure.TIMEOUT, "took too long") from error
        except TooLong as error:
            raise ProviderFailed(Failure.BROKEN, f"sent an event of {error}") from error
        except aiohttp.ClientConnectorError as error:
            raise ProviderFailed(Failure.UNREACHABLE, "cannot be connected to") from error
        except aiohttp.ClientError as error:
            raise ProviderFailed(Failure.BROKEN, f"broke off: {type(error).__name__}") from error

    async def _read(self, response: aiohttp.ClientResponse, most: int) -> bytes:
        parts, size = [], 0
        async for piece in response.content.iter_any():
            size += len(piece)
            if size > most:
                raise ProviderFailed(Failure.BROKEN, f"sent more than {most} bytes")
            parts.append(piece)
        return b"".join(parts)

    async def _failure(self, response: aiohttp.ClientResponse) -> ProviderFailed:
        body = await self._read(response, _ERROR_BYTES)
        after = response.headers.get("Retry-After")
        return failure_of(response.status, _said(body), body, after)

    def _open(self) -> aiohttp.ClientSession:
        patience = self._patience
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=patience.connections, ttl_dns_cache=60),
            timeout=aiohttp.ClientTimeout(
                total=patience.total_seconds,
                sock_connect=patience.connect_seconds,
                sock_read=patience.silent_seconds,
            ),
            # An answer is as long as a provider makes it; lines are not looked at here.
            read_bufsize=256 * 1024,
            auto_decompress=True,
            trust_env=False,
            raise_for_status=False,
        )


def _said(body: bytes) -> str:
    """Return what an error says, shortly."""
    try:
        told = orjson.loads(body)
        error = told.get("error", told) if isinstance(told, dict) else told
        message = error.get("message", error) if isinstance(error, dict) else error
    except orjson.JSONDecodeError:
        message = body.decode("utf-8", "replace")
    return str(message)
