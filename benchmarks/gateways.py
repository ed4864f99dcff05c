"""Exchequer and the LiteLLM proxy before one stand-in, each a process of its own."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from app.catalog import Catalog
from app.catalog.edits import FeatureTerms, ModelTerms, PlanFeatureTerms, PlanTerms, PriceTerms
from app.core.database import Database, PoolLimits
from app.core.servers.local import free_port
from app.credits import Credits
from app.identity import Identity
from app.seed import make_demo_key
from benchmarks.books import ENOUGH
from benchmarks.harness import Installation, installed, listening, module

REQUIREMENTS = Path(__file__).parent / "litellm-proxy.txt"
_KEY = "a-key-of-the-stand-in"
_MASTER = "sk-a-key-of-the-proxy"
_PAYERS = 16
_CHAT = "chat_completion"


@dataclass(frozen=True)
class Lane:
    """A way to a provider: who is asked, and for what."""

    name: str
    model: str
    provider: str
    upstream: str

    @property
    def body(self) -> dict[str, Any]:
        """What is asked for a whole answer: a short conversation."""
        return {
            "model": self.model,
            "messages": [
                {"role": "system", "content": "You answer shortly, and never guess."},
                {"role": "user", "content": "What is a reservation of credits for? tokens=40"},
            ],
            "max_tokens": 200,
        }

    @property
    def stream(self) -> dict[str, Any]:
        """The same, piece by piece."""
        return {**self.body, "stream": True}


LANES = (
    Lane("OpenAI's protocol", "small", "openai", "small-1"),
    Lane("through litellm", "claude", "anthropic", "claude-sonnet-4-5"),
)


@dataclass(frozen=True)
class Gateway:
    """Whom to ask, by whom."""

    name: str
    port: int
    pid: int
    key: str
    # Further headers of each caller: who pays, where somebody does.
    callers: Sequence[Mapping[str, str]] = field(default_factory=lambda: [{}])


@dataclass(frozen=True)
class Gateways:
    """All that stands."""

    standin: Gateway
    exchequer: Gateway
    litellm: Gateway
    served: Installation

    async def charged(self) -> int:
        """Return how many calls were charged; raise if any was not, or the books are wrong."""
        connection = await asyncpg.connect(self.served.admin_url)
        try:
            rows = await connection.fetch(
                "select state, count(*) as calls from inference.calls group by 1"
            )
        finally:
            await connection.close()
        database = await Database.connect(
            self.served.database_url, PoolLimits(min_size=1, max_size=2)
        )
        try:
            findings = await Credits(database).audit()
        finally:
            await database.close()
        states: dict[str, int] = {row["state"]: row["calls"] for row in rows}
        if set(states) != {"settled"} or findings:
            raise RuntimeError(f"not all is charged: {states}, {findings}")
        return states["settled"]


def install() -> Path:
    """Return the proxy's program, in an environment that is its own; it is made at first."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    folder = cache / "exchequer" / "litellm-proxy"
    program, stamp = folder / "bin" / "litellm", folder / "requirements.txt"
    wanted = REQUIREMENTS.read_text("utf-8")
    if not program.exists() or not stamp.exists() or stamp.read_text("utf-8") != wanted:
        print("installing the LiteLLM proxy into an environment of its own", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        _do(sys.executable, "-m", "venv", str(folder))
        python = str(folder / "bin" / "python")
        _do(python, "-m", "pip", "install", "--quiet", "-r", str(REQUIREMENTS))
        stamp.write_text(wanted, "utf-8")
    return program


def _do(*command: str) -> None:
    subprocess.run(command, check=True)  # noqa: S603  # our own commands


@asynccontextmanager
async def opened() -> AsyncIterator[Gateways]:
    """Start all of it; stop it afterwards."""
    program = install()
    standin_port, proxy_port = free_port(), free_port()
    origin = f"http://127.0.0.1:{standin_port}"
    provided = {
        "openai": {"api_key": _KEY, "base_url": f"{origin}/v1"},
        "anthropic": {"api_key": _KEY, "base_url": origin, "protocol": "litellm"},
    }
    standing = {**os.environ, "PORT": str(standin_port), "STANDIN_KEY": _KEY}
    more = {"EXCHEQUER_PROVIDERS": json.dumps(provided)}
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.json"
        config.write_text(json.dumps(_proxied(origin)), "utf-8")
        command = (
            *(str(program), "--config", str(config), "--host", "127.0.0.1"),
            *("--port", str(proxy_port), "--num_workers", "1"),
        )
        proxying = {
            **os.environ,
            "PORT": str(proxy_port),
            "LITELLM_MODE": "PRODUCTION",
            "LITELLM_LOG": "ERROR",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_TELEMETRY": "False",
        }
        async with (
            listening(module("benchmarks.provider"), standing) as standin,
            installed(more=more) as served,
            listening(command, proxying) as proxy,
        ):
            payers, key = await _sell(served)
            callers = [{"OpenAI-Organization": str(payer)} for payer in payers]
            pid = served.processes["serve"]
            yield Gateways(
                Gateway("directly", standin_port, standin.pid, _KEY),
                Gateway("exchequer", served.port, pid, key, callers),
                Gateway("litellm", proxy_port, proxy.pid, _MASTER),
                served,
            )


def _proxied(origin: str) -> dict[str, Any]:
    """Return the proxy's configuration: the same two models, a master key, no database."""
    bases = {"openai": f"{origin}/v1", "anthropic": origin}
    return {
        "model_list": [
            {
                "model_name": lane.model,
                "litellm_params": {
                    "model": f"{lane.provider}/{lane.upstream}",
                    "api_base": bases[lane.provider],
                    "api_key": _KEY,
                },
            }
            for lane in LANES
        ],
        "general_settings": {"master_key": _MASTER},
        "litellm_settings": {"telemetry": False},
    }


async def _sell(served: Installation) -> tuple[list[UUID], str]:
    """Make organizations that may call both models, and a key for them."""
    database = await Database.connect(served.database_url, PoolLimits(min_size=1, max_size=2))
    try:
        identity, catalog, credits = Identity(database), Catalog(database), Credits(database)
        project = (await identity.organization(UUID(served.organization))).project_id
        price = PriceTerms(150_000_000, 75_000_000, 600_000_000, "invented")
        for lane in LANES:
            terms = ModelTerms(
                lane.model,
                lane.provider,
                lane.upstream,
                lane.model,
                "fast",
                ["text"],
                128_000,
                8_000,
            )
            await catalog.upsert_model(project, terms, price)
        await catalog.upsert_feature(project, FeatureTerms(_CHAT, "ai", "Chat"))
        plan = PlanTerms("measured", "recurring", "Measured", 9, 0)
        # Limits that are looked at, and never reached.
        opened = PlanFeatureTerms(_CHAT, any_model=True, per_minute=10_000_000, per_day=10_000_000)
        await catalog.upsert_plan(project, plan, [opened], [])
        await catalog.set_default_plan(project, "measured")
        payers = []
        for number in range(_PAYERS):
            made = await identity.create_organization(project, f"Payer {number}")
            await credits.issue_grant(made.id, ENOUGH, "top_up", "first", reason="enough")
            payers.append(made.id)
        return payers, await make_demo_key(database, project)
    finally:
        await database.close()
