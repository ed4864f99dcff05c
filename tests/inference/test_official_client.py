"""The official client in an environment of its own: only address and key are changed."""

import asyncio
import json
import os
from pathlib import Path

from app.core.units import show_credits
from tests.inference.conftest import Door
from tests.support.node import CLIENTS
from tests.support.peers import missing

PYTHON = CLIENTS / ".openai" / "bin" / "python"
SECONDS = 60


async def test_it_notices_nothing(door: Door) -> None:
    if not PYTHON.exists():
        missing("`make clients`, which installs tests/clients/openai.txt")
    environment = {
        "PATH": os.environ["PATH"],
        "OPENAI_BASE_URL": f"{str(door.client.base_url).rstrip('/')}/v1",
        "OPENAI_API_KEY": door.key,
        "OPENAI_ORG_ID": str(door.calling.account),
    }
    process = await asyncio.create_subprocess_exec(
        str(PYTHON),
        str(CLIENTS / "official.py"),
        env=environment,
        cwd=Path.home(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(SECONDS):
        written, failed = await process.communicate()
    assert process.returncode == 0, failed.decode()
    told = json.loads(written)
    assert told.pop("version") == (CLIENTS / "openai.txt").read_text("utf-8").strip()[8:]
    calls = await door.calls()
    assert told.pop("call") == str(calls[-1]["id"])
    first = await door.calling.calls.read_charge(door.calling.account, calls[0]["id"])
    assert told.pop("credits") == show_credits(first.charged_amount or 0)
    assert told == {
        "said": " Credits are reserved before a",
        "tokens": 5,
        "streamed": " Credits are reserved before a",
        "called": "say",
        "vectors": 2,
        "text": " Credits are",
        "models": ["other", "small"],
        "errors": {
            "model": ["NotFoundError", 404, "model_not_found"],
            "value": ["BadRequestError", 400, "invalid_value"],
            "credits": ["APIStatusError", 402, "insufficient_credits"],
            "key": ["AuthenticationError", 401, "invalid_api_key"],
        },
    }
    assert await door.reserved() == 0
