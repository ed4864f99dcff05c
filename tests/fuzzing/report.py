"""All that was counted, what of it must not be, and both written for people."""

from collections import Counter
from dataclasses import dataclass, field
from statistics import median

from tests.fuzzing.kinds import script

_MIB = 2**20
_GROWTH = 0.10
_GROWTH_BYTES = 8 * _MIB
_EXAMPLES = 2
_COSTLIEST = 5


@dataclass(slots=True)
class Cost:
    """CPU of the server for refusals of one kind, each alone, in `tests.fuzzing.control` s."""

    count: int = 0
    seconds: float = 0.0
    worst: float = 0.0
    worst_index: int = 0

    def add(self, index: int, seconds: float) -> None:
        """Count one."""
        self.count += 1
        self.seconds += seconds
        if seconds > self.worst:
            self.worst, self.worst_index = seconds, index


@dataclass(slots=True)
class Failure:
    """What went wrong in the same way: how often, and the first few times in full."""

    count: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Report:
    """What was counted, and what failed."""

    seed: int
    played: int = 0
    seconds: float = 0.0
    failures: dict[str, Failure] = field(default_factory=dict)
    outcomes: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    costs: dict[str, Cost] = field(default_factory=dict)
    # Scripts that were refused and within the limit with all that was served meanwhile, and
    # those that were not and had to be measured anew.
    bounded: int = 0
    again: int = 0
    # Of the machine, each time it was looked at; 1 is the one that the limit was set on.
    slowness: list[float] = field(default_factory=list)
    good: int = 0
    suspects: int = 0
    memory: dict[str, int] = field(default_factory=dict)
    samples: list[int] = field(default_factory=list)
    descriptors: tuple[int, int] = (0, 0)
    descriptors_after: tuple[int, int] = (0, 0)

    def fail(self, what: str, told: str = "", index: int | None = None) -> None:
        """Note a failure, with all that is needed to play it again."""
        failure = self.failures.setdefault(what, Failure())
        failure.count += 1
        if len(failure.examples) >= _EXAMPLES:
            return
        again = f"seed {self.seed}"
        if index is not None:
            kind, played = script(self.seed, index)
            again += (
                f", index {index}, kind {kind};"
                f" again: python -m tests.fuzzing --seed {self.seed} --only {index}"
                f"\n{played.written()}"
            )
        failure.examples.append(f"{told}\n  {again}".strip())

    def cost(self, index: int, seconds: float, *, again: bool = False) -> None:
        """Note what a refusal cost that was measured alone."""
        kind, _ = script(self.seed, index)
        self.again += again
        self.costs.setdefault(kind, Cost()).add(index, seconds)

    def weigh(self, cpu_seconds: float) -> None:
        """Find refusals that cost too much, and memory that grew."""
        for kind, cost in self.costs.items():
            if cost.worst > cpu_seconds:
                told = f"{cost.worst * 1000:.1f} ms of CPU, each time it was tried"
                self.fail(f"a refusal of {kind} costs too much", told, cost.worst_index)
        if "end" in self.memory:
            warm, end = self.memory["warm"], self.memory["end"]
            if end - warm > warm * _GROWTH + _GROWTH_BYTES:
                self.fail("memory grew", f"from {warm} to {end} bytes")

    def told(self) -> str:
        """Return the figures, and every failure with what is needed to play it again."""
        n = self.played
        failed = sum(each.count for each in self.failures.values())
        fives = self.failures.get("a 5xx", Failure()).count
        unanswered = "a good request" in self.failures
        lines = [
            f"{n} requests, seed {self.seed}, {len(self.kinds)} kinds, {self.seconds:.1f} s",
            f"  failures              {failed} of {n}",
            f"  5xx answers           {fives} of {fives + sum(self.outcomes.values())}",
            f"  uncaught, in the log  {self.suspects} of {n}",
            f"  good ones between     {self.good}, {'NOT ' * unanswered}all answered",
            f"  memory                {self._memory()}",
            "  open files            clients' {}, others {}".format(*self.descriptors)
            + "; at the end {}, {}".format(*self.descriptors_after),
            *self._costs(),
            "  by kind: " + _listed(self.kinds),
            "  by answer: " + _listed(self.outcomes),
        ]
        for what, failure in self.failures.items():
            lines += [f"\nFAILED {failure.count} times: {what}", *failure.examples]
        return "\n".join(lines) + "\n"

    def _memory(self) -> str:
        start = self.memory.get("start", 0) / _MIB
        if "end" not in self.memory:
            return f"{start:.1f} MiB at first; not judged: too few requests to fill the caches"
        warm, end = self.memory["warm"] / _MIB, self.memory["end"] / _MIB
        return (
            f"{start:.1f} MiB at first, {warm:.1f} MiB once warm, {end:.1f} MiB at last"
            f" ({end / warm - 1:+.1%}); by tenths of the way "
            + ", ".join(f"{each / _MIB:.1f}" for each in self.samples)
        )

    def _costs(self) -> list[str]:
        ranked = sorted(self.costs.items(), key=lambda pair: -pair[1].worst)
        alone = sum(cost.count for cost in self.costs.values())
        most = ranked[0][1].worst * 1000 if ranked else 0.0
        first = (
            f"  CPU of a refusal      at most {most:.1f} ms, of {alone} measured alone"
            f" ({self.again} of them anew); {self.bounded} more are within the limit"
            " with all that was served meanwhile"
        )
        slow = sorted(self.slowness) or [1.0]
        counted_out = (
            f"  the machine           x{slow[0]:.2f} to x{slow[-1]:.2f} as slow as the one that"
            f" the limit was set on, x{median(slow):.2f} mostly: counted out of these costs"
        )
        return [
            first,
            counted_out,
            *(
                f"    {kind:<22} {cost.worst * 1000:6.1f} ms, index {cost.worst_index};"
                f" {cost.seconds / cost.count * 1000:.1f} ms on average of {cost.count}"
                for kind, cost in ranked[:_COSTLIEST]
            ),
        ]


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())
