"""What the gateway costs: calls of models through Exchequer, beside the LiteLLM proxy.

Both stand before the same stand-in for providers and answer the same request of OpenAI's protocol.
Exchequer checks key, access and limits, reserves and settles durably; the proxy checks a master
key and has no database. One process each, one after the other, again and again. Twice: for a
provider that speaks OpenAI's protocol, and for one that speaks Anthropic's.

The time to the first piece of a stream, with one client: asked directly, and through each.

    make bench B=models
"""

import argparse
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import orjson
import uvloop

from app.core.telemetry import configure_logging
from benchmarks import gateways, report
from benchmarks.first_piece import Waits, first_pieces
from benchmarks.gateways import LANES, Gateway, Lane
from benchmarks.harness import RESULTS, observed
from benchmarks.load import Target, load, post
from benchmarks.marks import verdict

_EXPECTED = b'"finish_reason":"stop"'


@dataclass(frozen=True)
class Plan:
    """How much of it."""

    pairs: int
    connections: int
    # Fewer where each takes longer, so that no round is much longer than another.
    requests: dict[str, int]
    control_requests: int
    streams: int


FULL = Plan(
    pairs=5,
    connections=16,
    requests={"OpenAI's protocol": 3_000, "through litellm": 600},
    control_requests=300,
    streams=100,
)
# To see that it works; its figures say nothing.
QUICK = Plan(
    pairs=1,
    connections=4,
    requests={"OpenAI's protocol": 32, "through litellm": 32},
    control_requests=16,
    streams=5,
)


async def measure(plan: Plan) -> dict[str, Any]:
    """Start everything and take the rounds."""
    rounds: dict[str, list[dict[str, Any]]] = {lane.name: [] for lane in LANES}
    waits: list[dict[str, Any]] = []
    async with gateways.opened() as there:
        for lane in LANES:
            for number in range(plan.pairs + 1):
                taken = {
                    "exchequer": await load(
                        _target(there.exchequer, lane),
                        plan.requests[lane.name],
                        plan.connections,
                    ),
                    "litellm": await load(
                        _target(there.litellm, lane), plan.control_requests, plan.connections
                    ),
                }
                # The first warms up.
                if number:
                    rounds[lane.name].append({name: asdict(run) for name, run in taken.items()})
            print(f"{lane.name}: {plan.pairs} rounds", flush=True)
        for number in range(plan.pairs + 1):
            told: dict[str, Waits] = {}
            for gateway in (there.standin, there.exchequer, there.litellm):
                told[gateway.name] = await first_pieces(gateway, LANES[0], plan.streams)
            if number:
                waits.append({name: asdict(each) for name, each in told.items()})
        charged = await there.charged()
    return {"rounds": rounds, "first_piece": waits, "charged_calls": charged}


def _target(gateway: Gateway, lane: Lane) -> Target:
    body = orjson.dumps(lane.body)
    requests = [
        post("/v1/chat/completions", gateway.key, body, headers=headers)
        for headers in gateway.callers
    ]
    return Target(
        gateway.port, gateway.pid, lambda number: requests[number % len(requests)], _EXPECTED
    )


async def run(plan: Plan) -> dict[str, Any]:
    """Measure, print; return the raw figures."""
    gateways.install()
    before = observed()
    raw = {"machine": before, "plan": asdict(plan), **await measure(plan)}
    print(report.TABLES["models"](raw))
    print(verdict(report.marks("models", raw)))
    return raw


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="A smoke run; nothing is written.")
    parser.add_argument("--pairs", type=int, help="Rounds that count; a part is not kept.")
    parser.add_argument("--output", type=Path, default=RESULTS / "models.json")
    arguments = parser.parse_args()
    configure_logging("warning", json=False)
    plan = QUICK if arguments.quick else FULL
    if arguments.pairs:
        plan = replace(plan, pairs=arguments.pairs)
    raw = uvloop.run(run(plan))
    if plan == FULL:
        report.publish("models", arguments.output, raw)


if __name__ == "__main__":
    main()
