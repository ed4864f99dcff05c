"""Many accounts that are alike to the id: one is made through the functions and copied.

What is unique is unique within an account, so a copy keeps all ids but the account's own.
The audit at the end looks at the copies as at any account.
"""

from collections import deque
from dataclasses import dataclass, field, replace
from typing import Final
from uuid import UUID, uuid4

from db.driver import Connection
from tests.races.scenes import Stage

# In the order in which rows refer to one another.
_TABLES: Final = {
    "identity.organizations": "id",
    "credits.accounts": "account_id",
    "credits.grants": "account_id",
    "credits.reservations": "account_id",
    "credits.reservation_extensions": "account_id",
    "credits.transactions": "account_id",
    "credits.account_changes": "account_id",
    "credits.grant_voids": "account_id",
    "credits.findings": "account_id",
    "usage.records": "account_id",
    "events.outbox": "account_id",
}
_AT_ONCE: Final = 200


@dataclass
class Copies:
    """Unused copies of one stage, made as they are asked for."""

    admin: Connection
    original: Stage
    _ready: deque[Stage] = field(default_factory=deque)

    async def take(self) -> Stage:
        """Return an account that nothing was done to."""
        if not self._ready:
            ids = [uuid4() for _ in range(_AT_ONCE)]
            await self._copy(ids)
            self._ready.extend(replace(self.original, account=one) for one in ids)
        return self._ready.popleft()

    async def _copy(self, ids: list[UUID]) -> None:
        async with self.admin.transaction():
            for table, key in _TABLES.items():
                await self.admin.execute(
                    f"insert into {table} select r.* from {table} as t"  # noqa: S608  # our own names
                    " cross join unnest($2::uuid[]) as n (id) cross join lateral"
                    f" jsonb_populate_record(t, jsonb_build_object('{key}', n.id)) as r"
                    f" where t.{key} = $1",
                    self.original.account,
                    ids,
                )
