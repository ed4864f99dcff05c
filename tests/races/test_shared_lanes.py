"""Requests of many accounts ride together where none of them needs a second look."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from uuid import UUID

import pytest

from app.core.database import Unavailable
from app.core.refusals import Refusal
from app.credits import batches as module
from app.credits.batches import (
    ACCOUNTS_LIMIT,
    CROWD,
    QUIET,
    SET_LIMIT,
    SHARED_LANES,
    WAITING_LIMIT,
    Batches,
)


def account(number: int) -> UUID:
    """Return an account of the first shared lane."""
    return UUID(int=number * SHARED_LANES)


class Gate:
    """Stands for Postgres: notes what it is sent, and answers when it is opened."""

    def __init__(self, shared_lanes: int = SHARED_LANES) -> None:
        self.own: list[tuple[int, list[str]]] = []
        self.many: list[list[tuple[int, str]]] = []
        self.undecided: set[int] = set()
        self.error: Exception | None = None
        self._open = asyncio.Event()
        self.batches: Batches[str, str] = Batches(
            self._send, self._send_many, shared_lanes=shared_lanes
        )

    async def _send(self, account_id: UUID, requests: Sequence[str]) -> list[str]:
        self.own.append((account_id.int // SHARED_LANES, list(requests)))
        await self._open.wait()
        if "bad" in requests:
            raise ValueError("it cannot be sent")
        return [f"own {request}" for request in requests]

    async def _send_many(
        self, account_ids: Sequence[UUID], requests: Sequence[str]
    ) -> list[str | None]:
        numbers = [account_id.int // SHARED_LANES for account_id in account_ids]
        self.many.append(list(zip(numbers, requests, strict=True)))
        await self._open.wait()
        if "bad" in requests:
            raise ValueError("it cannot be sent")
        if self.error is not None:
            raise self.error
        return [
            None if number in self.undecided else f"many {request}"
            for number, request in zip(numbers, requests, strict=True)
        ]

    def ask(self, number: int, request: str) -> "asyncio.Task[str]":
        return asyncio.create_task(self.batches.ask(account(number), request))

    def open(self) -> None:
        self._open.set()

    def shut(self) -> None:
        self._open.clear()

    async def busy(self) -> "list[asyncio.Task[str]]":
        """Keep as many accounts under way as may have a lane for the asking."""
        tasks = [self.ask(number, f"busy {number}") for number in range(QUIET)]
        await turn()
        return tasks

    async def sending(self) -> "list[asyncio.Task[str]]":
        """Keep a shared call under way too, so that what comes next gathers behind it."""
        tasks = [*await self.busy(), self.ask(QUIET, "first")]
        await turn()
        assert self.many == [[(QUIET, "first")]]
        return tasks


async def turn() -> None:
    """Let every task go as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
async def gate() -> AsyncIterator[Gate]:
    made = Gate()
    yield made
    made.open()
    await turn()
    assert made.batches.lanes == 0


async def test_while_little_is_under_way_each_goes_alone(gate: Gate) -> None:
    tasks = await gate.busy()
    assert gate.own == [(number, [f"busy {number}"]) for number in range(QUIET)]
    assert gate.many == []
    gate.open()
    assert await asyncio.gather(*tasks) == [f"own busy {number}" for number in range(QUIET)]


async def test_others_gather_and_go_in_one_call(gate: Gate) -> None:
    tasks = await gate.sending()
    later = [gate.ask(number, f"later {number}") for number in (9, 7, 9, 8)]
    await turn()
    gate.open()
    assert await asyncio.gather(*later) == [f"many later {number}" for number in (9, 7, 9, 8)]
    assert gate.many[1:] == [[(number, f"later {number}") for number in (9, 7, 9, 8)]]
    assert len(gate.own) == QUIET
    await asyncio.gather(*tasks)


async def test_who_has_a_lane_of_its_own_stays_in_it(gate: Gate) -> None:
    tasks = await gate.sending()
    more = [gate.ask(1, "more"), gate.ask(1, "and more")]
    await turn()
    gate.open()
    assert await asyncio.gather(*more) == ["own more", "own and more"]
    assert gate.own[QUIET:] == [(1, ["more", "and more"])]
    await asyncio.gather(*tasks)


async def test_accounts_are_spread_over_the_shared_lanes(gate: Gate) -> None:
    tasks = await gate.busy()
    for number in range(SHARED_LANES):
        tasks.append(asyncio.create_task(gate.batches.ask(UUID(int=2000 + number), str(number))))
    await turn()
    assert [[request for _, request in sent] for sent in gate.many] == [
        [str(number)] for number in range(SHARED_LANES)
    ]
    assert gate.batches.lanes == QUIET + SHARED_LANES
    gate.open()
    await asyncio.gather(*tasks)


async def test_at_most_64_accounts_in_one_call(gate: Gate) -> None:
    tasks = await gate.sending()
    tasks += [gate.ask(100 + number, "a") for number in range(ACCOUNTS_LIMIT + 3)]
    # Those that are in already may ride on until another account stands before them.
    await turn()
    gate.open()
    await asyncio.gather(*tasks)
    assert [len(sent) for sent in gate.many] == [1, ACCOUNTS_LIMIT, 3]


