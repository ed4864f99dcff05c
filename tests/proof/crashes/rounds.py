"""One round: load, a fault in its middle, everything asked again, the books compared."""

import asyncio
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from random import Random

import asyncpg

from tests.proof.crashes.books import Books, audited
from tests.proof.crashes.faults import FAULTS, drawn
from tests.proof.crashes.installation import BACK_SECONDS, Installation
from tests.proof.crashes.load import Client, Truth, Work, plan
from tests.proof.verdict import Verdict, Zero

_ACCOUNTS = 5
_OPENING = 1_000  # more than all work together can use: no refusal hides a loss
_RESERVED = "select count(*) from credits.reservations where account_id = any($1)"


@dataclass
class Rounds:
    """Plays rounds on one installation and counts what they show."""

    installation: Installation
    seed: int
    works: int = 200
    # Broken on purpose, for the test that sees this go red.
    keeps_keys: bool = True

    lost: Zero = field(default_factory=lambda: Zero("acknowledged and lost", 0, "answers"))
    doubled: Zero = field(default_factory=lambda: Zero("happened twice", 0, "requests"))
    changed: Zero = field(
        default_factory=lambda: Zero("answered otherwise when asked again", 0, "answers")
    )
    refused: Zero = field(default_factory=lambda: Zero("refused", 0, "requests"))
    sums: Zero = field(default_factory=lambda: Zero("sums other than the truth", 0, "accounts"))
    findings: Zero = field(default_factory=lambda: Zero("audit findings", 0, "rounds"))

    began: float = field(default_factory=time.monotonic)
    played: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    committed: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    async def play(self, number: int, fault: str | None = None) -> Truth:
        """Play the round of this number, with its own fault unless told another."""
        name = fault or drawn(self.seed, number)
        chance = Random(f"{self.seed}-{number}")  # to be drawn again
        accounts = await self.installation.open_accounts(_ACCOUNTS, _OPENING)
        works = plan(chance, f"r{number}", accounts, self.works)
        reserving = sum(work.kind != "deduct" for work in works)
        after = chance.randint(1, max(1, reserving * 3 // 4))
        truth = Truth()
        client = Client(truth, keeps_keys=self.keeps_keys)
        try:
            async with asyncio.timeout(2 * BACK_SECONDS):
                await self._break(name, chance, client, works, after)
                await self.judge(number, name, truth, works)
                found = self._found()
                await self._ask_again(client, truth, works, f"round {number}, {name}")
        finally:
            await client.close()
        if found == self._found() == 0:
            await self._compare(truth, works)  # asking again has moved nothing
        return truth

    async def _break(
        self, name: str, chance: Random, client: Client, works: list[Work], after: int
    ) -> None:
        """Send everything at once, strike in the middle, and ask until all have answers."""
        watch = await asyncpg.connect(self.installation.admin_url)
        accounts = sorted({work.account for work in works})
        apis = self.installation.apis
        sent = {
            asyncio.ensure_future(client.first(apis[place % len(apis)].url, work)): apis[
                place % len(apis)
            ]
            for place, work in enumerate(works)
        }
        fault = FAULTS[name]
        async with AsyncExitStack() as struck:
            async with asyncio.timeout(BACK_SECONDS):
                while await watch.fetchval(_RESERVED, accounts) < after:
                    await asyncio.sleep(0)
            watch.terminate()
            await struck.enter_async_context(fault.strike(self.installation, chance))
            heard = [task for task, api in sent.items() if api in self.installation.answering]
            await asyncio.gather(*heard)
            # Nobody waits for ever for an API that does not answer.
            given_up = [task for task in sent if task not in heard]
            for task in given_up:
                task.cancel()
            for outcome in await asyncio.gather(*given_up, return_exceptions=True):
                if isinstance(outcome, Exception):
                    raise outcome
            if fault.answers_meanwhile:
                await self._retry(client, works)
        await self._retry(client, works)

    async def _retry(self, client: Client, works: list[Work]) -> None:
        urls = [api.url for api in self.installation.answering]
        turned = urls[::-1]  # the other one than at first, where there are two
        await asyncio.gather(
            *(
                client.again(turned[place % len(turned) :] + turned, work)
                for place, work in enumerate(works)
            )
        )

    async def _ask_again(self, client: Client, truth: Truth, works: list[Work], told: str) -> None:
        """Ask for everything that was acknowledged at first: the answer must be the same."""
        urls = [api.url for api in self.installation.apis]

        async def ask(place: int, work: Work) -> None:
            for step in work.steps:
                if step in truth.errors:
                    continue
                self.changed.of += 1
                answer = await client.insist(urls[place % len(urls) :] + urls, work, step, work.key)
                replayed = answer.pop("replayed", False)
                if not replayed or answer != truth.answers[step]:
                    self.changed.happened(f"{told}: {step}: {answer}, not {truth.answers[step]}")

        await asyncio.gather(*(ask(place, work) for place, work in enumerate(works)))

    async def judge(self, number: int, name: str, truth: Truth, works: list[Work]) -> None:
        """Compare Postgres with what clients were told, and let the auditors look."""
        requests = sum(len(work.steps) for work in works)
        self.lost.of += len(truth.answers)
        self.doubled.of += requests
        self.refused.of += requests
        self.sums.of += _ACCOUNTS
        self.findings.of += 1
        for told in truth.refused:
            self.refused.happened(f"round {number}, {name}: {told}")
        await self._compare(truth, works)
        async with self.installation.database() as database:
            await audited(database, self.findings)
        self.played[name] += 1
        self.errors[name] += len(truth.errors)
        self.committed[name] += len(truth.committed)
        self.reasons.update(truth.errors.values())

    async def _compare(self, truth: Truth, works: list[Work]) -> None:
        async with self.installation.database() as database:
            await Books(works, truth, _OPENING).compare(
                database, self.lost, self.doubled, self.sums
            )

    def _found(self) -> int:
        return sum(zero.found for zero in self.zeros)

    @property
    def zeros(self) -> list[Zero]:
        """What must not happen."""
        return [self.lost, self.doubled, self.changed, self.refused, self.sums, self.findings]

    def verdict(self) -> Verdict:
        """Return what all rounds together show."""
        outcome = Verdict("crashes", self.seed, began=self.began)
        outcome.zeros = self.zeros
        outcome.figures = {
            "rounds": self.played.total(),
            "requests": self.doubled.of,
            "requests without an answer": self.errors.total(),
            "of them had happened": self.committed.total(),
            "why without an answer": dict(self.reasons.most_common()),
            "by fault": {
                name: f"{count} rounds, {self.errors[name]} without an answer,"
                f" {self.committed[name]} of them had happened"
                for name, count in sorted(self.played.items())
            },
            "again with": f"python -m tests.proof.crashes --only ROUND --seed {self.seed}",
        }
        return outcome
