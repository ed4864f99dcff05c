"""The database's clock, moved by tests."""

from datetime import UTC, datetime, timedelta

from db.driver import Connection

# Replaces core.clock() in the template, and there alone.
TEST_CLOCK = """
create table core.test_clock (fixed timestamptz, shift interval not null default '0');
insert into core.test_clock default values;
grant select on core.test_clock to public;
create or replace function core.clock()
returns timestamptz
language sql volatile
as $$ select coalesce(c.fixed, clock_timestamp()) + c.shift from core.test_clock as c $$;
"""


def utc(text: str) -> datetime:
    """Return an instant written as `2026-01-31 10:00`."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


class Clock:
    """Stops at what it is set to; runs again after `release`."""

    def __init__(self, admin: Connection) -> None:
        self._admin = admin

    async def now(self) -> datetime:
        now: datetime = await self._admin.fetchval("select core.clock()")
        return now

    async def set(self, at: datetime) -> None:
        await self._admin.execute("update core.test_clock set fixed = $1, shift = '0'", at)

    async def advance(self, by: timedelta) -> datetime:
        await self._admin.execute("update core.test_clock set shift = shift + $1", by)
        return await self.now()

    async def release(self) -> None:
        await self._admin.execute("update core.test_clock set fixed = null, shift = '0'")