async def test_at_most_256_requests_in_one_call(gate: Gate) -> None:
    tasks = await gate.sending()
    tasks += [gate.ask(100 + n % 10, str(n)) for n in range(SET_LIMIT + 5)]
    await turn()
    gate.open()
    await asyncio.gather(*tasks)
    assert [len(sent) for sent in gate.many] == [1, SET_LIMIT, 5]


async def test_what_is_not_decided_goes_on_alone_in_its_order(gate: Gate) -> None:
    tasks = await gate.sending()
    gate.undecided = {8}
    mixed = [gate.ask(number, request) for number, request in [(8, "a"), (7, "b"), (8, "c")]]
    await turn()
    gate.open()
    assert await asyncio.gather(*mixed) == ["own a", "many b", "own c"]
    assert gate.own[QUIET:] == [(8, ["a", "c"])]
    await asyncio.gather(*tasks)


async def test_who_asks_while_its_shared_call_is_out_comes_after_what_went_on_alone(
    gate: Gate,
) -> None:
    tasks = await gate.busy()
    gate.undecided = {8}
    both = [gate.ask(8, "first")]
    await turn()
    both.append(gate.ask(8, "second"))
    await turn()
    gate.open()
    assert await asyncio.gather(*both) == ["own first", "own second"]
    assert gate.own[QUIET:] == [(8, ["first", "second"])]
    assert len(gate.many) == 1
    await asyncio.gather(*tasks)


async def test_a_crowd_gets_a_lane_of_its_own_in_its_order(gate: Gate) -> None:
    tasks = await gate.sending()
    crowd = [gate.ask(9, f"crowd {n}") for n in range(CROWD)]
    between = gate.ask(8, "between")
    await turn()
    assert len(gate.own) == QUIET
    crowd.append(gate.ask(9, "one more"))
    await turn()
    names = [*(f"crowd {n}" for n in range(CROWD)), "one more"]
    assert gate.own[QUIET:] == [(9, names)]
    gate.open()
    assert await asyncio.gather(*crowd) == [f"own {name}" for name in names]
    assert await between == "many between"
    assert gate.many[1:] == [[(8, "between")]]
    await asyncio.gather(*tasks)


async def test_who_leaves_before_being_sent_is_not_sent(gate: Gate) -> None:
    tasks = await gate.sending()
    leaving, staying = gate.ask(8, "leaving"), gate.ask(9, "staying")
    await turn()
    leaving.cancel()
    await turn()
    gate.open()
    assert await staying == "many staying"
    assert gate.many[1:] == [[(9, "staying")]]
    await asyncio.gather(*tasks)


async def test_who_leaves_after_being_sent_breaks_nothing_off(gate: Gate) -> None:
    tasks = await gate.sending()
    tasks.pop().cancel()
    staying = gate.ask(9, "staying")
    await turn()
    gate.open()
    assert await staying == "many staying"
    await asyncio.gather(*tasks)


async def test_what_cannot_be_sent_fails_alone(gate: Gate) -> None:
    tasks = await gate.sending()
    asked = [gate.ask(number, request) for number, request in [(7, "a"), (8, "bad"), (8, "b")]]
    await turn()
    gate.open()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [str(answer) for answer in answers] == ["own a", "it cannot be sent", "own b"]
    await asyncio.gather(*tasks)


async def test_a_lost_connection_is_told_to_all(gate: Gate) -> None:
    tasks = await gate.busy()
    gate.error = Unavailable("gone")
    asked = [gate.ask(number, "x") for number in (7, 8)]
    await turn()
    gate.open()
    assert [type(e) for e in await asyncio.gather(*asked, return_exceptions=True)] == [
        Unavailable,
        Unavailable,
    ]
    # Whether it was done nobody knows: it is for those who asked to ask again.
    assert len(gate.own) == QUIET
    await asyncio.gather(*tasks)


async def test_no_more_wait_than_may(gate: Gate) -> None:
    tasks = await gate.sending()
    tasks += [gate.ask(100 + n % 99, "x") for n in range(WAITING_LIMIT)]
    await turn()
    with pytest.raises(Refusal) as refused:
        await gate.batches.ask(account(99), "one too many")
    assert refused.value.code == "BUSY"
    gate.open()
    await asyncio.gather(*tasks)


async def test_nobody_is_sent_who_has_waited_too_long(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = await gate.sending()
    monkeypatch.setattr(module, "WAITING_SECONDS", -1.0)
    late = gate.ask(9, "late")
    await turn()
    gate.open()
    with pytest.raises(Refusal) as refused:
        await late
    assert refused.value.code == "BUSY"
    assert len(gate.many) == 1
    await asyncio.gather(*tasks)


async def test_a_task_that_is_ended_leaves_nobody_waiting(gate: Gate) -> None:
    tasks = await gate.sending()
    sent, waiting = tasks.pop(), gate.ask(9, "waiting")
    await turn()
    [lane] = [lane for lane in gate.batches._shared if lane.task]
    assert lane.task is not None
    lane.task.cancel()
    for task in (sent, waiting):
        with pytest.raises(asyncio.CancelledError):
            await task
    assert gate.batches.lanes == QUIET
    gate.open()
    await asyncio.gather(*tasks)


async def test_without_shared_lanes_each_call_is_of_one_account() -> None:
    gate = Gate(shared_lanes=0)
    count = QUIET + 3
    tasks = [gate.ask(number, f"{number}") for number in range(count)]
    await turn()
    gate.open()
    assert await asyncio.gather(*tasks) == [f"own {number}" for number in range(count)]
    assert gate.many == []
