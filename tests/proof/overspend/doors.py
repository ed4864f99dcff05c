"""The ways in, each with the same three things to ask for, and a caller's patience.

Who is told that the account is busy, or is told nothing, asks the same again under the
same key, as a client should: what counts is the answer.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any, Final, Protocol, TypeVar
from uuid import UUID

import aiohttp
import asyncpg

from app.core.database import Unavailable
from app.core.refusals import Refusal
from app.core.units import show_credits
from app.credits import Credits, ReleaseRequest, ReserveRequest, SettleRequest
from db.driver import Pool
from schema.scalars import read_credits

T = TypeVar("T")

_PATIENCE: Final = 40
_PAUSE_SECONDS: Final = 0.025
_BUSY: Final = frozenset({"BUSY", "UNAVAILABLE"})


class AskAgain(Exception):  # noqa: N818  # no fault: what a caller is told
    """The account was busy, or whether it happened is not known."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A yes with the reservation's id, or a no with its code and what could be had."""

    reservation: UUID | None
    code: str = "OK"
    spendable: int | None = None


class Door(Protocol):
    """A way in."""

    async def reserve(self, account: UUID, wanted: Sequence[tuple[str, int]]) -> list[Answer]:
        """Reserve, one answer each."""

    async def settle(self, account: UUID, used: Sequence[tuple[UUID, int]]) -> list[str]:
        """Settle; the codes that were answered."""

    async def release(self, account: UUID, held: Sequence[UUID]) -> list[str]:
        """Give back; the codes that were answered."""


class Patience:
    """Asks until there is an answer, and counts how often it had to ask again."""

    def __init__(self) -> None:
        self.again = 0

    async def ask(self, call: Callable[[], Awaitable[T]]) -> T:
        """Return the answer."""
        for turn in range(_PATIENCE):
            try:
                return await call()
            except AskAgain:
                self.again += 1
                await asyncio.sleep(_PAUSE_SECONDS * turn)
        raise TimeoutError("no answer")


class SqlDoor:
    """The functions themselves, over a pool of the driver's."""

    def __init__(self, pool: Pool, patience: Patience) -> None:
        self._pool = pool
        self._patience = patience

    async def reserve(self, account: UUID, wanted: Sequence[tuple[str, int]]) -> list[Answer]:
        requests = [ReserveRequest(*one) for one in wanted]
        rows = await self._call("reserve", account, requests)
        return [_answer(row["outcome"], row["reservation_id"], row["facts"]) for row in rows]

    async def settle(self, account: UUID, used: Sequence[tuple[UUID, int]]) -> list[str]:
        rows = await self._call("settle", account, [SettleRequest(*one) for one in used])
        return [row["outcome"] for row in rows]

    async def release(self, account: UUID, held: Sequence[UUID]) -> list[str]:
        rows = await self._call("release", account, [ReleaseRequest(one) for one in held])
        return [row["outcome"] for row in rows]

    async def _call(self, name: str, account: UUID, requests: Sequence[Any]) -> list[Any]:
        async def call() -> list[Any]:
            try:
                rows = await self._pool.fetch(
                    f"select outcome, reservation_id, facts from credits.{name}($1, $2)",  # noqa: S608
                    account,
                    requests,
                )
            except asyncpg.LockNotAvailableError as error:
                raise AskAgain from error
            _all_decided([row["outcome"] for row in rows])
            return rows

        return await self._patience.ask(call)


