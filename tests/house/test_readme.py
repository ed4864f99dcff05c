"""What the README tells a reader to paste works, and answers what it says."""

import asyncio
import json
import os
import re
import shutil
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from httpx import AsyncClient

from app.identity.keys import is_well_formed

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
OPERATIONS = (ROOT / "docs" / "operations.md").read_text("utf-8")
ADDRESS = "127.0.0.1:8000"
READY_SECONDS = 60.0
ANSWER_SECONDS = 20.0

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


@dataclass(frozen=True)
class Dev:
    """A running `exchequer dev`, as somebody at a terminal knows it."""

    address: str
    shown: str

    def line(self, name: str) -> str:
        [value] = re.findall(rf"^  {name} +(\S+)", self.shown, re.MULTILINE)
        return str(value)

    @property
    def shell(self) -> dict[str, str]:
        """The variables that the reader is told to copy."""
        return {
            "PATH": os.environ["PATH"],
            "KEY": self.line("Key"),
            "ORG": self.line("Organization"),
        }


@pytest.fixture(scope="module")
async def dev(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Dev]:
    """Start from an empty home, on a port that is free."""
    folder = tmp_path_factory.mktemp("readme")
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("exchequer"),
        "dev",
        "--port",
        "0",
        cwd=folder,
        env={**os.environ, "EXCHEQUER_HOME": str(folder / "home")},
        stdin=DEVNULL,
        stdout=PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(READY_SECONDS):
            shown = (await process.stdout.readuntil(b"Ctrl-C stops everything.\n")).decode()
        [port] = re.findall(r"GraphiQL +http://127\.0\.0\.1:(\d+)/graphql\n", shown)
        yield Dev(f"127.0.0.1:{port}", shown)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        await process.wait()


def block(language: str, name: str) -> str:
    """Return the block that is fenced as ```language name."""
    fenced = rf"^```{language} {name}\n(.*?)^```$"
    [text] = re.findall(fenced, README + OPERATIONS, re.MULTILINE | re.DOTALL)
    return str(text)


