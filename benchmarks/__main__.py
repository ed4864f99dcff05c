"""Run benchmarks: all of them, or those that are named."""

import argparse
import subprocess
import sys
from pathlib import Path

from benchmarks.harness import await_rest, warn_unless_clean

NAMES = ("live_latency", "replay", "edge", "credits", "large", "ten_minutes", "audit", "models")


def main() -> None:
    """Run each in a process of its own, one after the other; say at the end which failed."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"Of {', '.join(NAMES)}.")
    parser.add_argument("--quick", action="store_true", help="Smoke runs; nothing is written.")
    parser.add_argument("--trace", type=Path, help="The recorded traffic that `replay` needs.")
    # What only one benchmark knows is for that one.
    arguments, rest = parser.parse_known_args()
    if unknown := sorted({*arguments.names} - {*NAMES}):
        parser.error(f"there is no {', '.join(unknown)}")
    if not arguments.quick:
        warn_unless_clean()
    failed = []
    for name in arguments.names or NAMES:
        options = ["--quick"] if arguments.quick else []
        if name == "replay":
            if arguments.trace is None:
                print("replay: left out, it needs a trace")
                continue
            options = [str(arguments.trace)]
        if not arguments.quick:
            await_rest()
        print(f"{name}:", flush=True)
        command = [sys.executable, "-m", f"benchmarks.{name}", *options, *rest]
        if subprocess.run(command, check=False).returncode != 0:  # noqa: S603  # our own modules
            failed.append(name)
    if failed:
        raise SystemExit(f"failed, or did not reach what they must: {', '.join(failed)}")


if __name__ == "__main__":
    main()
