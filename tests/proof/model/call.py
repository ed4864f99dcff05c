"""How every call begins and ends: under the lock, by its clock, all or nothing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from tests.proof.model.account import Account
from tests.proof.model.due import catch_up
from tests.proof.model.shapes import LARGEST, Refused

BAD_AMOUNT = {"field": "amount", "reason": "must be above 0 and at most 10^12 credits"}
BAD_KEY = {"field": "idempotencyKey", "reason": "must have 1 to 255 characters"}
BAD_SET = {"field": "requests", "reason": "must be 1 to 256 requests"}
BAD_REASON = {"field": "reason", "reason": "must have 1 to 1000 characters"}

R = TypeVar("R")
Q = TypeVar("Q")


@dataclass
class Call:
    """A call under way: the account's time, and whether more is due than it may work."""

    account: Account
    now: datetime
    version_before: int
    due_before: datetime
    is_behind: bool

    def sweep(self) -> None:
        """Reservations past their time end; those that end after what is due wait for it."""
        self.account.expire_overdue(min(self.now, self.account.due_at))

    def end(self) -> None:
        """An account that changed keeps the time, and tells how full it is."""
        if (self.account.version, self.account.due_at) != (self.version_before, self.due_before):
            self.account.clock_at = self.now
            self.account.note_level(self.now)


def begin(account: Account, clock: datetime) -> Call:
    """Time never runs backwards for an account; what is due comes before all else."""
    now = max(clock, account.clock_at)
    before = account.version, account.due_at
    return Call(account, now, *before, catch_up(account, now))


def is_key(key: str) -> bool:
    return 1 <= len(key) <= 255


def check(*, key: str, amount: int | None = None, reason: str | None = None) -> None:
    """Refuse what no request of this kind may say."""
    if not is_key(key):
        raise Refused("VALIDATION_ERROR", BAD_KEY)
    if amount is not None and not 0 < amount <= LARGEST:
        raise Refused("VALIDATION_ERROR", BAD_AMOUNT)
    if reason is not None and not 1 <= len(reason) <= 1000:
        raise Refused("VALIDATION_ERROR", BAD_REASON)


def decide(
    account: Account,
    clock: datetime,
    requests: Sequence[Q],
    row: Callable[..., R],
    names: Sequence[str],
    act: Callable[[Call, Q], dict[str, Any]],
    *,
    call: Call | None = None,
    after: Callable[[Call], None] | None = None,
) -> list[R]:
    """Decide each request of a set in its turn; the last row carries the balance."""
    if not 1 <= len(requests) <= 256:
        raise Refused("VALIDATION_ERROR", BAD_SET)
    if call is None:
        call = begin(account, clock)
    answers: list[dict[str, Any]] = []
    for request in requests:
        try:
            answers.append({"outcome": "OK", "facts": None, **act(call, request)})
        except Refused as no:
            nothing = dict.fromkeys(names)
            answers.append({"outcome": no.code, "facts": no.facts, "replayed": False, **nothing})
    if after is not None:
        after(call)
    call.end()
    return [
        row(ordinal=n, version_before=call.version_before, balance=None, **answer)
        for n, answer in enumerate(answers, 1)
    ]


Mark = tuple[dict[str, Any], list[tuple[Any, dict[str, Any]]]]


def mark(account: Account, *closed: Any) -> Mark:
    """Remember an account as it stands, and of what is closed that which is named."""
    parts = (*account.open_grants, *account.held, *closed)
    return _values(account), [(part, _values(part)) for part in parts]


def _values(thing: Any) -> dict[str, Any]:
    return {
        name: value.copy() if isinstance(value, list | dict) else value
        for name, value in vars(thing).items()
    }


def restore(account: Account, marked: Mark) -> None:
    """Undo all since."""
    whole, parts = marked
    account.__dict__.update(whole)
    for part, values in parts:
        part.__dict__.update(values)


def one(
    account: Account,
    clock: datetime,
    operation: str,
    key: str,
    asked: Any,
    act: Callable[[Call], tuple[Any, ...]],
    *,
    sweeps: bool = False,
) -> tuple[Call, bool, Any]:
    """Work a request of its own, or replay it; who is refused undoes even what was due."""
    marked = mark(account)
    call = begin(account, clock)
    if sweeps:
        # What nobody holds any more shall protect nothing from being taken.
        call.sweep()
    if call.is_behind:
        # What was worked is kept, so that asking again gets there.
        call.end()
        raise Refused("BUSY")
    known, kept = account.keys.get((operation, key), (None, None))
    if kept is None:
        try:
            kept = act(call)
        except Refused:
            restore(account, marked)
            raise
        account.keys[operation, key] = (asked, kept)
        call.end()
        return call, False, kept
    if known != asked:
        restore(account, marked)
        raise Refused("DUPLICATE_REQUEST", {"idempotencyKey": key})
    call.end()
    return call, True, kept
