"""The composition root of timed work: what nobody asks for in time is done here.

Work that is due is found by its rows, never by the tick of a clock: a worker that was
off loses nothing, and any number of workers may run at once, each account's function
taking its lock. Finding takes no lock; each account is its own statement.
"""

import asyncio
import contextlib

from app.core.bus import Bus
from app.core.database import Database, TimedOut, Unavailable
from app.core.idempotency import Idempotency
from app.core.refusals import Refusal
from app.core.telemetry import log
from app.credits import Credits
from app.credits.feed import Feed
from app.inference import ModelCalls
from app.inference.abandoned import charge_abandoned
from app.main import secret_of
from app.settings import Settings

_CLEAR_EVERY = 3600.0
_FOUND = 100


async def sweep(credits: Credits) -> int:
    """Visit accounts with something overdue until nothing moves; return how many visits did."""
    visits = 0
    while found := await credits.find_overdue(_FOUND):
        moved = 0
        for account in found:
            visit = credits.catch_up if account.due else credits.expire_reservations
            try:
                row = await visit(account.account_id)
                moved += row.balance.balance_version > row.version_before
            except Refusal as refusal:
                # Busy: somebody works on it right now; the next sweep looks again.
                log.warning("sweep.refused", account=str(account.account_id), code=refusal.code)
            except Unavailable as error:
                if not isinstance(error, TimedOut):
                    raise
                log.exception("sweep.timed_out", account=str(account.account_id))
            except Exception:  # noqa: BLE001  # one account that is broken must not hold up all
                log.exception("sweep.failed", account=str(account.account_id))
        if not moved:
            break
        visits += moved
    return visits


async def run_worker(settings: Settings, database: Database, stop: asyncio.Event) -> None:
    """Sweep until told to stop."""
    bus = Bus(settings.redis_url, settings.redis_timeout_seconds)
    feed = Feed(bus)
    credits = Credits(database, feed)
    calls = ModelCalls(database, feed)
    idempotency = Idempotency(database, secret_of(settings))
    bus.start()
    cleared_at = float("-inf")
    loop = asyncio.get_running_loop()
    try:
        while not stop.is_set():
            try:
                # First: what is held for a person is held on, before it would expire.
                await charge_abandoned(calls)
                await sweep(credits)
                if loop.time() - cleared_at >= _CLEAR_EVERY:
                    while await idempotency.clear():
                        pass
                    cleared_at = loop.time()
            except Unavailable as error:
                log.warning("worker.postgres_unavailable", error=str(error))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(settings.sweep_seconds):
                    await stop.wait()
    finally:
        await bus.stop()
