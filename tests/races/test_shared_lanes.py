"""Requests of many accounts ride together where none of them needs a second look."""

import asyncio
from uuid import UUID

import pytest

from app.core.database import Unavailable
from app.core.refusals import Refusal
from app.credits import batches as module
from app.credits import lines
from app.credits.batches import (
    CROWD,
    QUIET,
    SET_LIMIT,
    SHARED_LANES,
)
from app.credits.lines import APART_SECONDS, APART_SECONDS_AT_MOST, Apart
from tests.support.gate import Gate, account, turn
from tests.support.live import until


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
    # Each account's stand together.
    assert gate.many[1:] == [[(number, f"later {number}") for number in (9, 9, 7, 8)]]
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


async def test_at_most_256_requests_in_one_call(gate: Gate) -> None:
    tasks = await gate.sending()
    tasks += [gate.ask(100 + n % 10, str(n)) for n in range(SET_LIMIT + 5)]
    await turn()
    gate.open()
    await asyncio.gather(*tasks)
    assert [len(sent) for sent in gate.many] == [1, SET_LIMIT, 5]
    for number in range(100, 110):
        got = [int(request) for sent in gate.many for n, request in sent if n == number]
        assert got == sorted(got)


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


async def test_a_crowd_that_grew_behind_a_shared_call_comes_after_what_that_did_not_decide(
    gate: Gate,
) -> None:
    tasks = await gate.busy()
    gate.undecided = {8}
    names = ["first", *(f"crowd {n}" for n in range(CROWD + 1))]
    asked = [gate.ask(8, names[0])]
    await turn()
    asked += [gate.ask(8, name) for name in names[1:]]
    await turn()
    # Not beside its own call that is out.
    assert len(gate.own) == QUIET
    gate.open()
    assert await asyncio.gather(*asked) == [f"own {name}" for name in names]
    assert gate.own[QUIET:] == [(8, names)]
    await asyncio.gather(*tasks)


async def test_a_crowd_that_grew_behind_a_shared_call_goes_alone_after_it(gate: Gate) -> None:
    tasks = await gate.busy()
    names = ["first", *(f"crowd {n}" for n in range(CROWD + 1))]
    asked = [gate.ask(8, names[0])]
    await turn()
    asked += [gate.ask(8, name) for name in names[1:]]
    await turn()
    gate.open()
    await asyncio.gather(*asked, *tasks)
    assert gate.many == [[(8, "first")]]
    assert gate.own[QUIET:] == [(8, names[1:])]


async def test_who_was_not_decided_keeps_to_itself_for_a_while(gate: Gate) -> None:
    tasks = await gate.busy()
    gate.undecided = {8}
    first, *shared = [gate.ask(number, "a") for number in (8, 9)]
    await turn()
    gate.open()
    await asyncio.gather(first, *shared, *tasks)
    gate.shut()
    tasks = await gate.sending()
    both = [gate.ask(number, "b") for number in (8, 9)]
    await turn()
    assert gate.own[-1] == (8, ["b"])
    gate.open()
    assert await asyncio.gather(*both) == ["own b", "many b"]
    await asyncio.gather(*tasks)


async def test_no_more_are_under_way_alone_than_may(gate: Gate) -> None:
    tasks = await gate.sending()
    gate.undecided = set(range(100, 140))
    slow = [gate.ask(number, "slow") for number in gate.undecided]
    await turn()
    gate.shut_alone()
    gate.open()
    await tasks.pop()
    await turn()
    # All that may go alone wait for their locks. Who is free is answered.
    assert len(gate.own) == 2 * QUIET
    assert await gate.ask(9, "free") == "many free"
    assert await gate.ask(9, "free again") == "many free again"
    assert not any(task.done() for task in slow)
    gate.open_alone()
    assert await asyncio.gather(*slow) == len(slow) * ["own slow"]
    await asyncio.gather(*tasks)


