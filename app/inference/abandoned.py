"""Calls that no process is at work on any more: charged by what is known of them."""

from app.core.database import Unavailable
from app.core.refusals import Refusal
from app.core.telemetry import log
from app.inference.calls import ModelCalls
from app.inference.rows import DueCall
from app.inference.work import IMPLAUSIBLE, hold_for_a_person

_FOUND = 100


async def charge_abandoned(calls: ModelCalls) -> int:
    """Visit each call whose process is gone once, and charge for it; return how many were.

    Any number of workers may do so at once: of two that find a call the first counts.
    What is refused hides nothing behind it: the next page begins after it.
    """
    charged = 0
    found = await calls.find_abandoned(_FOUND)
    while found:
        for due in found:
            charged += await _charge(calls, due)
        found = await calls.find_abandoned(_FOUND, found[-1].leased_until, found[-1].call_id)
    return charged


async def _charge(calls: ModelCalls, due: DueCall) -> bool:
    try:
        settled = await calls.close(due.account_id, due.request)
    except Refusal as refusal:
        if refusal.code in IMPLAUSIBLE:
            await hold_for_a_person(calls, due.account_id, due.call_id, refusal)
            return False
        log.warning("inference.not_charged", call=str(due.call_id), code=refusal.code)
        # Ended otherwise, it is found no more.
        return refusal.code.startswith("RESERVATION_")
    except Unavailable as error:
        log.warning("inference.not_charged", call=str(due.call_id), error=str(error))
        return False
    except Exception:  # noqa: BLE001  # one call that is broken must not hold up all
        log.exception("inference.not_charged", call=str(due.call_id))
        return False
    log.info("inference.charged_late", call=str(due.call_id), amount=settled.settled_amount)
    return True
