"""Calls whose usage is absurd: held, until a person ends them."""

from app.inference.abandoned import charge_abandoned
from tests.inference.conftest import Door


async def test_absurd_usage_is_held_until_a_person_ends_it(door: Door) -> None:
    await door.ask("hello usage=absurd")
    call = await door.call()
    reserved = await door.reserved()
    for _ in range(2):
        await door.calling.later(hours=1)
        await charge_abandoned(door.calling.calls)
        assert (await door.charged(), await door.reserved()) == (0, reserved)
    # Also when its day is over it is charged nothing by itself.
    await door.calling.later(hours=23)
    await charge_abandoned(door.calling.calls)
    assert await door.charged() == 0
    kinds = await door.calling.admin.fetch(
        "select kind from credits.findings where subject = $1", str(call["id"])
    )
    assert [row["kind"] for row in kinds] == ["settle_amount_implausible"]
    await door.calling.admin.execute(
        "select credits.settle($1, array[row($2, 5000001, null, null, null, null, null, null, null,"
        " null, null, null, null, null)::credits.settle_request])",
        door.calling.account,
        call["id"],
    )
    await door.calling.later(hours=25)
    await charge_abandoned(door.calling.calls)
    assert (await door.call())["state"] == "settled"
    assert await door.charged() == 5_000_001
