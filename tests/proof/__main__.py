"""Run proofs: all of them, or those that are named."""

import argparse
import subprocess
import sys

from benchmarks.harness import warn_unless_clean

# What `--count` counts, and what a run does that is to be published.
PROOFS: dict[str, tuple[str, int]] = {
    "model": ("operations against the model", 1_000_000),
    "history": ("calls of many at once", 200_000),
    "mutants": ("mutants", 1_000),
    "tampering": ("tamperings", 1_000),
    "crashes": ("rounds with a crash", 500),
    "cancellation": ("storms of callers who leave", 500),
    "interleavings": ("schedules", 60_000),
    "calls": ("calls of models, besides a crowd and a kill", 10_000),
    "overspend": ("rounds, by turns over three ways in", 300),
}


def main() -> None:
    """Run each in a process of its own, one after the other; all of them, though one fails."""
    counted = "; ".join(f"{name}: {count:,} {what}" for name, (what, count) in PROOFS.items())
    parser = argparse.ArgumentParser(prog="python -m tests.proof", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"unless said: {counted}")
    parser.add_argument("--count", type=int, help="of what is named, or of operations: model")
    # What only one proof knows is for that one.
    chosen, rest = parser.parse_known_args()
    if unknown := sorted({*chosen.names} - {*PROOFS}):
        parser.error(f"there is no {', '.join(unknown)}")
    if "--keep" in rest:
        warn_unless_clean()
    failed = []
    # How many of all would be a count of different things.
    for name in chosen.names or (PROOFS if chosen.count is None else ["model"]):
        count = PROOFS[name][1] if chosen.count is None else chosen.count
        print(f"── {name}", flush=True)  # noqa: T201  # read by a person at a terminal
        command = [sys.executable, "-m", f"tests.proof.{name}", "--count", str(count), *rest]
        if subprocess.run(command, check=False).returncode != 0:  # noqa: S603  # our own modules
            failed.append(name)
    if failed:
        raise SystemExit(f"not proven: {', '.join(failed)}")


if __name__ == "__main__":
    main()
