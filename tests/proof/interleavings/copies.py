"""Many accounts that are alike to the id: one is made through the functions and copied.

The audit at the end looks at the copies as at any account.
"""

from collections import deque
from dataclasses import dataclass, field, replace
from typing import Final
from uuid import uuid4

from benchmarks.books import copy_account
from db.driver import Connection
from tests.races.scenes import Stage

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
            async with self.admin.transaction():
                await copy_account(self.admin, self.original.account, ids)
            self._ready.extend(replace(self.original, account=one) for one in ids)
        return self._ready.popleft()
