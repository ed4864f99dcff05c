"""Credits: accounts, grants, reservations, the ledger, and the live feed of balances.

Every movement is one SQL function of `db/functions/credits`; `Credits` has one method
for each and does nothing but name the arguments, type the row, and hand the row to the
feed. No arithmetic on credits happens in Python.
"""

from app.credits.credits import Credits
from app.credits.rows import (
    Actor,
    Balance,
    ExtendRequest,
    ReleaseRequest,
    ReserveRequest,
    SettleRequest,
)

__all__ = [
    "Actor",
    "Balance",
    "Credits",
    "ExtendRequest",
    "ReleaseRequest",
    "ReserveRequest",
    "SettleRequest",
]
