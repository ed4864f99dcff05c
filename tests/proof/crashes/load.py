"""What clients do in a round, and what they were told: the truth to compare Postgres with."""

import asyncio
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple
from uuid import UUID

import aiohttp
import orjson

from app.core.units import show_credits
from tests.proof.crashes.waits import seen
from tests.support.accounts import CREDIT
from tests.support.processes import ADMIN_KEY

# What each kind of work asks for, in this order.
STEPS = {
    "deduct": ("deduct",),
    "hold": ("reserve",),
    "settle": ("reserve", "settle"),
    "release": ("reserve", "release"),
    # Who reserves and is never seen again, whether there was an answer or not.
    "leave": ("reserve",),
    # For an account that cannot serve all who ask.
    "scarce": ("reserve",),
}
KINDS = ("deduct", "hold", "settle", "release")
CLOSING = {"settle", "release"}
# The shortest that can be asked for: it ends while things are broken.
SHORT_SECONDS = 1
LONG_SECONDS = 300
_SHAPES = {
    "deduct": ("Deduct", "transactionId"),
    "reserve": ("Reserve", "reservation { id }"),
    "settle": ("Settle", "transactionId reservation { id }"),
    "release": ("Release", "reservation { id status }"),
}
_DOCUMENTS = {
    step: f"mutation Do($input: {name}CreditsInput!) {{ done: {step}Credits(input: $input) {{"
    f" ... on {name}CreditsSuccess {{ replayed {fields} }} ... on Refusal {{ code }} }} }}"
    for step, (name, fields) in _SHAPES.items()
}
# Answers that are none: ask again.
_LATER = {"BUSY", "UNAVAILABLE"}
_INTERNAL = "INTERNAL"
_SMALL, _LARGE = CREDIT // 1000, 3 * CREDIT


class Unanswered(Exception):  # noqa: N818  # not an error: nobody knows
    """What was asked may have happened or not."""


class Step(NamedTuple):
    """One request of one piece of work."""

    key: str
    name: str


@dataclass(frozen=True, slots=True)
class Work:
    """A piece of work of a client."""

    key: str
    account: UUID
    kind: str
    amount: int
    used: int
    ttl_seconds: int = LONG_SECONDS

    @property
    def steps(self) -> list[Step]:
        """What it asks for."""
        return [Step(self.key, name) for name in STEPS[self.kind]]

    @property
    def closes(self) -> bool:
        """Whether it closes what it reserved."""
        return not CLOSING.isdisjoint(STEPS[self.kind])

    @property
    def is_left(self) -> bool:
        """Whether its caller does not come back."""
        return self.kind == "leave"


@dataclass(slots=True)
class Truth:
    """What clients know, kept outside of all that can be killed."""

    # The first answer to each request.
    answers: dict[Step, dict[str, Any]] = field(default_factory=dict)
    # Whose first request got no answer, and why.
    errors: dict[Step, str] = field(default_factory=dict)
    # Those of them that had happened all the same.
    committed: set[Step] = field(default_factory=set)
    refused: dict[Step, str] = field(default_factory=dict)
    # What an API could not explain, at any try.
    internal: list[Step] = field(default_factory=list)

    def note(self, step: Step, answer: dict[str, Any]) -> None:
        """Write an answer down."""
        replayed = answer.pop("replayed", False)
        if "code" in answer:
            self.refused[step] = answer["code"]
        if replayed and step in self.errors:
            self.committed.add(step)
        self.answers[step] = answer


def plan(
    chance: Random,
    name: str,
    accounts: list[UUID],
    count: int,
    kinds: Sequence[str] = KINDS,
) -> list[Work]:
    """Draw so many pieces of work."""
    works = []
    for number in range(count):
        amount = chance.randint(_SMALL, _LARGE)
        kind = chance.choice(kinds)
        # A settle that comes late charges all the same, and may meet a worker on its visit.
        is_short = kind == "leave" or (kind == "settle" and chance.random() < 1 / 2)
        works.append(
            Work(
                key=f"{name}-{number}",
                account=accounts[number % len(accounts)],
                kind=kind,
                amount=amount,
                used=chance.randint(1, amount),
                ttl_seconds=SHORT_SECONDS if is_short else LONG_SECONDS,
            )
        )
    return works


