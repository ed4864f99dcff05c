"""Whom somebody else holds in a shared call: who rides on, and who goes alone to wait."""

import asyncio

import pytest

from app.core.database import TimedOut
from app.core.refusals import Refusal
from app.credits.batches import CROWD, HELD_LOOKS, QUIET
from app.credits.lines import Asked, Count, Line, hand_out_many
from tests.support.gate import Gate, account, turn


def is_apart(gate: Gate, number: int) -> bool:
    return gate.batches._apart.is_apart(account(number), asyncio.get_running_loop().time())


async def test_who_is_held_rides_in_the_next_call_with_others(gate: Gate) -> None:
    tasks = await gate.sending()
    gate.held[8] = 1
    asked = [gate.ask(8, "a"), gate.ask(8, "b")]
    await gate.let_pass()
    asked += [gate.ask(9, "x"), gate.ask(8, "c")]
    await gate.let_pass()
    assert not is_apart(gate, 8)
    gate.open()
    assert await asyncio.gather(*asked) == ["many a", "many b", "many x", "many c"]
    # It is the first of the next.
    assert gate.many[1:] == [
        [(8, "a"), (8, "b")],
        [(8, "a"), (8, "b"), (8, "c"), (9, "x")],
    ]
    assert len(gate.own) == QUIET
    await asyncio.gather(*tasks)


async def test_who_rides_on_has_no_new_time_to_wait(gate: Gate) -> None:
    tasks = await gate.sending()
    gate.held[8] = 1
    late = gate.ask(8, "late")
    await gate.let_pass()
    tasks.append(gate.ask(9, "company"))
    # It is found held, and goes on; by then it is too late.
    [under_way] = gate.batches._lines[account(8).int].under_way
    under_way.too_late = 0
    await gate.let_pass()
    with pytest.raises(Refusal) as refused:
        await late
    assert refused.value.code == "BUSY"
    assert gate.many[2:] == [[(9, "company")]]
    gate.open()
    await asyncio.gather(*tasks)


async def test_who_comes_after_one_who_was_held_and_left_does_not_look_alone(gate: Gate) -> None:
    tasks = await gate.sending()
    gate.held[8] = 1
    gone = gate.ask(8, "gone")
    await gate.let_pass()
    later = gate.ask(8, "later")
    gone.cancel()
    await turn()
    await gate.let_pass()
    assert gate.own[QUIET:] == [(8, ["later"])]
    gate.open()
    assert await later == "own later"
    await asyncio.gather(*tasks)


async def test_who_left_in_the_turn_in_which_it_asked_is_not_sent(gate: Gate) -> None:
    gone = gate.ask(8, "gone")
    await asyncio.sleep(0)
    gone.cancel()
    await turn()
    assert (gate.own, gate.many) == ([], [])
    assert gate.batches._lines == {}


async def test_a_crowd_that_comes_at_once_to_an_idle_lane_goes_alone(gate: Gate) -> None:
    asked = [gate.ask(8, str(number)) for number in range(CROWD + 1)]
    await turn()
    assert gate.many == []
    assert gate.own == [(8, [str(number) for number in range(CROWD + 1)])]
    gate.open()
    assert await asyncio.gather(*asked) == [f"own {number}" for number in range(CROWD + 1)]


async def test_a_crowd_that_is_held_goes_alone_even_in_company(gate: Gate) -> None:
    tasks = await gate.sending()
    gate.held[8] = 1
    names = [str(number) for number in range(CROWD + 1)]
    crowd = [gate.ask(8, names[0])]
    await gate.let_pass()
    crowd += [gate.ask(8, name) for name in names[1:]]
    tasks.append(gate.ask(9, "company"))
    await gate.let_pass()
    assert gate.own[QUIET:] == [(8, names)]
    gate.open()
    await asyncio.gather(*tasks, *crowd)


async def test_who_was_answered_is_no_crowd(gate: Gate) -> None:
    tasks = await gate.sending()
    tasks += [gate.ask(8, str(number)) for number in range(CROWD)]
    await gate.let_pass()
    later = gate.ask(8, "later")
    await gate.let_pass()
    gate.open()
    assert await later == "many later"
    assert len(gate.own) == QUIET
    await asyncio.gather(*tasks)


