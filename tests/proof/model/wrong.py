"""What may not be asked: another request under a key that is taken, and nonsense."""

from datetime import datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

from app.credits import ExtendRequest, ReleaseRequest, ReserveRequest, SettleRequest
from tests.proof.model.shapes import CREDIT, LARGEST, Reservation
from tests.proof.model.steps import Step


def other(step: Step, random: Random) -> Step:
    """Return another request under the key of a step."""
    args, more = step.args, dict(step.more)
    if step.name in {"reserve", "reserve_set"}:
        first = args[0] if step.name == "reserve" else args[0][0]
        changes: list[dict[str, Any]] = [
            {"amount": first.amount % LARGEST + 1},
            {"feature": "search"},
            {"ttl_seconds": 7},
        ]
        return Step("reserve", (first._replace(**random.choice(changes)),))
    if step.name == "set_limits":
        return Step("set_limits", args, {"overdraft_limit": 7})
    changed: dict[str, Any] = {
        "adjust": 1 if args[0] != 1 else 2,
        "set_allowance": 7 * CREDIT,
    }
    if step.name in {"deduct", "issue_grant"}:
        changed[step.name] = args[0] % LARGEST + 1
    if step.name in changed:
        return Step(step.name, (changed[step.name], *args[1:]), more)
    return Step(step.name, args, more | {"amount": (more.get("amount") or 0) % LARGEST + 1})


def nonsense(made: Reservation | None, unknown: UUID, key: str, now: datetime) -> list[Step]:
    """Return what no request may say; which of two wrongs is told is no rule, so each has one."""
    far, past = now + timedelta(days=3), now - timedelta(days=1)
    held: Any = made
    of_held = [
        Step("extend", (ExtendRequest(held, 0),)),
        Step("extend", (ExtendRequest(held, None, far),)),
        Step("settle", (SettleRequest(held, -1),)),
        Step("settle", (SettleRequest(held, 1, input_tokens=-1),)),
        Step("release", (ReleaseRequest(held, "x" * 1_001),)),
    ]
    return [
        *(of_held if held is not None else []),
        Step("reserve", (ReserveRequest(key, 0),)),
        Step("reserve", (ReserveRequest(key, LARGEST + 1),)),
        Step("reserve", (ReserveRequest("", 1),)),
        Step("reserve", (ReserveRequest(key, 1, 86_401),)),
        Step("reserve_set", ([ReserveRequest(key, 1, 0), ReserveRequest("k" * 256, 1)],)),
        Step("extend", (ExtendRequest(unknown, 1),)),
        Step("settle", (SettleRequest(unknown, 1),)),
        Step("settle_set", ([],)),
        Step("release", (ReleaseRequest(unknown),)),
        Step("deduct", (0, key)),
        Step("deduct", (1, "")),
        Step("issue_grant", (0, "top_up", key)),
        Step("issue_grant", (1, "top_up", key), {"expires_at": past}),
        Step("void_grant", (unknown, key)),
        Step("refund", (key,), {"version": 10**9}),
        Step("refund", (key,), {"reservation": unknown}),
        Step("adjust", (0, key, "by hand")),
        Step("adjust", (1, key, "")),
        Step("adjust", (1, key, "by hand"), {"expires_at": past}),
        Step("forgive_overage", (key, "an apology"), {"amount": LARGEST}),
        Step("set_allowance", (-2, key)),
        Step("set_allowance", (1, key), {"rollover_cap": -1}),
        Step("set_limits", (key,), {"overdraft_limit": -1}),
        Step("set_limits", (key,), {"low_balance_percent": 9}),
    ]
