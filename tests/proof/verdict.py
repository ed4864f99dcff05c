"""What a proof tried and what went wrong, printed for people and kept as JSON."""

import json
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import report, texts
from benchmarks.harness import RESULTS, machine

_EXAMPLES = 5
# A run takes long, and this is what stood when it began.
_RUNS_ON = machine()


@dataclass(slots=True)
class Zero:
    """What must not happen: how often it did, of so many that could have."""

    what: str
    of: int
    unit: str
    found: int = 0
    examples: list[str] = field(default_factory=list)

    def happened(self, told: str) -> None:
        """Count one; keep the first few in full, with what is needed to see them again."""
        self.found += 1
        if len(self.examples) < _EXAMPLES:
            self.examples.append(told)


@dataclass(slots=True)
class Verdict:
    """The outcome of a proof: figures that are reported, and zeros that must be."""

    name: str
    # What all chance was made of: the same seed tries the same again.
    seed: int
    zeros: list[Zero] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)
    seconds: float = 0.0

    @property
    def is_proven(self) -> bool:
        """Whether something was tried and nothing went wrong."""
        return bool(self.zeros) and all(zero.of > 0 and zero.found == 0 for zero in self.zeros)

    def told(self) -> str:
        """Return it for people: every zero with its N."""
        self.seconds = round(time.monotonic() - self.began, 1)
        lines = [f"{self.name}: seed {self.seed}, {self.seconds} s"]
        lines += [f"  {name}: {_written(value)}" for name, value in self.figures.items()]
        for zero in self.zeros:
            mark = "" if zero.found == 0 and zero.of > 0 else "   ← NOT PROVEN"
            lines.append(f"  {zero.what}: {zero.found} of {zero.of:,} {zero.unit}{mark}")
            lines += [f"    {example}" for example in zero.examples]
        return "\n".join(lines) + "\n"

    def finish(self, keep: Path | None = None) -> int:
        """Print it, keep it if told where, and return the exit code of a command."""
        sys.stdout.write(self.told())
        if keep is not None:
            moved = texts.changed(_RUNS_ON["texts"])
            moved += texts.changed(_RUNS_ON["call_texts"], patterns=texts.CALLS)
            if moved:
                sys.stdout.write(f"  not kept, these changed while it ran: {', '.join(moved)}\n")
                return 1
            raw = {"machine": _RUNS_ON, **asdict(self)}
            del raw["began"]
            keep.write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")
            report.write()
        return 0 if self.is_proven else 1


def kept(name: str) -> Path:
    """Return where the published result of a proof is kept."""
    return RESULTS / f"proof_{name}.json"


def _written(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
