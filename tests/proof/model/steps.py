"""One operation, played on the product and on the model."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeVar

from app.core.refusals import Refusal
from app.credits import Credits
from app.credits.batches import SET_LIMIT
from tests.proof.model import gives, terms, uses
from tests.proof.model.account import Account
from tests.proof.model.shapes import Grant, Refused, Reservation

_Player = TypeVar("_Player")


def _single(decide: Callable[..., Sequence[Any]]) -> Callable[..., Any]:
    """Return what decides one request as `Credits` does: a row, or a refusal."""

    def decided(account: Account, clock: datetime, request: Any) -> Any:
        [row] = decide(account, clock, [request])
        if row.outcome != "OK":
            raise Refused(row.outcome, row.facts)
        return row

    return decided


MODEL: dict[str, Callable[..., Any]] = {
    "reserve": _single(uses.reserve),
    "reserve_set": uses.reserve,
    "extend": _single(uses.extend),
    "extend_set": uses.extend,
    "settle": _single(uses.settle),
    "settle_set": uses.settle,
    "release": _single(uses.release),
    "release_set": uses.release,
    "expire_reservations": uses.expire_reservations,
    "catch_up": uses.catch_up,
    "check_balance": uses.check_balance,
    "deduct": uses.deduct,
    "issue_grant": gives.issue_grant,
    "void_grant": gives.void_grant,
    "refund": gives.refund,
    "adjust": gives.adjust,
    "forgive_overage": gives.forgive_overage,
    "set_allowance": terms.set_allowance,
    "set_limits": terms.set_limits,
}
# What is first asked by the way of many accounts, half of the time; and what that is called.
MANY = {
    "reserve": "reserve_many",
    "reserve_set": "reserve_many",
    "settle": "settle_many",
    "settle_set": "settle_many",
    "release": "release_many",
    "release_set": "release_many",
}
# Where the model's argument has another name: it takes the thing, not its id.
_RENAMED = {"reservation": "reservation_id"}


@dataclass(frozen=True)
class Step:
    """An operation by its method's name, with the model's grants and reservations in it."""

    name: str
    args: tuple[Any, ...] = ()
    more: dict[str, Any] = field(default_factory=dict)
    asks_many: bool = False

    async def on_product(self, credits: Credits, account: Account) -> Any:
        """Return the product's answer, or its refusal."""
        more = {_RENAMED.get(name, name): _sent(value) for name, value in self.more.items()}
        try:
            return await getattr(credits, self.name)(account.id, *map(_sent, self.args), **more)
        except Refusal as refusal:
            return refusal

    def requests(self) -> list[Any]:
        """Return what it asks of one account by the way of many."""
        [asked] = self.args
        sent: list[Any] = _sent(asked if isinstance(asked, list) else [asked])
        return sent

    def on_model(self, account: Account, clock: datetime) -> Any:
        """Return the model's answer, or its refusal."""
        try:
            return MODEL[self.name](account, clock, *self.args, **self.more)
        except Refused as refusal:
            return refusal

    def told(self) -> str:
        """Return it as one may type it."""
        parts = [_written(arg) for arg in self.args]
        parts += [f"{name}={_written(value)}" for name, value in self.more.items()]
        first = f"{MANY[self.name]}, or " if self.asks_many else ""
        return f"{first}{self.name}({', '.join(parts)})"


async def ask_many(credits: Credits, asked: Sequence[tuple[Account, Step]]) -> list[Any]:
    """Ask of several accounts in one call what decides only what is plain.

    Returns the answer to each step, or None where nothing was decided.
    """
    parts = [(account, step.requests()) for account, step in asked]
    accounts = [account.id for account, requests in parts for _ in requests]
    decide = getattr(credits, MANY[asked[0][1].name])
    answers = await decide(accounts, [each for _, requests in parts for each in requests])
    told, at = [], 0
    for (_, step), (_, requests) in zip(asked, parts, strict=True):
        told.append(_of_many(step, answers[at : at + len(requests)], at))
        at += len(requests)
    return told


def sets_of(players: Sequence[_Player], steps: Mapping[_Player, Step]) -> Iterator[list[_Player]]:
    """Yield those who fit into one call, which takes as many requests as a set."""
    some: list[_Player] = []
    size = 0
    for player in players:
        requests = len(steps[player].requests())
        if not requests:
            # Refused alone, and nothing beside others.
            yield [player]
            continue
        if some and size + requests > SET_LIMIT:
            yield some
            some, size = [], 0
        some.append(player)
        size += requests
    if some:
        yield some


def _of_many(step: Step, answers: Sequence[Any], before: int) -> Any:
    if None in answers:
        # All of an account, or nothing.
        assert set(answers) == {None}
        return None
    # Counted from its own first, not from that of the call.
    *others, last = [replace(each, ordinal=each.ordinal - before) for each in answers]
    if not isinstance(step.args[0], list):
        return last
    return [*(replace(answer, balance=None) for answer in others), last]


def _sent(value: Any) -> Any:
    if isinstance(value, Grant | Reservation):
        return value.id
    if isinstance(value, list):
        return [_sent(each) for each in value]
    if hasattr(value, "_replace") and hasattr(value, "reservation_id"):
        return value._replace(reservation_id=_sent(value.reservation_id))
    return value


def _written(value: Any) -> str:
    if isinstance(value, Grant):
        return f"grant#{value.order}"
    if isinstance(value, Reservation):
        return f"reservation@{value.opened_version}"
    if isinstance(value, list):
        return f"[{', '.join(map(_written, value))}]"
    if hasattr(value, "_asdict"):
        said = {k: v for k, v in value._asdict().items() if v is not None}
        inside = ", ".join(f"{k}={_written(v)}" for k, v in said.items())
        return f"{type(value).__name__}({inside})"
    if isinstance(value, str) and len(value) > 40:
        return f"{value[0]!r} * {len(value)}"
    return value.isoformat() if isinstance(value, datetime) else repr(value)
