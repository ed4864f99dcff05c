"""What a replay is going to do: who makes which call, what it costs, what each is granted.

Everything follows from the trace and the seed, so it can be worked out twice: once to
know how much to grant, once to call.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from app.replay.errors import ReplayError
from app.replay.trace import Call, read_trace

_LEAST_BOUND = 64
_SECONDS_PER_TOKEN = 0.02
_GRACE_SECONDS = 300
_LONGEST_TTL = 86_400


@dataclass(frozen=True, slots=True)
class Prices:
    """Micro-credits per token, of the prompt and of the answer."""

    input: int
    output: int

    def charge(self, call: Call) -> int:
        """Return what a call costs."""
        return call.context_tokens * self.input + call.generated_tokens * self.output

    def bound(self, call: Call) -> int:
        """Return what a call costs at most, as somebody knows who has not seen its answer.

        The next power of two stands for the limit such a caller would have set.
        """
        most = max(_LEAST_BOUND, 1 << (call.generated_tokens - 1).bit_length())
        # Nothing cannot be reserved, and is what a call of free tokens costs.
        return max(1, call.context_tokens * self.input + most * self.output)


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for."""

    trace: Path
    url: str
    key: str = field(repr=False)
    project: UUID | None = None
    speed: float = 1.0
    organizations: int = 10
    exhausted: int = 0
    prices: Prices = field(default_factory=lambda: Prices(10, 30))
    limit: int | None = None
    seed: int = 0
    concurrency: int = 64

    def __post_init__(self) -> None:
        # Written so that NaN fails too, which passes for a number on a command line.
        if not self.speed > 0:
            raise ReplayError("--speed must be above 0")

    def duration(self, call: Call) -> float:
        """Return how long a call lasts, in seconds of this run."""
        return call.generated_tokens * _SECONDS_PER_TOKEN / self.speed

    def ttl_seconds(self, call: Call) -> int:
        """Return how long its reservation must hold: well beyond the call."""
        return min(_LONGEST_TTL, _GRACE_SECONDS + int(self.duration(call)))

    def calls(self) -> Iterator[tuple[Call, int]]:
        """Yield each call with the number of the organization that makes it."""
        chance = random.Random(self.seed)  # noqa: S311  # spread, not secrecy
        for call in read_trace(self.trace, self.limit):
            yield call, chance.randrange(self.organizations)


@dataclass(slots=True)
class Share:
    """What the trace holds for one organization, in micro-credits."""

    calls: int = 0
    charge: int = 0
    bounds: int = 0

    def grant(self, *, runs_out: bool) -> int:
        """Return what to grant: enough for every upper bound at once, or half the charge."""
        return self.charge // 2 if runs_out else self.bounds


@dataclass(frozen=True, slots=True)
class Plan:
    """A trace, divided."""

    shares: list[Share]
    calls: int
    seconds: float


def survey(options: Options) -> Plan:
    """Read the whole trace once: every fault in it shows before anything is called."""
    shares = [Share() for _ in range(options.organizations)]
    calls, seconds = 0, 0.0
    for call, number in options.calls():
        share = shares[number]
        share.calls += 1
        share.charge += options.prices.charge(call)
        share.bounds += options.prices.bound(call)
        calls += 1
        seconds = call.at / options.speed
    return Plan(shares, calls, seconds)
