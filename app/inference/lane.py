"""A lane: how a provider is asked, and what it answers or why it does not."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from app.inference.providers import Provider


class Failure(StrEnum):
    """Why a provider did not answer."""

    # Nobody else would answer it either: the request is at fault, and its author is told so.
    REFUSED = "refused"
    # Another one may answer, or the same one in a moment.
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    OVERLOADED = "overloaded"
    BROKEN = "broken"
    # It does not know us.
    NO_KEY = "no_key"


class ProviderFailed(Exception):  # noqa: N818  # named for what happened
    """A provider did not answer. `body`: what it said, where that is for who asked."""

    def __init__(
        self,
        failure: Failure,
        message: str,
        status: int | None = None,
        body: bytes | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{failure}: {message}")
        self.failure = failure
        self.message = message
        self.status = status
        self.body = body
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a provider: a path of OpenAI's protocol, and a body."""

    path: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answered:
    """A whole answer, as it came."""

    status: int
    body: bytes


class Lane(Protocol):
    """Asks providers of a kind."""

    async def ask(self, provider: Provider, question: Question) -> Answered:
        """Return the whole answer; raises `ProviderFailed`."""
        ...

    def stream(self, provider: Provider, question: Question) -> AsyncGenerator[bytes, None]:
        """Return the events of an answer, whole and as they came; raises `ProviderFailed`.

        Who closes it early hangs up on the provider.
        """
        ...

    async def close(self) -> None:
        """Let go of all connections."""
        ...
