"""Many callers on few accounts at once, with all that they were told written down."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Any
from uuid import UUID

from app.core.database import Database
from app.core.refusals import Refusal
from app.credits import Credits, ExtendRequest, ReleaseRequest, ReserveRequest, SettleRequest
from app.credits.calls import is_held
from app.credits.lines import Apart
from db.driver import Connection
from tests.proof.history.check import Recorder
from tests.proof.model.account import Account
from tests.proof.model.shapes import CREDIT, Policy
from tests.proof.model.terms import opened
from tests.support.accounts import Accounts
from tests.support.clock import Clock, utc

CALLERS = 64
ACCOUNTS = 8
# Calls between which the clock moves.
PHASE = 1_000
BEGIN = utc("2027-01-31 09:30")
TERMS = {
    "period_grant": 100 * CREDIT,
    "rollover_cap": 30 * CREDIT,
    "overdraft_limit": 5 * CREDIT,
}
WEIGHTS = {
    "reserve": 12,
    "reserve_set": 6,
    "settle": 10,
    "settle_set": 5,
    "extend": 4,
    "release": 4,
    "release_set": 2,
    "deduct": 8,
    "issue_grant": 4,
    "void_grant": 1,
    "refund": 3,
    "adjust": 3,
    "set_limits": 1,
    "check_balance": 8,
    "again": 8,
}
Asked = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass
class Known:
    """What callers know of one account: they share it, and so do each other's work."""

    account: Account
    reservations: list[UUID] = field(default_factory=list)
    charges: list[int] = field(default_factory=list)
    grants: list[UUID] = field(default_factory=list)
    spendable: int = 0
    asked: list[tuple[str, Asked]] = field(default_factory=list)

    def learn(self, name: str, row: Any) -> None:
        """Keep what an answer told that one may act on."""
        if name in {"reserve", "reserve_set"}:
            self.reservations.append(row.reservation_id)
        elif name in {"settle", "settle_set", "deduct"}:
            self.charges.append(row.version)
        elif name == "issue_grant":
            self.grants.append(row.grant_id)
        if row.balance is not None:
            self.spendable = row.balance.spendable


class _Together(Apart):
    """Nobody keeps to itself, however often it could not be decided: both ways are met often."""

    def add(self, account_id: UUID, now: float) -> None:
        """Note nothing."""


class Watched(Credits):
    """Counts what was decided in one statement with requests of other accounts."""

    def __init__(self, database: Database, outcomes: Counter[str]) -> None:
        self._outcomes = outcomes
        super().__init__(database)
        for batches in (self._reserving, self._settling, self._releasing):
            batches._apart = _Together()

    async def _decide_many(self, operation: str, /, *args: Any, **more: Any) -> list[Any]:
        answers = await super()._decide_many(operation, *args, **more)
        if len({*more["p_account_ids"]}) > 1:
            decided = sum(answer is not None and not is_held(answer) for answer in answers)
            self._outcomes[f"{operation} beside other accounts"] += decided
        return answers