class CreditsDoor:
    """`Credits` of several processes by turns; requests of one by the methods for one."""

    def __init__(self, credits: Sequence[Credits], patience: Patience) -> None:
        self._credits = cycle(credits)
        self._patience = patience

    async def reserve(self, account: UUID, wanted: Sequence[tuple[str, int]]) -> list[Answer]:
        requests = [ReserveRequest(*one) for one in wanted]
        if len(requests) > 1:
            rows = await self._ask(lambda: next(self._credits).reserve_set(account, requests))
            return [_answer(row.outcome, row.reservation_id, row.facts) for row in rows]
        try:
            row = await self._ask(lambda: next(self._credits).reserve(account, requests[0]))
        except Refusal as refusal:
            return [_answer(refusal.code, None, refusal.facts)]
        return [_answer(row.outcome, row.reservation_id, None)]

    async def settle(self, account: UUID, used: Sequence[tuple[UUID, int]]) -> list[str]:
        requests = [SettleRequest(*one) for one in used]
        if len(requests) > 1:
            rows = await self._ask(lambda: next(self._credits).settle_set(account, requests))
            return [row.outcome for row in rows]
        return [(await self._ask(lambda: next(self._credits).settle(account, requests[0]))).outcome]

    async def release(self, account: UUID, held: Sequence[UUID]) -> list[str]:
        requests = [ReleaseRequest(one) for one in held]
        if len(requests) > 1:
            rows = await self._ask(lambda: next(self._credits).release_set(account, requests))
            return [row.outcome for row in rows]
        return [
            (await self._ask(lambda: next(self._credits).release(account, requests[0]))).outcome
        ]

    async def _ask(self, method: Callable[[], Awaitable[T]]) -> T:
        async def call() -> T:
            try:
                told = await method()
            except Unavailable as error:
                raise AskAgain from error
            except Refusal as refusal:
                if refusal.code in _BUSY:
                    raise AskAgain from refusal
                raise
            if isinstance(told, list):
                _all_decided([row.outcome for row in told])
            return told

        return await self._patience.ask(call)


_DOCUMENT: Final = """
mutation Reserve($input: ReserveCreditsInput!) {
  told: reserveCredits(input: $input) {
    ... on ReserveCreditsSuccess { reservation { id } }
    ... on Refusal { code }
    ... on InsufficientCredits { spendable }
  }
}
mutation Settle($input: SettleCreditsInput!) {
  told: settleCredits(input: $input) { ... on Refusal { code } }
}
mutation Release($input: ReleaseCreditsInput!) {
  told: releaseCredits(input: $input) { ... on Refusal { code } }
}
"""


class HttpDoor:
    """GraphQL over HTTP, at the processes by turns."""

    def __init__(
        self, session: aiohttp.ClientSession, urls: Sequence[str], key: str, patience: Patience
    ) -> None:
        self._session = session
        self._urls = cycle(f"{url}/graphql" for url in urls)
        self._headers = {"Authorization": f"Bearer {key}"}
        self._patience = patience

    async def reserve(self, account: UUID, wanted: Sequence[tuple[str, int]]) -> list[Answer]:
        [(key, amount)] = wanted
        told = await self._ask(
            "Reserve", account, {"amount": show_credits(amount), "idempotencyKey": key}
        )
        if "reservation" in told:
            return [Answer(UUID(told["reservation"]["id"]))]
        spendable = told.get("spendable")
        return [Answer(None, told["code"], None if spendable is None else read_credits(spendable))]

    async def settle(self, account: UUID, used: Sequence[tuple[UUID, int]]) -> list[str]:
        [(held, amount)] = used
        told = await self._ask(
            "Settle", account, {"reservationId": str(held), "amount": show_credits(amount)}
        )
        return [told.get("code", "OK")]

    async def release(self, account: UUID, held: Sequence[UUID]) -> list[str]:
        told = await self._ask("Release", account, {"reservationId": str(held[0])})
        return [told.get("code", "OK")]

    async def _ask(self, name: str, account: UUID, given: dict[str, str]) -> dict[str, Any]:
        body = {
            "query": _DOCUMENT,
            "operationName": name,
            "variables": {"input": {"organizationId": str(account), **given}},
        }

        async def call() -> dict[str, Any]:
            try:
                async with self._session.post(
                    next(self._urls), json=body, headers=self._headers
                ) as answer:
                    whole = await answer.json()
            except aiohttp.ClientConnectionError as error:
                raise AskAgain from error
            if errors := whole.get("errors"):
                code = errors[0]["extensions"]["code"]
                if code in _BUSY:
                    raise AskAgain
                return {"code": str(code)}
            told: dict[str, Any] = whole["data"]["told"]
            _all_decided([told.get("code", "OK")])
            return told

        return await self._patience.ask(call)


def _answer(outcome: str, reservation: UUID | None, facts: Any) -> Answer:
    return Answer(reservation, outcome, facts.get("spendable") if facts else None)


def _all_decided(outcomes: Sequence[str]) -> None:
    if not _BUSY.isdisjoint(outcomes):
        raise AskAgain
