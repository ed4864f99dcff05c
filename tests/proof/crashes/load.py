"""What clients do in a round, and what they were told: the truth to compare Postgres with."""

import asyncio
import itertools
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple
from uuid import UUID

import aiohttp
import orjson

from tests.support.accounts import CREDIT
from tests.support.processes import ADMIN_KEY

# What each kind of work asks for, in this order.
STEPS = {
    "deduct": ("deduct",),
    "hold": ("reserve",),
    "settle": ("reserve", "settle"),
    "release": ("reserve", "release"),
}
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
_SMALL, _LARGE = CREDIT // 1000, 3 * CREDIT
# Between two tries, while servers come back.
_PAUSE = 0.02


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

    @property
    def steps(self) -> list[Step]:
        """What it asks for."""
        return [Step(self.key, name) for name in STEPS[self.kind]]


@dataclass(slots=True)
class Truth:
    """What clients know, kept outside of all that can be killed."""

    # The first answer to each request.
    answers: dict[Step, dict[str, Any]] = field(default_factory=dict)
    # Whose first request got no answer, and why.
    errors: dict[Step, str] = field(default_factory=dict)
    # Those of them that had happened all the same.
    committed: set[Step] = field(default_factory=set)
    refused: list[str] = field(default_factory=list)

    def note(self, step: Step, answer: dict[str, Any]) -> None:
        """Write an answer down."""
        replayed = answer.pop("replayed", False)
        if "code" in answer:
            self.refused.append(f"{step}: {answer['code']}")
        if replayed and step in self.errors:
            self.committed.add(step)
        self.answers[step] = answer


def plan(chance: Random, name: str, accounts: list[UUID], count: int) -> list[Work]:
    """Draw so many pieces of work."""
    works = []
    for number in range(count):
        amount = chance.randint(_SMALL, _LARGE)
        works.append(
            Work(
                key=f"{name}-{number}",
                account=accounts[number % len(accounts)],
                kind=chance.choice(list(STEPS)),
                amount=amount,
                used=chance.randint(1, amount),
            )
        )
    return works


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

    async def first(self, url: str, work: Work) -> None:
        """Ask for each step once; the first that gets no answer ends it."""
        for step in work.steps:
            try:
                self._truth.note(step, await self.ask(url, work, step, work.key))
            except Unanswered as lost:
                self._truth.errors[step] = str(lost)
                return
            except asyncio.CancelledError:
                self._truth.errors[step] = "given up"
                raise

    async def again(self, urls: list[str], work: Work) -> None:
        """Ask for each step that has no answer until it has one."""
        for step in work.steps:
            if step not in self._truth.answers:
                key = work.key if self._keeps_keys else f"{work.key}-again"
                self._truth.note(step, await self.insist(urls, work, step, key))

    async def insist(self, urls: list[str], work: Work, step: Step, key: str) -> dict[str, Any]:
        """Ask one API after the other until there is an answer; the caller bounds the wait."""
        for url in itertools.cycle(urls):
            try:
                return await self.ask(url, work, step, key)
            except Unanswered:
                await asyncio.sleep(_PAUSE)
        raise AssertionError("there is no API to ask")

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
            raise Unanswered(str(errors[0]["extensions"]["code"]))
        answer: dict[str, Any] = told["data"]["done"]
        if answer.get("code") in _LATER:
            raise Unanswered(answer["code"])
        return answer

    def _input(self, work: Work, step: Step, key: str) -> dict[str, str]:
        asked = {"organizationId": str(work.account)}
        if step.name in ("deduct", "reserve"):
            return {**asked, "amount": written(work.amount), "idempotencyKey": key}
        reserved = self._truth.answers[Step(work.key, "reserve")]
        asked["reservationId"] = reserved["reservation"]["id"]
        return asked if step.name == "release" else {**asked, "amount": written(work.used)}


def written(amount: int) -> str:
    """Return micro-credits as credits with their decimals."""
    whole, part = divmod(amount, CREDIT)
    return f"{whole}.{part:06d}"
