"""Accounts on which every operation has something to do, and those operations.

All accounts of a scene are alike but for their ids, so that what two of them went
through can be compared.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from app.core.refusals import Refusal
from app.credits import Credits, ExtendRequest, ReleaseRequest, ReserveRequest, SettleRequest
from app.credits.calls import is_held
from db.driver import Connection
from tests.support.accounts import CREDIT, Accounts
from tests.support.clock import Clock, utc
from tests.support.races import Call


@dataclass(frozen=True)
class Scene:
    """When A and B act, and how many credits were spent before."""

    first_at: datetime
    second_at: datetime
    spent: int = 0


@dataclass(frozen=True)
class Stage:
    """One account of a scene: its top-up, the version of its charge, its reservation."""

    account: UUID
    top_up: UUID
    charged: int
    open: UUID


OPENING = utc("2026-01-31 10:00")
RESERVING = utc("2026-02-28 09:30")

SCENES: Final = {
    # 35 credits are available, 10 reserved, 4 reserved by one whose time is over.
    "enough for both": Scene(utc("2026-02-28 09:40"), utc("2026-02-28 09:41")),
    # 10 are available: what the first takes, the second does not find.
    "enough for one": Scene(utc("2026-02-28 09:40"), utc("2026-02-28 09:41"), spent=25),
    # The period has ended and a grant has begun; another ends while B waits.
    "both catch up": Scene(utc("2026-02-28 10:30"), utc("2026-02-28 10:50")),
}

Operation = Callable[[Credits, Stage], Awaitable[object]]


async def _beside_others(credits: Credits, on: Stage, name: str, request: Any) -> object:
    """Ask by the way of many accounts; what is not decided there goes on alone."""
    answers = await getattr(credits, f"{name}_many")([on.account], [request])
    if answers[0] is None or is_held(answers[0]):
        answers = await getattr(credits, f"{name}_set")(on.account, [request])
    return answers


OPERATIONS: Final[dict[str, Operation]] = {
    "reserve": lambda credits, on: credits.reserve_set(
        on.account, [ReserveRequest("race", 8 * CREDIT)]
    ),
    "extend": lambda credits, on: credits.extend_set(
        on.account, [ExtendRequest(on.open, 17 * CREDIT)]
    ),
    "settle": lambda credits, on: credits.settle_set(
        on.account, [SettleRequest(on.open, 13 * CREDIT)]
    ),
    "release": lambda credits, on: credits.release_set(on.account, [ReleaseRequest(on.open)]),
    "reserve beside others": lambda credits, on: _beside_others(
        credits, on, "reserve", ReserveRequest("race", 8 * CREDIT)
    ),
    "settle beside others": lambda credits, on: _beside_others(
        credits, on, "settle", SettleRequest(on.open, 7 * CREDIT)
    ),
    "release beside others": lambda credits, on: _beside_others(
        credits, on, "release", ReleaseRequest(on.open)
    ),
    "expire": lambda credits, on: credits.expire_reservations(on.account),
    "deduct": lambda credits, on: credits.deduct(on.account, 6 * CREDIT, "race"),
    "grant": lambda credits, on: credits.issue_grant(on.account, 5 * CREDIT, "promotional", "race"),
    "void": lambda credits, on: credits.void_grant(on.account, on.top_up, "race"),
    "refund": lambda credits, on: credits.refund(
        on.account, "race", version=on.charged, amount=3 * CREDIT
    ),
    "adjust": lambda credits, on: credits.adjust(on.account, -7 * CREDIT, "race", "mistake"),
    "set_allowance": lambda credits, on: credits.set_allowance(on.account, 12 * CREDIT, "race"),
    "set_limits": lambda credits, on: credits.set_limits(
        on.account, "race", overdraft_limit=5 * CREDIT
    ),
    "catch_up": lambda credits, on: credits.catch_up(on.account),
}


async def stages(
    count: int, scene: Scene, credits: Credits, accounts: Accounts, clock: Clock
) -> list[Stage]:
    """Make accounts that are all alike."""
    await clock.set(OPENING)
    project = await accounts.project(period_grant=20 * CREDIT)
    opened = [await _open(project, scene.spent, credits, accounts) for _ in range(count)]
    await clock.set(RESERVING)
    return [
        Stage(account, top_up, charged, await _reserve(account, credits))
        for account, top_up, charged in opened
    ]


async def _open(
    project: UUID, spent: int, credits: Credits, accounts: Accounts
) -> tuple[UUID, UUID, int]:
    account = await accounts.open(project_id=project)
    top_up = await credits.issue_grant(account, 30 * CREDIT, "top_up", "top-up")
    await credits.issue_grant(
        account, 8 * CREDIT, "promotional", "promotion", expires_at=utc("2026-02-28 10:45")
    )
    await credits.issue_grant(
        account, 5 * CREDIT, "promotional", "gift", effective_at=utc("2026-02-28 10:15")
    )
    held = await credits.reserve(account, ReserveRequest("charged", 12 * CREDIT))
    charged = await credits.settle(account, SettleRequest(held.reservation_id, 9 * CREDIT))
    if spent:
        await credits.deduct(account, spent * CREDIT, "spent")
    return account, top_up.grant_id, charged.version


async def _reserve(account: UUID, credits: Credits) -> UUID:
    held, _ = await credits.reserve_set(
        account,
        [
            ReserveRequest("open", 10 * CREDIT, ttl_seconds=86_400),
            ReserveRequest("abandoned", 4 * CREDIT, ttl_seconds=60),
        ],
    )
    return held.reservation_id


async def answer(operation: Operation, credits: Credits, on: Stage) -> str:
    """Return what an operation answers, a refusal with its facts among it."""
    try:
        return repr(await operation(credits, on))
    except Refusal as refusal:
        return f"{refusal.code} {refusal.facts}"


def turn(operation: Operation, on: Stage) -> Call[str]:
    """Return an operation as one side of a race."""
    return lambda session: answer(operation, session.credits, on)


# Every table of an account with an order that does not depend on ids. Fingerprints are
# left out: they are made of ids.
_BOOKS: Final = {
    "credits.accounts": "account_id",
    "credits.grants": "created_at, version, operation, source, idempotency_key",
    "credits.reservations": "opened_version",
    "credits.reservation_extensions": "version",
    "credits.transactions": "version",
    "credits.account_changes": "version",
    "credits.grant_voids": "created_at, idempotency_key",
    "credits.findings": "kind",
    "usage.records": "version",
    "events.outbox": "version, type",
}
_ALL_BOOKS: Final = " union all ".join(
    f"select '{table}', jsonb_agg(to_jsonb(t) - 'fingerprint' order by {order})"  # noqa: S608
    f" from {table} as t where account_id = $1"
    for table, order in _BOOKS.items()
)
_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


async def story(admin: Connection, on: Stage, *answers: str) -> list[str]:
    """Return every row of an account and the answers it gave, with ids by place of mention."""
    rows = await admin.fetch(_ALL_BOOKS, on.account)
    names: dict[str, str] = {}
    return [
        _ID.sub(lambda found: names.setdefault(found[0], f"id-{len(names)}"), line)
        for line in (*(f"{table}: {content}" for table, content in rows), *answers)
    ]