async def test_who_waits_too_long_for_its_turn_is_told_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate = Gate(shared_lanes=0, calls=1)
    first = gate.ask(1, "first")
    await turn()
    monkeypatch.setattr(module, "WAITING_SECONDS", 0.05)
    late = [gate.ask(number, "late") for number in (2, 2, 3)]
    gone = gate.ask(4, "gone")
    await turn()
    gone.cancel()
    # Though the call that they wait for has not ended.
    for answer in await asyncio.gather(*late, return_exceptions=True):
        assert isinstance(answer, Refusal)
        assert answer.code == "BUSY"
    assert not first.done()
    await until(lambda: gate.batches.lanes == 1)
    assert gate.batches._count.waiting == 0
    gate.open()
    assert await first == "own first"
    assert gate.own == [(1, ["first"])]
    # The turns that were not taken are there.
    assert await gate.ask(2, "again") == "own again"


async def test_who_is_ended_while_it_waits_for_its_turn_takes_none() -> None:
    gate = Gate(shared_lanes=0, calls=1)
    first, second, third = (gate.ask(number, "x") for number in (1, 2, 3))
    await turn()
    task = gate.batches._lines[account(2).int].task
    assert task is not None
    task.cancel()
    with pytest.raises(Unavailable):
        await second
    gate.open()
    assert [await first, await third] == ["own x", "own x"]
    assert not gate.batches._calls.locked()


def test_how_long_who_was_not_decided_keeps_to_itself() -> None:
    apart, poor, once = Apart(), account(1), account(2)
    now = 100.0
    for seconds in (1.0, 2.0, 4.0, 8.0, APART_SECONDS_AT_MOST, APART_SECONDS_AT_MOST):
        apart.add(poor, now)
        assert apart.is_apart(poor, now + seconds - 0.01)
        now += seconds
        assert not apart.is_apart(poor, now)
    apart.add(once, now)
    apart.forget(once)
    assert not apart.is_apart(once, now)
    apart.forget(once)
    apart.add(once, now)
    assert not apart.is_apart(once, now + APART_SECONDS)
    # Long afterwards it is another matter.
    later = now + 3 * APART_SECONDS_AT_MOST
    apart.add(poor, later)
    assert not apart.is_apart(poor, later + APART_SECONDS)


async def test_who_is_short_of_credits_asks_alone_until_it_has_some(gate: Gate) -> None:
    """However seldom it asks: not one shared call looks at it in vain."""
    clock = asyncio.get_running_loop()
    gate.open()
    assert await gate.ask(9, "short") == "own short"
    gate.shut()
    tasks = await gate.sending()
    short = gate.ask(9, "short")
    await turn()
    assert gate.own[-1] == (9, ["short"])
    gate.open()
    await asyncio.gather(*tasks, short)
    apart, now = gate.batches._apart, clock.time()
    assert apart.is_apart(account(9), now + APART_SECONDS_AT_MOST - 1)
    assert not apart.is_apart(account(9), now + APART_SECONDS_AT_MOST)
    assert not apart.is_apart(account(QUIET), now)
    # What it has the credits for changes nothing, until a shared call has decided for it.
    gate.shut()
    tasks = await gate.sending()
    rich = gate.ask(9, "rich")
    await turn()
    assert gate.own[-1] == (9, ["rich"])
    gate.open()
    await asyncio.gather(*tasks, rich)
    apart.forget(account(9))
    gate.shut()
    tasks = await gate.sending()
    rich = gate.ask(9, "rich")
    gate.open()
    assert await rich == "many rich"
    await asyncio.gather(*tasks)


def test_no_more_are_kept_apart_than_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "APART_LIMIT", 2)
    apart = Apart()
    for number in (1, 2, 1, 3):
        apart.add(account(number), 0)
    # The one that was not found for longest is forgotten.
    assert [apart.is_apart(account(number), 0.1) for number in (1, 2, 3)] == [True, False, True]


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


async def test_without_shared_lanes_each_call_is_of_one_account() -> None:
    gate = Gate(shared_lanes=0)
    count = QUIET + 3
    tasks = [gate.ask(number, f"{number}") for number in range(count)]
    await turn()
    gate.open()
    assert await asyncio.gather(*tasks) == [f"own {number}" for number in range(count)]
    assert gate.many == []