class Callers:
    """Plays; `recorder.calls` is the history, `accounts` the models that it begins with."""

    def __init__(self, database: Database, admin: Connection, seed: int) -> None:
        self._database = database
        self._clock = Clock(admin)
        self._made = Accounts(database, admin)
        self._random = Random(seed)
        self._known: list[Known] = []
        self._keys = 0
        self.outcomes: Counter[str] = Counter()
        self.recorder = Recorder(Watched(database, self.outcomes), BEGIN)

    @property
    def accounts(self) -> list[Account]:
        return [known.account for known in self._known]

    async def play(self, count: int) -> None:
        """Play so many calls, in phases between which time moves."""
        await self._clock.set(BEGIN)
        project = await self._made.project(**TERMS)
        for n in range(ACCOUNTS):
            made: UUID = await self._database.value(
                "select id from identity.create_organization(p_project_id => $1, p_name => $2)",
                project,
                f"{n}",
            )
            self._known.append(Known(opened(made, BEGIN, Policy(), **TERMS)))
        while len(self.recorder.calls) < count:
            await self._begin_phase()
            each = max(1, min(PHASE, count - len(self.recorder.calls)) // CALLERS)
            seeds = [self._random.random() for _ in range(CALLERS)]
            await asyncio.gather(*(self._caller(Random(seed), each) for seed in seeds))

    async def _begin_phase(self) -> None:
        """Let time pass; what is due then is worked before many ask at once."""
        minutes = self._random.choice([1, 30, 600, 3_000, 20_000])
        self.recorder.clock += timedelta(minutes=minutes)
        await self._clock.set(self.recorder.clock)
        for known in self._known:
            await self.recorder.catch_up(known.account.id)
            await self.recorder.expire_reservations(known.account.id)
            await self._call(known, "issue_grant", ((40 * CREDIT, "top_up", self._key()), {}))

    async def _caller(self, chance: Random, count: int) -> None:
        for _ in range(count):
            known = chance.choice(self._known)
            [name] = chance.choices(list(WEIGHTS), list(WEIGHTS.values()))
            if name == "again" and known.asked:
                # Perhaps while the first of them is under way.
                name, asked = chance.choice(known.asked[-8:])
            else:
                name = "check_balance" if name == "again" else name
                choose: Callable[[Random, Known], Asked] = getattr(self, f"_{name}")
                asked = choose(chance, known)
                known.asked = [*known.asked[-40:], (name, asked)]
            await self._call(known, name, asked)

    async def _call(self, known: Known, name: str, asked: Asked) -> None:
        args, more = asked
        try:
            answer = await getattr(self.recorder, name)(known.account.id, *args, **more)
        except Refusal as refusal:
            self.outcomes[f"{name} {refusal.code}"] += 1
            return
        for row in answer if isinstance(answer, list) else [answer]:
            outcome = getattr(row, "outcome", "OK")
            self.outcomes[f"{name} {outcome}"] += 1
            if outcome == "OK":
                known.learn(name, row)

    # What is asked: near what can be spent, and of what others do.

    def _key(self) -> str:
        self._keys += 1
        return f"k{self._keys}"

    def _amount(self, chance: Random, known: Known) -> int:
        if chance.random() < 0.3:
            return max(1, known.spendable + chance.choice([-1, 0, 1]))
        return chance.randint(1, max(1, known.spendable // 5, 2 * CREDIT))

    def _held(self, chance: Random, known: Known) -> UUID:
        # The newest, so that many are at the same ones.
        some = known.reservations[-12:]
        return chance.choice(some) if some else UUID(int=chance.getrandbits(128), version=4)

    def _reserve(self, chance: Random, known: Known) -> Asked:
        return (ReserveRequest(self._key(), self._amount(chance, known), 600),), {}

    def _reserve_set(self, chance: Random, known: Known) -> Asked:
        some = [
            ReserveRequest(self._key(), self._amount(chance, known), 86_400)
            for _ in range(chance.randint(1, 5))
        ]
        return ([*some, chance.choice(some)],), {}

    def _settle_request(self, chance: Random, known: Known) -> SettleRequest:
        amount = chance.choice([0, CREDIT, chance.randint(0, 4 * CREDIT)])
        return SettleRequest(self._held(chance, known), amount)

    def _settle(self, chance: Random, known: Known) -> Asked:
        return (self._settle_request(chance, known),), {}

    def _settle_set(self, chance: Random, known: Known) -> Asked:
        some = [self._settle_request(chance, known) for _ in range(chance.randint(1, 5))]
        return (some,), {}

    def _extend(self, chance: Random, known: Known) -> Asked:
        amount = self._amount(chance, known) + chance.randint(0, 3 * CREDIT)
        return (ExtendRequest(self._held(chance, known), amount),), {}

    def _release(self, chance: Random, known: Known) -> Asked:
        return (ReleaseRequest(self._held(chance, known)),), {}

    def _release_set(self, chance: Random, known: Known) -> Asked:
        some = [ReleaseRequest(self._held(chance, known)) for _ in range(chance.randint(1, 4))]
        return (some,), {}

    def _deduct(self, chance: Random, known: Known) -> Asked:
        return (self._amount(chance, known), self._key()), {}

    def _issue_grant(self, chance: Random, _: Known) -> Asked:
        more: dict[str, Any] = {"priority": chance.choice([10, 50])}
        if chance.random() < 0.5:
            more["expires_at"] = self.recorder.clock + timedelta(days=chance.randint(1, 9))
        return (chance.randint(1, 6 * CREDIT), "promotional", self._key()), more

    def _void_grant(self, chance: Random, known: Known) -> Asked:
        given = chance.choice(known.grants[-9:])
        return (given, self._key()), {"missing_becomes_overage": chance.random() < 0.3}

    def _refund(self, chance: Random, known: Known) -> Asked:
        version = chance.choice(known.charges[-9:]) if known.charges else 1
        amount = chance.choice([None, 1, CREDIT])
        return (self._key(),), {"version": version, "amount": amount}

    def _adjust(self, chance: Random, known: Known) -> Asked:
        amount = chance.choice([-1, -1, 1]) * self._amount(chance, known)
        return (amount, self._key(), "by hand"), {}

    def _set_limits(self, chance: Random, _: Known) -> Asked:
        limit = chance.choice([0, 5 * CREDIT, 20 * CREDIT])
        return (self._key(),), {"overdraft_limit": limit}

    def _check_balance(self, chance: Random, known: Known) -> Asked:
        return (self._amount(chance, known),), {}
