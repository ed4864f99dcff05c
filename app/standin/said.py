"""What the stand-in has been asked and has really said: the truth that a ledger is held against."""

from collections import Counter
from dataclasses import dataclass, field

import orjson
from aiohttp import web

from app.standin.script import Script


@dataclass
class Said:
    """One answer: what it was asked, and what it really read and wrote."""

    model: str
    read: int
    cached: int
    written: int = 0
    is_whole: bool = False
    status: int = 200


@dataclass
class Answers:
    """The last answers, by the end user that a request named; in whatever protocol."""

    kept: int = 100_000
    said: dict[str, Said] = field(default_factory=dict)
    requests: int = 0
    _failed: "Counter[str]" = field(default_factory=Counter)

    def note(self, name: str, model: str, asked: object, cached: int) -> Said:
        """Return a new answer, kept by its name if it has one."""
        read = max(1, len(orjson.dumps(asked)) // 8)
        said = Said(model, read, min(cached, read))
        if name:
            self.said[name] = said
            while len(self.said) > self.kept:
                del self.said[next(iter(self.said))]
        return said

    def failing(self, name: str, model: str, script: Script) -> int | None:
        """Return with which status a request is to fail; None if it is answered."""
        if script.fails and self._failed[name] < script.fails:
            self._failed[name] += 1
            return 503
        # By its model, some never answer.
        status = 500 if model == "always-broken" else script.status
        return None if status == 200 else status  # noqa: PLR2004  # all is well


def hang_up(request: web.Request) -> None:
    """Break off at once, as a provider that dies."""
    if request.transport is not None:
        request.transport.abort()
