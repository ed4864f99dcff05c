"""Calls whose usage is absurd or nonsense: held, until a person ends them."""

from uuid import UUID

import pytest

from app.inference.abandoned import charge_abandoned
from tests.inference.conftest import Door

NONSENSE = ["absurd", "negative"]
ONE = 5_000_001


async def _found(door: Door, call: UUID) -> list[str]:
    rows = await door.calling.admin.fetch(
        "select kind from credits.findings where subject = $1", str(call)
    )
    return [row["kind"] for row in rows]


async def _ends(door: Door, call: UUID, amount: int | None) -> None:
    """End a call's reservation as a person does who has looked at it."""
    admin, account = door.calling.admin, door.calling.account
    if amount is None:
        outcome = await admin.fetchval(
            "select outcome from credits.release("
            "$1, array[row($2, 'nonsense')::credits.release_request])",
            account,
            call,
        )
    else:
        outcome = await admin.fetchval(
            "select outcome from credits.settle($1, array[row($2, $3, null, null, null, null, null,"
            " null, null, null, null, null, null, null)::credits.settle_request])",
            account,
            call,
            amount,
        )
    assert outcome == "OK"


@pytest.mark.parametrize("usage", NONSENSE)
@pytest.mark.parametrize("amount", [ONE, None])
async def test_it_is_held_until_a_person_ends_it(
    door: Door, usage: str, amount: int | None
) -> None:
    await door.ask(f"hello usage={usage}")
    call = await door.call()
    reserved = await door.reserved()
    assert call["state"] == "answered"
    assert await _found(door, call["id"]) == ["settle_amount_implausible"]
    for hours in (1, 24, 24):
        await door.calling.later(hours=hours)
        assert await charge_abandoned(door.calling.calls) == 0
        assert (await door.charged(), await door.reserved()) == (0, reserved)
        assert (await door.call())["state"] == "answered"
    await _ends(door, call["id"], amount)
    await door.calling.later(hours=25)
    assert await charge_abandoned(door.calling.calls) == 1
    ended = await door.call()
    assert ended["state"] == ("released" if amount is None else "settled")
    assert await door.charged() == (amount or 0)
    assert await door.reserved() == 0
    assert await door.calling.calls.find_abandoned(10) == []


@pytest.mark.parametrize("usage", NONSENSE)
async def test_when_its_time_is_over_it_waits_for_a_person_and_is_asked_about_no_more(
    door: Door, usage: str
) -> None:
    await door.ask(f"hello usage={usage}")
    call = await door.call()
    await door.calling.later(hours=25)
    # No worker came by in time to hold it on.
    statement = "select credits.expire_reservations($1)"
    await door.calling.admin.fetch(statement, door.calling.account)
    assert await door.calling.calls.find_abandoned(10) == []
    assert await charge_abandoned(door.calling.calls) == 0
    assert (await door.charged(), await door.reserved()) == (0, 0)
    # A person charges for it all the same.
    await _ends(door, call["id"], ONE)
    assert await charge_abandoned(door.calling.calls) == 1
    assert (await door.call())["state"] == "settled"
    assert await door.charged() == ONE
