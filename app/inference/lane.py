"""A lane: how a provider is asked, and what it answers or why it does not."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Protocol

from app.core.refusals import Refusal
from app.inference.providers import Provider

_SAID_AT_MOST: Final = 500
_RETRY_AFTER_AT_MOST: Final = 3_600.0
_OVERLOADED: Final = frozenset({408, 409, 425, 429, 503, 529})
# It does not know us, or wants us to pay: neither is the fault of who asked.
_NO_KEY: Final = frozenset({401, 402, 403})
_NOT_FOUND: Final = 404
_FAULT: Final = 500


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

    @property
    def refusal(self) -> Refusal:
        """What who asked is told, where the provider's own words have no place."""
        if self.failure is Failure.REFUSED:
            return Refusal("PROVIDER_REFUSED", {"reason": self.message})
        unavailable = self.failure is Failure.NO_KEY
        return Refusal("PROVIDER_UNAVAILABLE" if unavailable else "PROVIDER_ERROR")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a provider is waited for, and how much it may say."""

    connect_seconds: float = 10.0
    silent_seconds: float = 300.0
    total_seconds: float = 1_800.0
    answer_bytes: int = 32 * 1024 * 1024
    connections: int = 1_000


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

    def start(self) -> None:
        """Get ready, in the background; asked before, it gets ready then."""
        ...

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


def failure_of(status: int, message: str, body: bytes, retry_after: str | None) -> ProviderFailed:
    """Return what an answer of 400 and above comes to; `body` is for who asked."""
    message = message[:_SAID_AT_MOST]
    if status in _OVERLOADED:
        return ProviderFailed(Failure.OVERLOADED, message, status, None, _seconds(retry_after))
    if status in _NO_KEY:
        # What it says of our key is not for who asked.
        return ProviderFailed(Failure.NO_KEY, message, status)
    if status >= _FAULT or status == _NOT_FOUND:
        # A model that it serves no more: another one may answer.
        return ProviderFailed(Failure.BROKEN, message, status)
    return ProviderFailed(Failure.REFUSED, message, status, body)


def _seconds(told: str | None) -> float | None:
    try:
        return None if told is None else min(max(0.0, float(told)), _RETRY_AFTER_AT_MOST)
    except ValueError:
        # A date: nobody sends one.
        return None
