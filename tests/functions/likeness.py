"""Accounts that live the same life: their books and answers, with ids called by order."""

import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

from db.driver import Connection
from tests.support.accounts import MONEY_TABLES

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")
# The order in which rows are met, the same for both: no id takes part in it.
_ORDER = {
    "credits.accounts": "version",
    "credits.grants": "created_at, idempotency_key, operation, amount, category",
    "credits.reservations": "idempotency_key",
    "credits.reservation_extensions": "version",
    "credits.transactions": "version",
    "credits.account_changes": "version",
    "credits.grant_voids": "version",
    "usage.records": "version",
    "events.outbox": "version, type",
}


class Names:
    """Calls ids by the order in which they are met."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def of(self, value: object) -> str:
        return _ID.sub(lambda m: self._names.setdefault(m[0], f"id{len(self._names)}"), str(value))


async def books(admin: Connection, account: UUID) -> list[str]:
    """Return every row about an account, its ids called by order."""
    assert _ORDER.keys() == set(MONEY_TABLES)
    names = Names()
    names.of(account)
    told = []
    for table, order in _ORDER.items():
        rows = await admin.fetch(
            f"select to_jsonb(t) as row from {table} as t where account_id = $1 order by {order}",  # noqa: S608
            account,
        )
        told += [f"{table} {names.of(sorted(row['row'].items()))}" for row in rows]
    return told


def answers_of(rows: Sequence[Any], account: UUID) -> list[str]:
    """Return what was answered to one account, ids called by order."""
    names = Names()
    names.of(account)
    told = []
    for row in rows:
        answer = asdict(row)
        del answer["ordinal"]
        told.append(names.of(answer))
    return told