@asynccontextmanager
async def pasted(dev: Dev, name: str, **variables: str) -> AsyncIterator[Process]:
    """Run a block as a reader's shell does; whatever still runs is ended."""
    process = await asyncio.create_subprocess_exec(
        "/bin/sh",
        "-c",
        block("sh", name).replace(ADDRESS, dev.address),
        env={**dev.shell, **variables},
        stdin=DEVNULL,
        stdout=PIPE,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            # Not SIGINT: where the suite runs in the background of a shell, it is ignored.
            os.killpg(process.pid, signal.SIGTERM)
        await process.communicate()


async def answer(dev: Dev, name: str, **variables: str) -> Any:
    """Run a block to its end and return the answer."""
    async with asyncio.timeout(ANSWER_SECONDS), pasted(dev, name, **variables) as process:
        said, _ = await process.communicate()
        assert process.returncode == 0
    answered = json.loads(said)
    # Left out in what is shown, as the first of them says. Models know no documents.
    if name != "model":
        assert answered.pop("extensions")["cost"].keys() == {"requested", "maximum"}
    return answered


def is_as_told(told: Any, real: Any) -> bool:
    """Say whether an answer is the one in the README, where "…" stands for anything."""
    if told == "…":
        return isinstance(real, str | int)
    if isinstance(told, dict) and isinstance(real, dict):
        return told.keys() == real.keys() and all(is_as_told(told[k], real[k]) for k in told)
    if isinstance(told, list) and isinstance(real, list):
        return len(told) == len(real) and all(map(is_as_told, told, real))
    return bool(told == real)


async def next_event(process: Process) -> dict[str, Any]:
    """Return what the next server-sent event carries."""
    assert process.stdout is not None
    lines: list[str] = []
    async with asyncio.timeout(ANSWER_SECONDS):
        while lines[-1:] != [""]:
            line = (await process.stdout.readline()).decode().rstrip("\r\n")
            # Comments are heartbeats; an empty line ends an event, and nothing else.
            if not line.startswith(":") and (line or lines):
                lines.append(line)
    name, data, _ = lines
    assert name == "event: next"
    received: dict[str, Any] = json.loads(data.removeprefix("data: "))
    return received


@needs_curl
async def test_a_readers_first_minutes_go_as_the_readme_says(dev: Dev) -> None:
    asked = await answer(dev, "query")
    assert is_as_told(json.loads(block("json", "query")), asked), asked

    async with pasted(dev, "subscription") as watching:
        seen = [await next_event(watching)]
        reserved = await answer(dev, "reserve")
        assert is_as_told(json.loads(block("json", "reserve")), reserved), reserved
        seen.append(await next_event(watching))
        again = await answer(dev, "reserve")
        assert again["data"]["reserveCredits"]["replayed"] is True
        first = reserved["data"]["reserveCredits"]["reservation"]
        assert again["data"]["reserveCredits"]["reservation"] == first
        settled = await answer(dev, "settle", RESERVATION=first["id"])
        assert is_as_told(json.loads(block("json", "settle")), settled), settled
        seen.append(await next_event(watching))
    versions = [event["data"]["creditBalanceUpdated"]["version"] for event in seen]
    assert versions == [4, 5, 6]
    assert "versions 4, 5 and 6" in README

    refused = await answer(dev, "refusal")
    assert is_as_told(json.loads(block("json", "refusal")), refused), refused

    called = await answer(dev, "model")
    assert is_as_told(json.loads(block("json", "model")), called), called


async def test_the_shown_output_has_the_lines_of_the_real_one(dev: Dev) -> None:
    [shown] = re.findall(r"^```text\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    told = re.findall(r"^  (\w+)  +(\S+)$", shown, re.MULTILINE)
    assert [name for name, _ in told] == ["GraphiQL", "Organization", "Key"]
    for name, value in told:
        real = dev.line(name).replace(dev.address, ADDRESS)
        # Ids and keys are new each time: their form is what can be compared.
        assert re.sub(r"[0-9a-zA-Z]", "x", real) == re.sub(r"[0-9a-zA-Z]", "x", value)
    assert re.match(r"Exchequer is ready after [\d.]+ s\.\n", shown)
    assert re.search(r"^Exchequer is ready after [\d.]+ s\.$", dev.shown, re.MULTILINE)


async def run(command: str) -> bytes:
    """Return what a command says that is pasted into a shell."""
    process = await asyncio.create_subprocess_exec("/bin/sh", "-c", command, stdout=PIPE)
    async with asyncio.timeout(ANSWER_SECONDS):
        said, _ = await process.communicate()
    return said


@needs_curl
async def test_what_dev_prints_works_as_printed(dev: Dev) -> None:
    printed = re.findall(r"^  curl .*?'$", dev.shown, re.MULTILINE | re.DOTALL)
    balance, completion = [json.loads(await run(command)) for command in printed]
    assert balance["data"]["creditBalance"].keys() == {
        "available",
        "reserved",
        "spendable",
        "version",
    }
    assert completion["choices"][0]["message"]["content"]
    assert float(completion["usage"]["credits_used"]) > 0


@needs_curl
async def test_the_first_key_is_made_as_the_page_on_operations_says(dev: Dev) -> None:
    admin = {"Authorization": f"Bearer {dev.line('Admin key')}"}
    async with AsyncClient(base_url=f"http://{dev.address}", headers=admin) as client:
        asked = await client.post("/graphql", json={"query": "{ projects { nodes { id } } }"})
        [project] = asked.json()["data"]["projects"]["nodes"]
    made = await answer(dev, "firstkey", ADMIN=dev.line("Admin key"), PROJECT=project["id"])
    created = made["data"]["createProjectKey"]
    assert created.keys() == {"__typename", "secret"}
    assert is_well_formed(created["secret"])


def test_every_block_that_a_reader_is_to_paste_is_run() -> None:
    named = re.findall(r"^```sh (\w+)$", README + OPERATIONS, re.MULTILINE)
    assert named == ["query", "subscription", "reserve", "settle", "refusal", "model", "firstkey"]
    unnamed = re.findall(r"^```(?:sh|bash|shell|console)$", README + OPERATIONS, re.MULTILINE)
    assert unnamed == []
