"""Headless Chromium, and a person at it who knows nothing but the page."""

import asyncio
import json
import shutil
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.conftest import Start, faults, live
from tests.support.accounts import Accounts
from tests.support.live import LiveServer
from tests.support.peers import missing

__all__ = ["faults", "live"]

CHROMIUM = Path("/usr/bin/chromium")
CLIENTS = Path(__file__).parents[1] / "clients"
# Longer than the person waits for the page, so that it is the person who tells what is missing.
DEED_SECONDS = 75


class Person:
    """Does what `tests/clients/person.mjs` lists."""

    def __init__(self, process: Process) -> None:
        self._process = process
        # What a test makes the page complain of, it says here.
        self.expected: list[str] = []

    async def __call__(self, deed: str, *arguments: Any) -> Any:
        """Do it; it must be possible. Return what there is to tell."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([deed, *arguments]).encode() + b"\n")
        async with asyncio.timeout(DEED_SECONDS):
            line = await self._process.stdout.readline()
        assert line, "the person is gone; what they wrote to stderr says why"
        answer = json.loads(line)
        assert "failed" not in answer, answer["failed"]
        return answer["done"]

    async def runs(self, name: str, document: str) -> None:
        """Paste a document whose operation has a name that was not there before, and run it."""
        await self("paste", "Query editor", document)
        await self("titled", name)
        await self("click", "Execute query (Ctrl-Enter)")

    async def sees(self, text: str) -> dict[str, Any]:
        """Return the response as it is shown, once it holds a text."""
        shown = json.loads(await self("response", text))
        assert isinstance(shown, dict)
        return shown

    async def signs_in(self, key: str) -> None:
        """Paste a key into the headers."""
        await self("paste", "Headers editor", json.dumps({"Authorization": f"Bearer {key}"}))


def _lacking() -> list[str]:
    lacking = []
    if not CHROMIUM.exists():
        lacking.append("Debian's chromium")
    if shutil.which("node") is None:
        lacking.append("Node")
    if not (CLIENTS / "node_modules" / "playwright-core").exists():
        lacking.append("`npm ci` in tests/clients")
    return lacking


@pytest.fixture(scope="session")
async def process() -> AsyncIterator[Process]:
    """One browser for the run; each test is a person who has never been there."""
    if lacking := _lacking():
        missing(", ".join(lacking))
    process = await asyncio.create_subprocess_exec(
        "node", "person.mjs", str(CHROMIUM), stdin=PIPE, stdout=PIPE, cwd=CLIENTS
    )
    assert process.stdin is not None
    try:
        yield process
    finally:
        process.stdin.close()
        try:
            async with asyncio.timeout(DEED_SECONDS):
                await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


@pytest.fixture
async def server(live: Start) -> LiveServer:
    return await live()


@pytest.fixture
async def person(process: Process, server: LiveServer) -> AsyncIterator[Person]:
    """A person with the page open. Whatever they did, the page must have had nothing to say."""
    person = Person(process)
    await person("open", f"http://127.0.0.1:{server.port}/graphql")
    yield person
    complaints = await person("complaints")
    await person("leave")
    assert complaints == person.expected


@pytest.fixture
async def organization(accounts: Accounts) -> str:
    """The id of an organization with ten credits."""
    return str(await accounts.open(10))


@pytest.fixture
async def key(server: LiveServer, organization: str) -> str:
    """The key of that organization, as its back-end would make it."""
    document = """
    mutation ($input: CreateOrganizationKeyInput!) {
      createOrganizationKey(input: $input) { ... on CreateKeySuccess { secret } }
    }
    """
    made = await server.send(
        document,
        {"input": {"organizationId": organization, "name": "browser", "idempotencyKey": "key"}},
    )
    secret: str = made["secret"]
    return secret
