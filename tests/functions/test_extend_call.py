"""inference.extend: what a call holds, for longer."""

from app.inference import ExtendRequest
from tests.support.model_calls import Calling, used


async def test_what_was_answered_is_held_on(calling: Calling) -> None:
    """`inference.extend` moves the lease of what waits to be charged, too."""
    call = (await calling.open("a")).reservation_id
    await calling.calls.note_answer(calling.account, used(call, 1, 1))
    await calling.calls.extend(calling.account, ExtendRequest(call, None, 0, 7_200))
    await calling.later(hours=1)
    assert call not in [due.call_id for due in await calling.calls.find_abandoned(100)]
    await calling.later(hours=2)
    assert call in [due.call_id for due in await calling.calls.find_abandoned(100)]
