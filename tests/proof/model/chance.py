"""What is asked of an account: by chance, but near the edges, and again with the same keys."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

from app.credits import ExtendRequest, ReleaseRequest, ReserveRequest, SettleRequest
from tests.proof.model.account import Account
from tests.proof.model.shapes import CREDIT, LARGEST, Grant, Reservation
from tests.proof.model.steps import MANY, Step
from tests.proof.model.wrong import nonsense, other

WEIGHTS = {
    "reserve": 14,
    "reserve_set": 5,
    "extend": 5,
    "extend_set": 2,
    "settle": 12,
    "settle_set": 5,
    "release": 4,
    "release_set": 2,
    "deduct": 7,
    "issue_grant": 6,
    "void_grant": 3,
    "refund": 4,
    "adjust": 3,
    "forgive_overage": 2,
    "set_allowance": 3,
    "set_limits": 2,
    "expire_reservations": 3,
    "catch_up": 2,
    "check_balance": 4,
    "again": 7,
    "nonsense": 3,
    "crowd": 1,
}
SECONDS = (1, 2, 5, 10, 30, 60, 300, 3_600, 7_200, 86_400)
SPANS = (
    *(timedelta(seconds=s) for s in SECONDS),
    *(timedelta(days=d) for d in (2, 5, 30, 31, 45)),
)
# One more than a call works.
CROWD = 123


@dataclass
class Chance:
    """Chooses what to ask of one account next."""

    random: Random
    account: Account
    is_vast: bool
    keys: int = 0
    # Steps that have a key, and what is still to be asked one after the other.
    asked: list[Step] = field(default_factory=list)
    waiting: list[Step] = field(default_factory=list)

    def next(self, now: datetime) -> Step:
        """Return the next step."""
        if self.waiting:
            return self.waiting.pop()
        while True:
            [name] = self.random.choices(list(WEIGHTS), list(WEIGHTS.values()))
            choose: Callable[[datetime], Step | None] = getattr(self, f"_{name}")
            step = choose(now)
            if step is None:
                continue
            if step.name in MANY:
                step = replace(step, asks_many=self.random.random() < 0.5)
            return step

    def _key(self) -> str:
        self.keys += 1
        return f"k{self.keys}"

    def _keyed(self, step: Step) -> Step:
        self.asked = [*self.asked[-40:], step]
        return step

    def _amount(self) -> int:
        """Return an amount near an edge, or a small one."""
        account, random = self.account, self.random
        if self.is_vast and random.random() < 0.5:
            return random.choice([LARGEST, LARGEST // 10, LARGEST // 3])
        edge = random.choice([account.spendable, account.available, account.overage, 1])
        chosen = edge + random.choice([-1, 0, 0, 1])
        if random.random() < 0.75:
            chosen = random.randint(1, max(1, account.spendable // 6))
        if random.random() < 0.1:
            chosen = random.randint(1, 60 * CREDIT)
        return min(LARGEST, max(1, chosen))

    def _of(self, whole: int) -> int:
        """Return about so much: all, one more or less, part of it."""
        choices = [whole, whole + 1, whole - 1, whole // 2, self.random.randint(0, whole + 1)]
        return min(LARGEST, max(1, self.random.choice(choices)))

    def _reservation(self) -> Reservation | None:
        """Return a reservation, mostly one that is open."""
        account = self.account
        if account.held and self.random.random() < 0.75:
            return self.random.choice(account.held)
        known = account.reservations[-30:]
        return self.random.choice(known) if known else None

    # Credits in use.

    def _reserve_request(self) -> ReserveRequest:
        return ReserveRequest(
            self._key(),
            self._amount(),
            self.random.choice(SECONDS),
            feature=self.random.choice([None, "chat"]),
        )

    def _reserve(self, _: datetime) -> Step | None:
        # So many at once are enough: some must be settled.
        if len(self.account.held) > 25:
            return None
        return self._keyed(Step("reserve", (self._reserve_request(),)))

    def _reserve_set(self, _: datetime) -> Step | None:
        if len(self.account.held) > 25:
            return None
        requests = [self._reserve_request() for _ in range(self.random.randint(1, 6))]
        if self.random.random() < 0.4:
            twin = self.random.choice(requests)
            if self.random.random() < 0.3:
                twin = twin._replace(amount=twin.amount % LARGEST + 1)
            requests.append(twin)
        if self.random.random() < 0.1:
            requests.append(requests[0]._replace(idempotency_key=self._key(), amount=0))
        self.random.shuffle(requests)
        return self._keyed(Step("reserve_set", (requests,)))

    def _extend_request(self, now: datetime) -> ExtendRequest | None:
        made = self._reservation()
        if made is None:
            return None
        room = self.account.spendable
        amount = self.random.choice(
            [None, made.amount, made.amount + room, made.amount + room + 1, made.amount + 1]
        )
        if self.random.random() < 0.5:
            amount = made.amount + self.random.randint(0, room // 4)
        if amount is not None:
            amount = min(amount, LARGEST)
        until = self.random.choice([None, now + timedelta(seconds=self.random.choice(SECONDS))])
        held: Any = made
        return ExtendRequest(held, amount, until)

    def _extend(self, now: datetime) -> Step | None:
        request = self._extend_request(now)
        return Step("extend", (request,)) if request else None

    def _extend_set(self, now: datetime) -> Step | None:
        some = [self._extend_request(now) for _ in range(self.random.randint(1, 4))]
        requests = [request for request in some if request is not None]
        return Step("extend_set", (requests,)) if requests else None

    def _settle_request(self) -> SettleRequest | None:
        made = self._reservation()
        if made is None:
            return None
        held: Any = made
        amount = self.random.choice([0, 1, made.amount - 1, made.amount, made.amount])
        if self.random.random() < 0.5:
            amount = self.random.randint(0, made.amount)
        if self.random.random() < 0.12:
            amount = made.amount + self.account.spendable + self.random.randint(-1, 2 * CREDIT)
        if self.random.random() < 0.06:
            policy = self.account.policy
            limit = max(policy.settle_limit_floor, policy.settle_limit_factor * made.amount)
            amount = limit + self.random.choice([0, 1, 1, 1])
        if made.settled_amount is not None and self.random.random() < 0.6:
            amount = made.settled_amount
        if self.is_vast and self.random.random() < 0.5:
            amount = LARGEST // self.random.choice([1, 5, 10])
        return SettleRequest(held, min(LARGEST, max(0, amount)))

    def _settle(self, _: datetime) -> Step | None:
        request = self._settle_request()
        return Step("settle", (request,)) if request else None

    def _settle_set(self, _: datetime) -> Step | None:
        some = [self._settle_request() for _ in range(self.random.randint(1, 6))]
        requests = [request for request in some if request is not None]
        if requests and self.random.random() < 0.3:
            requests.append(self.random.choice(requests))
        return Step("settle_set", (requests,)) if requests else None

    def _release_request(self) -> ReleaseRequest | None:
        made: Any = self._reservation()
        return ReleaseRequest(made) if made is not None else None

    def _release(self, _: datetime) -> Step | None:
        request = self._release_request()
        return Step("release", (request,)) if request else None

    def _release_set(self, _: datetime) -> Step | None:
        some = [self._release_request() for _ in range(self.random.randint(1, 5))]
        requests = [request for request in some if request is not None]
        return Step("release_set", (requests,)) if requests else None

    def _deduct(self, _: datetime) -> Step:
        feature = self.random.choice([None, "chat"])
        return self._keyed(Step("deduct", (self._amount(), self._key()), {"feature": feature}))

    def _expire_reservations(self, _: datetime) -> Step:
        return Step("expire_reservations")

    def _catch_up(self, _: datetime) -> Step:
        return Step("catch_up")

    def _check_balance(self, _: datetime) -> Step:
        return Step("check_balance", (self.random.choice([0, self._amount()]),))

    # Credits that are given and taken back.

    def _issue_grant(self, now: datetime) -> Step | None:
        random = self.random
        if len(self.account.open_grants) > 40:
            return None
        more: dict[str, Any] = {
            "priority": random.choice([50, 50, 50, 10, 0, 90]),
            "category": random.choice([None, None, "paid", "promotional"]),
        }
        starts = now
        if random.random() < 0.3:
            starts = now + random.choice([-1, 1, 1, 1]) * random.choice(SPANS)
            more["effective_at"] = starts
        if random.random() < 0.6:
            more["expires_at"] = max(starts, now) + random.choice(SPANS)
        amount = random.choice([1, CREDIT, self._of(30 * CREDIT), random.randint(1, 90 * CREDIT)])
        if self.account.overage:
            amount = self._of(self.account.overage)
        if self.is_vast:
            amount = random.choice([LARGEST, LARGEST, LARGEST // 7])
        source = random.choice(["top_up", "top_up", "promotional", "referral", "admin_adjustment"])
        return self._keyed(Step("issue_grant", (amount, source, self._key()), more))

    def _void_grant(self, _: datetime) -> Step | None:
        known = [g for g in self.account.grants if g.id is not None][-25:]
        open_still = [g for g in self.account.open_grants if g.id is not None]
        if not known:
            return None
        given: Grant = self.random.choice(open_still or known)
        if self.random.random() < 0.3:
            given = self.random.choice(known)
        more: dict[str, Any] = {}
        if self.random.random() < 0.5:
            more["amount"] = self._of(given.amount - given.voided)
        if self.random.random() < 0.4:
            more["missing_becomes_overage"] = True
        return self._keyed(Step("void_grant", (given, self._key()), more))

    def _refund(self, _: datetime) -> Step | None:
        charges = [e for e in self.account.ledger[-60:] if e.type == "consumption"]
        if not charges:
            return None
        entry = self.random.choice(charges)
        more: dict[str, Any] = {"version": entry.version}
        if self.random.random() < 0.05:
            more = {"version": self.random.randint(1, self.account.version)}
        elif entry.reservation is not None and self.random.random() < 0.5:
            more = {"reservation": entry.reservation}
        elif self.random.random() < 0.1 and self.account.reservations:
            more = {"reservation": self.random.choice(self.account.reservations[-20:])}
        if self.random.random() < 0.7:
            done = sum(g.amount for g in self.account.grants if g.refund_of == entry.version)
            more["amount"] = self._of(-entry.amount - done)
        return self._keyed(Step("refund", (self._key(),), more))

    def _adjust(self, now: datetime) -> Step:
        amount, more = self._of(20 * CREDIT), {}
        if self.is_vast and self.random.random() < 0.3:
            amount = LARGEST
        elif self.random.random() < 0.6:
            amount = -self._of(self.random.choice([self.account.available, CREDIT]))
        elif self.random.random() < 0.4:
            more["expires_at"] = now + self.random.choice(SPANS)
        return self._keyed(Step("adjust", (amount, self._key(), "by hand"), more))

    def _forgive_overage(self, _: datetime) -> Step | None:
        owed = self.account.unfunded
        if owed == 0 and self.random.random() < 0.8:
            return None
        more = {"amount": self._of(owed)} if self.random.random() < 0.6 else {}
        return self._keyed(Step("forgive_overage", (self._key(), "an apology"), more))

    # Terms.

    def _set_allowance(self, now: datetime) -> Step:
        random, account = self.random, self.account
        allowance = random.choice(
            [0, 10 * CREDIT, 33_333_333, 100 * CREDIT, account.period_grant, account.period_grant]
        )
        if random.random() < 0.08 or (account.is_unlimited and random.random() < 0.6):
            allowance = -1
        more: dict[str, Any] = {"takes_effect": random.choice(["now", "now", "period_end"])}
        if random.random() < 0.4:
            more["rollover_cap"] = random.choice([0, 5 * CREDIT, 40 * CREDIT, 500 * CREDIT])
        if random.random() < 0.5:
            day = timedelta(days=1)
            more["funded_until"] = random.choice(
                [
                    account.period_start,
                    account.period_end,
                    account.period_end + timedelta(microseconds=1),
                    now + 40 * day,
                    now + 4_000 * day,
                    now + 4_000 * day,
                ]
            )
        return self._keyed(Step("set_allowance", (allowance, self._key()), more))

    def _set_limits(self, _: datetime) -> Step:
        more: dict[str, Any] = {}
        if self.random.random() < 0.8:
            more["overdraft_limit"] = self.random.choice([0, 1, 5 * CREDIT, 60 * CREDIT])
        if self.random.random() < 0.5:
            more["low_balance_percent"] = self.random.choice([10, 20, 33, 50])
        return self._keyed(Step("set_limits", (self._key(),), more))

    # The same keys again, and what no request may say.

    def _again(self, _: datetime) -> Step | None:
        if not self.asked:
            return None
        step = self.random.choice(self.asked)
        if self.random.random() < 0.65:
            return step
        return other(step, self.random)

    def _nonsense(self, now: datetime) -> Step:
        unknown = UUID(int=self.random.getrandbits(128), version=4)
        choices = nonsense(self._reservation(), unknown, self._key(), now)
        return self.random.choice(choices)

    def _crowd(self, now: datetime) -> Step | None:
        """More grants than one call can end, each a second after the other."""
        if self.random.random() < 0.97 or len(self.account.open_grants) > 60:
            return None
        first = now + timedelta(seconds=self.random.choice([400, 4_000]))
        for n in range(CROWD):
            ends = first + timedelta(seconds=n)
            args = (self.random.randint(1, 9), "promotional", self._key())
            self.waiting.append(Step("issue_grant", args, {"priority": 60, "expires_at": ends}))
        return self.waiting.pop()
