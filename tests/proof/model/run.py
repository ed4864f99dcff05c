"""A run: many accounts, time that moves, and every answer compared."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import asyncpg

from app.core.database import Database, PoolLimits, prepare_connection
from app.core.refusals import Refusal
from app.credits import Credits
from app.usage import Usage
from tests.conftest import Servers
from tests.proof.model import seen
from tests.proof.model.account import Account
from tests.proof.model.chance import Chance
from tests.proof.model.compare import Mismatch, same
from tests.proof.model.due import next_boundary
from tests.proof.model.shapes import CREDIT, LIFETIME, Policy
from tests.proof.model.steps import MANY, Step, ask_many, sets_of
from tests.proof.model.stored import compare_stored, written
from tests.proof.model.terms import opened
from tests.support.accounts import Accounts
from tests.support.clock import Clock, utc

SLOTS = 48
WORKERS = 4
# How many rounds an account lives, and how often all that is kept of it is compared.
LIFE = 120
LOOK = 20
LEAP = 2_400
SECOND = timedelta(seconds=1)

# How time moves, from which share of all moves on.
MOVES: list[tuple[float, Callable[[Random], timedelta]]] = [
    (0.92, lambda chance: -SECOND * chance.choice([1, 10, 600])),
    (0.91, lambda chance: timedelta(days=chance.randint(20, 400))),
    (0.88, lambda chance: timedelta(days=chance.randint(1, 12))),
    (0.78, lambda chance: timedelta(hours=chance.randint(1, 30))),
    (0.6, lambda chance: timedelta(minutes=chance.randint(1, 90))),
    (0.3, lambda chance: SECOND * chance.randint(1, 90)),
]

# Policies of projects: what an account begins with, and what it is judged by.
TERMS: list[dict[str, Any]] = [
    {},
    {
        "period_grant": 100 * CREDIT,
        "welcome_grant": 20 * CREDIT,
        "rollover_cap": 30 * CREDIT,
        "overdraft_limit": 5 * CREDIT,
        "low_balance_percent": 35,
    },
    {
        "period_grant": 40 * CREDIT,
        "rollover_cap": 500 * CREDIT,
        "overdraft_limit": 50 * CREDIT,
        "minimum_charge": 2 * CREDIT,
        "settle_limit_factor": 3,
        "settle_limit_floor": 60 * CREDIT,
    },
    {"period_grant": -1, "rollover_cap": 50 * CREDIT},
    {
        "period_grant": 33_333_333,
        "low_balance_percent": 33,
        "clawback_creates_overage": True,
        "settle_limit_factor": 1,
        "settle_limit_floor": 0,
    },
    {"overdraft_limit": 20 * CREDIT, "welcome_grant": 200 * CREDIT},
]
# The last of the accounts deals in amounts at the limits of what there can be.
VAST = len(TERMS)
TERMS.append({"overdraft_limit": 100 * CREDIT})


@dataclass(eq=False)
class Player:
    """An account under way, on the product and on the model."""

    name: str
    chance: Chance
    opened_at: datetime
    done: int = 0
    checked: int = 0
    played: list[tuple[datetime, Step]] = field(default_factory=list)

    @property
    def account(self) -> Account:
        return self.chance.account


@dataclass
class Found:
    """Where the two differ, with what is needed to see it again."""

    seed: int
    player: str
    number: int
    step: str
    what: str
    steps: list[str]
    # What both wrote for the operation, by version.
    written: list[str] = field(default_factory=list)

    def told(self) -> str:
        return (
            f"seed {self.seed}, account {self.player}, its operation {self.number}\n"
            f"  {self.step}\n  {self.what}\n"
            f"  again: python -m tests.proof.model --seed {self.seed} --only {self.player}"
            f" --upto {self.number}"
        )


class Run:
    """Plays operations until so many are done, or the first difference."""

    def __init__(
        self, servers: Servers, database: str, seed: int, *, only: str | None = None, upto: int = 0
    ) -> None:
        self._url, self._admin_url = servers.app_url(database), servers.admin_url(database)
        self.seed = seed
        self.only, self.upto = only, upto
        self.played = 0
        self.compared = 0
        self.accounts = 0
        self.seen: Counter[str] = Counter()
        self.found: Found | None = None
        # With how many others an account's last operation was decided.
        self._beside: dict[Player, int] = {}
        self.findings: list[Any] = []
        self.began = time.monotonic()
        self.took = 0.0
        self._slots: list[Player | None] = [None] * SLOTS
        self._starts = [utc("2027-01-31 09:30")] * SLOTS
        self._time = Random(f"{seed}/time")
        self._now = utc("2027-01-31 09:30")

    async def play(self, count: int, seconds: float = math.inf) -> None:
        """Play so much, in so much time at most; `found` says whether the two differed."""
        async with self._connected() as (database, admin):
            clock = Clock(admin)
            await clock.set(self._now)
            made = Accounts(database, admin)
            projects = [await made.project(**terms) for terms in TERMS]
            number = 0
            ends = self.began + seconds
            while self.played < count and self.found is None and time.monotonic() < ends:
                self._move_time(number)
                await clock.set(self._now)
                slots = range(SLOTS)
                await asyncio.gather(
                    *(
                        self._work(database, projects, slots[w::WORKERS], number)
                        for w in range(WORKERS)
                    )
                )
                number += 1
                if self._is_over(number):
                    break
            for player in self._slots:
                if player is not None and self.found is None:
                    await self._look(database, player, since=0)
            self.took = time.monotonic() - self.began
            if self.found is None:
                self.findings = [
                    *await Credits(database).audit(),
                    *await Usage(database).audit(),
                ]

    def _is_over(self, number: int) -> bool:
        """Whether the one account that plays alone has played all it was to."""
        if self.only is None:
            return False
        turn = int(self.only.rpartition(".")[2])
        return number > (turn + 1) * LIFE or 0 < self.upto <= self.played

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[tuple[Database, Any]]:
        limits = PoolLimits(min_size=WORKERS, max_size=WORKERS, command_seconds=300)
        database = await Database.connect(self._url, limits)
        admin = await asyncpg.connect(self._admin_url)
        await prepare_connection(admin)
        try:
            yield database, admin
        finally:
            await admin.close()
            await database.close()

    def _move_time(self, number: int) -> None:
        """Move by seconds to months, sometimes back, sometimes to where a month turns."""
        chance = self._time
        way = chance.random()
        if number % LEAP == LEAP // 8:
            # More months than one call works: whoever asks next is told to ask again.
            self._now += timedelta(days=366 * 11)
        elif number and way < 0.95:
            for least, move in MOVES:
                if way >= least:
                    self._now += move(chance)
                    return
        elif number:
            end = chance.choice(self._starts)
            anchor = end.day
            while end <= self._now:
                end = next_boundary(end, anchor)
            self._now = end + timedelta(microseconds=chance.choice([-1, 0, 0, 1]))

    async def _work(
        self, database: Database, projects: list[UUID], slots: range, number: int
    ) -> None:
        credits = Credits(database)
        turns: dict[Player, int] = {}
        for slot in slots:
            player = await self._player(database, projects, slot, number)
            if player is not None:
                turns[player] = player.chance.random.choice([0, 1, 1, 2, 3, 5, 8])
        while turns and self.found is None:
            # A crowd is made at one moment, or its first have ended before its last.
            turns = {
                player: todo - 1
                for player, todo in turns.items()
                if (todo > 0 or player.chance.waiting)
                and not (self.only is not None and self.upto and player.done >= self.upto)
            }
            await self._turn(database, credits, list(turns))

    async def _player(
        self, database: Database, projects: list[UUID], slot: int, number: int
    ) -> Player | None:
        """Return who plays in a slot: each in its turn, for so many rounds."""
        turn, age = divmod(number + slot * LIFE // SLOTS, LIFE)
        name = f"{slot}.{turn}"
        if age == 0 or number == 0:
            self._starts[slot] = self._now
        present = self._slots[slot]
        if self.only is not None and name != self.only:
            self._slots[slot] = None
            return None
        if present is None or present.name != name:
            if present is not None:
                await self._look(database, present, since=0)
            random = Random(f"{self.seed}/{name}")
            terms = TERMS[kind := random.choice([0, 1, 1, 2, 2, 2, 3, 4, 4, 5, 5, 5, VAST])]
            self._slots[slot] = present = await self._open(
                database, projects[kind], name, random, terms, is_vast=kind == VAST
            )
        return present

    async def _open(
        self,
        database: Database,
        project: UUID,
        name: str,
        random: Random,
        terms: dict[str, Any],
        *,
        is_vast: bool,
    ) -> Player:
        account_id: UUID = await database.value(
            "select id from identity.create_organization(p_project_id => $1, p_name => $2)",
            project,
            name,
        )
        begins, judged = dict(terms), {}
        for field_name in Policy.__dataclass_fields__:
            if field_name in begins:
                judged[field_name] = begins.pop(field_name)
        account = opened(
            account_id,
            self._now,
            Policy(**judged),
            welcome=begins.pop("welcome_grant", 0),
            **begins,
        )
        self.accounts += 1
        return Player(name, Chance(random, account, is_vast), self._now)

    async def _turn(self, database: Database, credits: Credits, players: list[Player]) -> None:
        """Play one operation of each: by the way of many, those that ask for it, together."""
        steps = {player: player.chance.next(self._now) for player in players}
        for player in players:
            self._beside.pop(player, None)
        for player, step in steps.items():
            player.done += 1
            self.played += 1
            player.played.append((self._now, step))
        decided: dict[Player, Any] = {}
        for name in sorted({*MANY.values()}):
            together = [
                player
                for player, step in steps.items()
                if step.asks_many and MANY[step.name] == name
            ]
            for some in sets_of(together, steps):
                decided.update(await self._ask_many(credits, some, steps))
        for player, step in steps.items():
            if self.found is None:
                await self._step(database, credits, player, step, decided.get(player))

    async def _ask_many(
        self, credits: Credits, players: list[Player], steps: dict[Player, Step]
    ) -> dict[Player, Any]:
        asked = [(player.account, steps[player]) for player in players]
        name = MANY[asked[0][1].name]
        try:
            answers = await ask_many(credits, asked)
        except Refusal as refusal:
            # Of all of them: which of them it is of shows one by one.
            if len(players) == 1:
                return {players[0]: refusal}
            alone = [await self._ask_many(credits, [player], steps) for player in players]
            return {player: answer for each in alone for player, answer in each.items()}
        except asyncpg.PostgresError as error:
            # No refusal is raised so.
            self._differs(players[0], steps[players[0]], f"with {len(players)}: {error!r}")
            return {}
        plain = sum(answer is not None for answer in answers)
        self.seen[f"{name} of several accounts"] += len(players) > 1
        self.seen[f"{name} of several accounts, not all plain"] += 0 < plain < len(players)
        for (_, step), answer in zip(asked, answers, strict=True):
            self.seen[f"{step.name} {'is not plain' if answer is None else 'is plain'}"] += 1
        if len(players) > 1:
            self._beside |= dict.fromkeys(players, len(players) - 1)
        return dict(zip(players, answers, strict=True))

    async def _step(
        self, database: Database, credits: Credits, player: Player, step: Step, actual: Any
    ) -> None:
        """Play an operation on the model, and on the product what is not decided there yet."""
        account = player.account
        before = seen.Before.of(account)
        try:
            if actual is None:
                actual = await step.on_product(credits, account)
        except asyncpg.PostgresError as error:
            # No refusal is raised so.
            self._differs(player, step, repr(error))
            return
        try:
            expected = step.on_model(account, self._now)
            same(expected, actual)
            self.seen.update(seen.noticed(step, expected, account, before, self._now))
            if player.done % LOOK == 0:
                await self._look(database, player, since=player.checked)
        except Mismatch as mismatch:
            self._differs(player, step, str(mismatch))
            if self.found is not None and not self.found.written:
                self.found.written = await written(database, account, before.version)

    def _differs(self, player: Player, step: Step | None, what: str) -> None:
        if self.found is None:
            told = step.told() if step is not None else "at its end"
            if others := self._beside.get(player):
                told += f"\n  in one call with {others} others: perhaps only the whole run shows it"
            self.found = Found(
                self.seed,
                player.name,
                player.done,
                told,
                what,
                [f"{at.isoformat()} {played.told()}" for at, played in player.played],
            )

    async def _look(self, database: Database, player: Player, since: int) -> None:
        """Compare all that is kept of an account, or what is new of it."""
        account = player.account
        try:
            await compare_stored(database, account, since)
            _conserved(account)
        except Mismatch as mismatch:
            self._differs(player, None, str(mismatch))
        player.checked = account.version
        self.compared += 1


def _conserved(account: Account) -> None:
    """Nothing is made and nothing is lost, to the micro-credit."""
    given = account.granted_total + account.overage
    gone = account.spent_total + account.expired_total + account.clawed_back_total
    if given != account.available + account.reserved + gone or account.granted_total > LIFETIME:
        raise Mismatch(f"not conserved: {account}")