async def test_who_is_held_and_has_no_company_goes_alone_at_once(gate: Gate) -> None:
    tasks = await gate.sending()
    gate.held.update((8, 9))
    asked = [gate.ask(8, "a"), gate.ask(9, "b")]
    await gate.let_pass()
    await gate.let_pass()
    assert gate.own[QUIET:] == [(8, ["a"]), (9, ["b"])]
    gate.open()
    assert await asyncio.gather(*asked) == ["own a", "own b"]
    # Who held them will soon be done.
    assert not is_apart(gate, 8)
    await asyncio.gather(*tasks)


async def test_who_is_held_for_long_goes_alone_and_keeps_to_itself(gate: Gate) -> None:
    tasks = await gate.sending()
    gate.held[8] = HELD_LOOKS + 1
    asked = [gate.ask(8, "a")]
    await gate.let_pass()
    for number in range(HELD_LOOKS):
        assert gate.own[QUIET:] == []
        tasks.append(gate.ask(100 + number, "company"))
        await gate.let_pass()
    assert gate.own[QUIET:] == [(8, ["a"])]
    assert [(8, "a") in sent for sent in gate.many] == [False, *HELD_LOOKS * [True], False]
    gate.open()
    assert await asyncio.gather(*asked) == ["own a"]
    assert is_apart(gate, 8)
    await asyncio.gather(*tasks)


async def test_how_often_it_was_held_counts_from_when_it_was_decided(gate: Gate) -> None:
    tasks = await gate.sending()
    asked = [gate.ask(8, "0")]
    await gate.let_pass()
    for number in range(3):
        # Held and decided in turn, more often together than it may be held in a row.
        gate.held[8] = HELD_LOOKS - 1
        for place in range(HELD_LOOKS):
            if place == HELD_LOOKS - 1:
                asked.append(gate.ask(8, str(number + 1)))
            tasks.append(gate.ask(100 + HELD_LOOKS * number + place, "company"))
            await gate.let_pass()
    gate.open()
    assert await asyncio.gather(*asked) == ["many 0", "many 1", "many 2", "many 3"]
    assert len(gate.own) == QUIET
    await asyncio.gather(*tasks)


async def test_a_later_call_that_took_too_long_is_not_taken_for_held(gate: Gate) -> None:
    tasks = await gate.sending()
    gate.held[8] = 1
    asked = [gate.ask(8, "a")]
    await gate.let_pass()
    asked.append(gate.ask(9, "b"))
    await gate.let_pass()
    gate.error = TimedOut("canceling statement due to statement timeout")
    tasks.append(gate.ask(10, "company"))
    await gate.let_pass()
    gate.error = None
    assert sorted(gate.own[QUIET:]) == [(8, ["a"]), (9, ["b"])]
    gate.open()
    assert await asyncio.gather(*asked) == ["own a", "own b"]
    await asyncio.gather(*tasks)


async def test_many_who_come_at_once_to_an_idle_lane_go_together(gate: Gate) -> None:
    asked = [gate.ask(number, "x") for number in range(QUIET + 1)]
    await turn()
    assert gate.own == []
    assert gate.many == [[(number, "x") for number in range(QUIET + 1)]]
    gate.open()
    assert await asyncio.gather(*asked) == (QUIET + 1) * ["many x"]


async def test_who_has_some_answers_still_waits_for_the_others() -> None:
    loop = asyncio.get_running_loop()
    line: Line[str, str] = Line(account(1), Count())
    asked = [Asked(request, loop.create_future(), loop.time() + 1) for request in "ab"]
    for each in asked:
        line.add(each)
    line.take(2, loop.time())
    hand_out_many([line], ["many a", None], lambda _: False)
    assert await asked[0].answer == "many a"
    assert not line.is_decided
    assert line.put_back(loop.time() + 1)
    assert list(line.waiting) == asked[1:]