def halved(chance: Random, *plans: list[Work]) -> list[Work]:
    """Shuffle so that each half has half of every plan, in another order."""
    first = [work for works in plans for work in works[: len(works) // 2]]
    second = [work for works in plans for work in works[len(works) // 2 :]]
    chance.shuffle(first)
    chance.shuffle(second)
    return first + second


def crowd(name: str, account: UUID, count: int) -> list[Work]:
    """Return so many who want one credit each of an account."""
    return [Work(f"{name}-scarce-{n}", account, "scarce", CREDIT, CREDIT) for n in range(count)]


class Gate:
    """Where clients wait until all who are expected have come, or have gone away.

    What many models answer at about the same time is settled at about the same time.
    """

    def __init__(self, works: Iterable[Work]) -> None:
        self._missing = {work.key for work in works if work.closes}
        self._open = asyncio.Event()

    def open(self) -> None:
        """Wait for nobody any more."""
        self._open.set()

    def leave(self, work: Work) -> None:
        """Be expected no longer."""
        self._missing.discard(work.key)
        if not self._missing:
            self.open()

    async def pass_through(self, work: Work) -> None:
        """Come, and wait for the others."""
        self.leave(work)
        await self._open.wait()


class Client:
    """Sends work to an API and notes the answers."""

    def __init__(self, truth: Truth, *, keeps_keys: bool) -> None:
        self._truth = truth
        # Broken on purpose: a client that asks again with another key.
        self._keeps_keys = keeps_keys
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=30),
            headers={"Authorization": f"Bearer {ADMIN_KEY}", "Content-Type": "application/json"},
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    async def first(self, url: str, work: Work, gate: Gate) -> None:
        """Ask for each step once; the first that gets no answer ends it.

        What was reserved is closed when the gate opens.
        """
        for step in work.steps:
            if step.name in CLOSING:
                await gate.pass_through(work)
            try:
                self._truth.note(step, await self.ask(url, work, step, work.key))
            except Unanswered as lost:
                self._truth.errors[step] = str(lost)
                gate.leave(work)
                return
            except asyncio.CancelledError:
                self._truth.errors[step] = "given up"
                raise

    async def again(self, urls: list[str], work: Work) -> None:
        """Ask for each step that has no answer until it has one."""
        if work.is_left:
            return
        for step in work.steps:
            if step not in self._truth.answers:
                key = work.key if self._keeps_keys else f"{work.key}-again"
                self._truth.note(step, await self.insist(urls, work, step, key))

    async def insist(self, urls: list[str], work: Work, step: Step, key: str) -> dict[str, Any]:
        """Ask one API after the other until there is an answer."""
        turns = itertools.cycle(urls)

        async def answer() -> dict[str, Any] | None:
            try:
                return await self.ask(next(turns), work, step, key)
            except Unanswered:
                return None

        told = await seen(answer, f"an answer to {step}")
        assert told is not None
        return told

    async def ask(self, url: str, work: Work, step: Step, key: str) -> dict[str, Any]:
        """Ask once; raises `Unanswered`."""
        body = {
            "query": _DOCUMENTS[step.name],
            "variables": {"input": self._input(work, step, key)},
        }
        try:
            async with self._session.post(f"{url}/graphql", data=orjson.dumps(body)) as response:
                told = orjson.loads(await response.read())
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unanswered(type(error).__name__) from error
        if errors := told.get("errors"):
            code = str(errors[0]["extensions"]["code"])
            if code == _INTERNAL:
                self._truth.internal.append(step)
            raise Unanswered(code)
        answer: dict[str, Any] = told["data"]["done"]
        if answer.get("code") in _LATER:
            raise Unanswered(answer["code"])
        return answer

    def _input(self, work: Work, step: Step, key: str) -> dict[str, str | int]:
        asked: dict[str, str | int] = {"organizationId": str(work.account)}
        if step.name in ("deduct", "reserve"):
            asked |= {"amount": show_credits(work.amount), "idempotencyKey": key}
            return asked if step.name == "deduct" else {**asked, "ttlSeconds": work.ttl_seconds}
        reserved = self._truth.answers[Step(work.key, "reserve")]
        asked["reservationId"] = reserved["reservation"]["id"]
        return asked if step.name == "release" else {**asked, "amount": show_credits(work.used)}
