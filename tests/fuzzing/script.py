"""What a client does with one connection, step by step, and what it was made from.

A script is a function of seed and index alone, so that one that failed can be played again.
"""

import base64
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.fuzzing import world

_SHOWN_WHOLE = 4_000


@dataclass(frozen=True, slots=True)
class Send:
    """Write bytes."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Pause:
    """Write nothing for a moment: only slow bodies do."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Read:
    """Read answers; each must come."""

    count: int = 1
    bodiless: bool = False


@dataclass(frozen=True, slots=True)
class ReadStream:
    """Read the head of a stream of events, then some events, or all."""

    events: int | None = None


@dataclass(frozen=True, slots=True)
class ReadEnd:
    """Read until the server ends the connection; answers may come or not."""


@dataclass(frozen=True, slots=True)
class Upgrade:
    """Read the answer to a handshake; if it is no, that was all."""


@dataclass(frozen=True, slots=True)
class Hear:
    """Read messages of a socket until the operation `last` ends or the socket closes."""


@dataclass(frozen=True, slots=True)
class HearEnd:
    """Read messages of a socket until the server ends the connection."""


@dataclass(frozen=True, slots=True)
class HalfClose:
    """Say that nothing more will be sent."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Leave at once, without a word."""


Step = Send | Pause | Read | ReadStream | ReadEnd | Upgrade | Hear | HearEnd | HalfClose | Reset


@dataclass(frozen=True, slots=True)
class Script:
    """One request in the widest sense."""

    steps: tuple[Step, ...]
    # Over a connection of its own, or over one that is kept.
    fresh: bool = False
    # The HTTP itself is broken, so the answer may be the HTTP library's: no JSON, or none.
    plain: bool = False
    # What an answer must be one of; empty: anything below 500.
    statuses: frozenset[int] = frozenset()
    codes: frozenset[str] = frozenset()

    def written(self) -> str:
        """Return the steps, with the exact bytes."""
        return "\n".join(f"    {_shown(step)}" for step in self.steps)


def _shown(step: Step) -> str:
    if not isinstance(step, Send) or len(step.data) <= _SHOWN_WHOLE:
        return repr(step)
    packed = base64.b85encode(zlib.compress(step.data, 9)).decode()
    return f"Send(zlib.decompress(base64.b85decode({packed!r})))  # {len(step.data)} bytes"


Kind = Callable[["Maker"], Script]


@dataclass(slots=True)
class Maker:
    """Makes the parts of a script out of chance that is its own."""

    index: int
    rng: Random
    _ids: int = field(default=0, init=False)

    def key(self) -> str | None:
        """Return whose key is sent: mostly somebody who may."""
        return self.rng.choices(
            [world.ADMIN_KEY, *world.KEYS.values(), None], [10, *(1 for _ in world.KEYS), 1]
        )[0]

    def request_id(self) -> str:
        """Return an id by which log lines and answers are found again."""
        self._ids += 1
        return f"fuzz-{self.index}-{self._ids}"

    def request(
        self,
        body: bytes | None = None,
        method: str = "POST",
        target: str = "/graphql",
        headers: Mapping[str, str | None] | None = None,
        more: bytes = b"",
    ) -> bytes:
        """Return a request; `headers` change what it would have, or take it away."""
        sent: dict[str, str | None] = {
            "Host": "127.0.0.1",
            "X-Request-ID": self.request_id(),
            "Authorization": None if (key := self.key()) is None else f"Bearer {key}",
        }
        if body is not None:
            sent |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
        sent |= headers or {}
        lines = [f"{name}: {value}" for name, value in sent.items() if value is not None]
        head = f"{method} {target} HTTP/1.1\r\n" + "".join(f"{line}\r\n" for line in lines)
        return head.encode("latin-1", "replace") + more + b"\r\n" + (body or b"")

    def asked(self, body: bytes | None, *, count: int = 1, **options: Any) -> Script:
        """Return the script that sends one request over a kept connection."""
        return Script((Send(self.request(body, **options)), Read(count)))

    def graphql(self, query: object, variables: object = None, **options: Any) -> Script:
        """Return the script that sends one document."""
        return self.asked(written({"query": query, "variables": variables}), **options)


def written(value: object) -> bytes:
    """Write JSON; a lone surrogate stays one, as a careless client sends it."""
    return json.dumps(value, ensure_ascii=True).encode()
