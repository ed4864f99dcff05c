"""What goes wrong on the way of many accounts is told to those it concerns, and no others."""

import asyncio

import asyncpg
import pytest

from app.core.database import TimedOut, Unavailable
from app.core.refusals import Refusal
from app.credits import batches as module
from app.credits.batches import QUIET, SET_LIMIT
from tests.support.gate import Gate, account, turn


async def test_what_cannot_be_sent_fails_alone(gate: Gate) -> None:
    tasks = await gate.sending()
    asked = [gate.ask(number, request) for number, request in [(7, "a"), (8, "bad"), (8, "b")]]
    await turn()
    gate.open()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [str(answer) for answer in answers] == ["many a", "it cannot be sent", "own b"]
    await asyncio.gather(*tasks)


async def test_who_cannot_be_sent_is_found_in_halves(gate: Gate) -> None:
    tasks = await gate.sending()
    tasks += [gate.ask(number, "x") for number in range(100, 100 + SET_LIMIT - 1)]
    bad = gate.ask(99, "bad")
    await turn()
    gate.open()
    with pytest.raises(ValueError, match="cannot be sent"):
        await bad
    answers = await asyncio.gather(*tasks)
    assert answers[-1] == "many x"
    # 256, and for each of eight halvings the two of the half it is in.
    assert [len(sent) for sent in gate.many[1:]].count(1) == 2
    assert len(gate.many) == 1 + 1 + 2 * 8
    assert gate.own[QUIET:] == [(99, ["bad"])]


async def test_a_shared_call_that_took_too_long_is_made_account_by_account(gate: Gate) -> None:
    tasks = await gate.busy()
    gate.error = TimedOut("canceling statement due to statement timeout")
    asked = [gate.ask(7, "x")]
    await turn()
    asked += [gate.ask(number, "x") for number in (8, 7, 9)]
    await turn()
    gate.open()
    assert await asyncio.gather(*asked) == 4 * ["own x"]
    assert [len(sent) for sent in gate.many] == [1, 2]
    await asyncio.gather(*tasks)


async def test_it_is_made_anew_also_when_it_took_longer_than_one_may_wait(gate: Gate) -> None:
    tasks = await gate.busy()
    gate.error = TimedOut("canceling statement due to statement timeout")
    asked = gate.ask(7, "x")
    await turn()
    [under_way] = gate.batches._lines[account(7).int].under_way
    under_way.too_late = 0
    gate.open()
    assert await asked == "own x"
    await asyncio.gather(*tasks)


@pytest.mark.parametrize("error", [Refusal("BUSY"), Unavailable("gone")])
async def test_what_is_no_fault_of_an_account_is_told_to_all_at_once(
    error: Exception, gate: Gate
) -> None:
    tasks = await gate.busy()
    gate.error = error
    asked = [gate.ask(number, "x") for number in (7, 8, 9)]
    await turn()
    gate.open()
    assert await asyncio.gather(*asked, return_exceptions=True) == [error, error, error]
    # It says nothing about the accounts.
    assert not gate.batches._apart.is_apart(account(7), 0)
    # Whether it was done nobody knows: it is for those who asked to ask again.
    assert len(gate.own) == QUIET
    await asyncio.gather(*tasks)


async def test_a_fault_of_postgres_is_looked_for_account_by_account(gate: Gate) -> None:
    tasks = await gate.sending()
    gate.error = asyncpg.InternalServerError("a rule is broken")
    asked = [gate.ask(number, "x") for number in (7, 8, 9)]
    await turn()
    gate.open()
    assert await asyncio.gather(*asked, *tasks)
    assert [len(sent) for sent in gate.many] == [1, 3]


async def test_answers_that_are_too_few_are_told_as_a_fault(gate: Gate) -> None:
    tasks = await gate.sending()
    gate.loses = True
    asked = [gate.ask(number, "x") for number in (7, 8)]
    await turn()
    gate.open()
    for error in await asyncio.gather(*asked, return_exceptions=True):
        assert isinstance(error, ValueError)
    gate.loses = False
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_no_more_wait_than_may(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING_LIMIT_OF_ALL", 100)
    tasks = await gate.sending()
    tasks += [gate.ask(100 + n, "x") for n in range(100)]
    await turn()
    with pytest.raises(Refusal) as refused:
        await gate.batches.ask(account(99), "one too many")
    assert refused.value.code == "BUSY"
    gate.open()
    await asyncio.gather(*tasks)
    assert gate.batches._count.waiting == 0
    assert await gate.ask(99, "one more")


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
        with pytest.raises(Unavailable):
            await task
    assert gate.batches.lanes == QUIET
    gate.open()
    await asyncio.gather(*tasks)


async def test_a_task_that_is_ended_before_it_began_leaves_nobody_waiting(gate: Gate) -> None:
    tasks = await gate.busy()
    both = [gate.ask(number, "x") for number in (8, 9)]
    # They have asked, and the lane was started; what is to send it has not begun.
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    [lane] = [lane for lane in gate.batches._shared if lane.task]
    assert lane.task is not None
    lane.task.cancel()
    for task in both:
        with pytest.raises(Unavailable):
            await task
    assert gate.many == []
    assert gate.batches.lanes == QUIET
    gate.open()
    assert await asyncio.gather(gate.ask(8, "again"), *tasks)
    alone = gate.ask(8, "alone")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    sending = gate.batches._lines[account(8).int].task
    assert sending is not None
    sending.cancel()
    with pytest.raises(Unavailable):
        await alone
