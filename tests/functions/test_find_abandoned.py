"""inference.find_abandoned: a walk over calls that no process is at work on."""

from uuid import UUID

from tests.support.model_calls import Calling


async def _find(calling: Calling, call: UUID) -> None:
    await calling.admin.execute(
        "insert into credits.findings (account_id, kind, subject, facts, created_at)"
        " values ($1, 'settle_amount_implausible', $2, '{}', core.clock())",
        calling.account,
        str(call),
    )


async def test_a_walk_meets_each_call_once(calling: Calling) -> None:
    opened = {(await calling.open(key)).reservation_id for key in "abcd"}
    await calling.later(hours=1)
    met = await calling.calls.find_abandoned(1)
    while page := await calling.calls.find_abandoned(1, met[-1].leased_until, met[-1].call_id):
        [due] = page
        assert due.call_id not in {seen.call_id for seen in met}
        met += page
    assert {due.call_id for due in met} >= opened


async def test_what_was_refused_as_absurd_is_parked_once_it_has_expired(calling: Calling) -> None:
    call = (await calling.open("a")).reservation_id
    await calling.later(hours=1)
    await _find(calling, call)
    assert call in [due.call_id for due in await calling.calls.find_abandoned(100)]
    await calling.admin.execute("select credits.expire_reservations($1)", calling.account)
    assert call not in [due.call_id for due in await calling.calls.find_abandoned(100)]


async def test_what_has_expired_without_a_finding_is_still_to_be_charged(calling: Calling) -> None:
    call = (await calling.open("a")).reservation_id
    # Of another it is known.
    await _find(calling, (await calling.open("b")).reservation_id)
    await calling.later(hours=1)
    await calling.admin.execute("select credits.expire_reservations($1)", calling.account)
    assert call in [due.call_id for due in await calling.calls.find_abandoned(100)]
