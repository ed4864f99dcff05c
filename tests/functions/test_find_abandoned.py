"""inference.find_abandoned: a walk over calls that no process is at work on."""

from tests.support.model_calls import Calling


async def test_a_walk_meets_each_call_once(calling: Calling) -> None:
    opened = {(await calling.open(key)).reservation_id for key in "abcd"}
    await calling.later(hours=1)
    met = await calling.calls.find_abandoned(1)
    while page := await calling.calls.find_abandoned(1, met[-1].leased_until, met[-1].call_id):
        met += page
    ids = [due.call_id for due in met]
    assert len(ids) == len(set(ids))
    assert set(ids) >= opened
