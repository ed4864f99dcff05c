"""One round: load, a fault in its middle, everything asked again, the books compared."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random

from tests.proof.crashes.accounts import Opened, open_accounts
from tests.proof.crashes.books import Books, audited, audited_between
from tests.proof.crashes.company import Company
from tests.proof.crashes.faults import FAULTS, drawn
from tests.proof.crashes.installation import Installation
from tests.proof.crashes.load import KINDS, Client, Gate, Truth, Work, crowd, halved, plan
from tests.proof.crashes.moments import Scene, Sending
from tests.proof.crashes.overdue import MARGIN_SECONDS, Overdue
from tests.proof.crashes.waits import BACK_SECONDS, seen
from tests.proof.verdict import Verdict, Zero

# Most who call close what they have reserved.
_KINDS = (*KINDS, *("settle", "release") * 2, "leave")
# One in so many asks an account that has enough for three in five of them.
_SCARCE = 8
# All books at once, after hundreds of rounds.
_AUDIT_SECONDS = 600.0
_NO_CREDITS = "INSUFFICIENT_CREDITS"


@dataclass
class Rounds:
    """Plays rounds on one installation and counts what they show."""

    installation: Installation
    seed: int
    works: int = 200
    # What is to be met; a run that met one of them never has proven nothing of it.
    kinds: Iterable[str] = tuple(FAULTS)
    # Broken on purpose, for the test that sees this go red.
    keeps_keys: bool = True
    margin_seconds: float = MARGIN_SECONDS

    lost: Zero = field(default_factory=lambda: Zero("acknowledged and lost", 0, "answers"))
    doubled: Zero = field(default_factory=lambda: Zero("happened twice", 0, "requests"))
    changed: Zero = field(
        default_factory=lambda: Zero("answered otherwise when asked again", 0, "answers")
    )
    refused: Zero = field(default_factory=lambda: Zero("refused without reason", 0, "requests"))
    silent: Zero = field(
        default_factory=lambda: Zero(
            "without an answer, though API and Postgres ran", 0, "requests"
        )
    )
    internal: Zero = field(default_factory=lambda: Zero("internal errors", 0, "requests"))
    ended: Zero = field(
        default_factory=lambda: Zero("ended by themselves", 0, "API processes and workers")
    )
    sums: Zero = field(default_factory=lambda: Zero("sums other than the truth", 0, "accounts"))
    findings: Zero = field(default_factory=lambda: Zero("audit findings", 0, "accounts"))

    began: float = field(default_factory=time.monotonic)
    played: Counter[str] = field(default_factory=Counter)
    met: Counter[str] = field(default_factory=Counter)
    inside: dict[str, list[int]] = field(default_factory=dict)
    inside_for_many: dict[str, list[int]] = field(default_factory=dict)
    # The most accounts of a round that had a request under way at once.
    accounts: list[int] = field(default_factory=list)
    struck_for_many: int = 0
    company: Company = field(default_factory=Company)
    errors: Counter[str] = field(default_factory=Counter)
    committed: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        grace = timedelta(seconds=self.installation.sweep_seconds + self.margin_seconds)
        self.overdue = Overdue(grace)

    async def play(self, number: int, fault: str | None = None) -> Truth:
        """Play the round of this number, with its own fault unless told another."""
        name = fault or drawn(self.seed, number)
        chance = Random(f"{self.seed}-{number}")  # to be drawn again
        asking = self.works // _SCARCE
        opened = await open_accounts(self.installation, asking * 3 // 5)
        works = plan(chance, f"r{number}", opened.turns, self.works - asking, _KINDS)
        crowds = [crowd(f"r{number}", account, asking) for account in opened.scarce]
        works = halved(chance, works, *crowds)
        truth = Truth()
        client = Client(truth, keeps_keys=self.keeps_keys)
        try:
            async with asyncio.timeout(2 * BACK_SECONDS):
                await self._break(name, chance, client, truth, opened, works)
                await self.judge(number, name, truth, opened, works)
                found = self._found()
                await self._ask_again(client, truth, works, f"round {number}, {name}")
        finally:
            await client.close()
        if found == self._found() == 0:
            await self._compare(truth, opened, works)  # asking again has moved nothing
        return truth

    async def finish(self) -> None:
        """Look at everything at once, when all rounds are played."""
        async with self.installation.admin() as admin:
            await self.overdue.judge_all(admin, await self.overdue.now(admin))
            count = await admin.fetchval("select count(*) from credits.accounts")
        async with self.installation.database(_AUDIT_SECONDS) as database:
            await audited(database, self.findings, [None])
        self.findings.of = max(self.findings.of, count)

    async def _break(
        self,
        name: str,
        chance: Random,
        client: Client,
        truth: Truth,
        opened: Opened,
        works: list[Work],
    ) -> None:
        """Send everything at once, strike in the middle, and ask until all have answers."""
        fault = FAULTS[name]
        middle = len(works) // 2
        waves = [works[middle:], works[:middle]]
        gates: list[Gate] = []

        def send() -> None:
            """Send the next half; what was reserved is closed meanwhile."""
            for gate in gates:
                gate.open()
            gates[:] = self._send(client, scene, waves.pop() if waves else [])
            scene.is_all_sent = not waves
            scene.count_accounts()

        scene = Scene(self.installation, chance, opened, send)
        send()
        after = chance.randint(0, sum(len(work.steps) for work in works[:middle]))
        async with AsyncExitStack() as struck:

            async def is_time() -> bool:
                return len(truth.answers) >= after or scene.is_quiet

            await seen(is_time, f"{after} answers", pause=0)
            await struck.enter_async_context(fault.strike(scene))
            send()
            sent = scene.sent
            answering = self.installation.answering
            heard = [task for task, one in sent.items() if one.api in answering]
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
            if fault.sweeps_meanwhile:
                await self._judge_time(opened, works, truth)
        await self._retry(client, works)
        if not fault.sweeps_meanwhile:
            await self._judge_time(opened, works, truth)
        self.played[name] += 1
        self.met[name] += scene.is_met
        self.inside.setdefault(name, []).append(scene.inside)
        self.inside_for_many.setdefault(name, []).append(scene.inside_for_many)
        self.accounts.append(scene.accounts)
        self.struck_for_many += scene.has_struck_for_many

    def _send(self, client: Client, scene: Scene, wave: list[Work]) -> list[Gate]:
        """Send works by turns to each API; return where its clients wait for each other."""
        apis = self.installation.apis
        shares = [wave[place :: len(apis)] for place in range(len(apis))]
        gates = [Gate(share) for share in shares]
        for api, share, gate in zip(apis, shares, gates, strict=True):
            for work in share:
                task = asyncio.ensure_future(client.first(api.url, work, gate))
                scene.sent[task] = Sending(api, work.account)
        return gates

    async def _judge_time(self, opened: Opened, works: list[Work], truth: Truth) -> None:
        async with self.installation.admin() as admin:
            since = await self.overdue.now(admin)
            await self.overdue.judge(admin, opened, works, truth, since)

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
                # What was refused was not done: to ask again asks again.
                replayed = replayed or step in truth.refused
                if not replayed or answer != truth.answers[step]:
                    self.changed.happened(f"{told}: {step}: {answer}, not {truth.answers[step]}")

        await asyncio.gather(*(ask(place, work) for place, work in enumerate(works)))

    async def judge(
        self, number: int, name: str, truth: Truth, opened: Opened, works: list[Work]
    ) -> None:
        """Compare Postgres with what clients were told, and let the auditors look."""
        requests = sum(len(work.steps) for work in works)
        self.lost.of += len(truth.answers)
        self.doubled.of += requests
        self.refused.of += requests
        self.sums.of += len(opened.all)
        self.findings.of += len(opened.all)
        scarce = {step for work in works if work.kind == "scarce" for step in work.steps}
        for step, code in truth.refused.items():
            if step not in scarce or code != _NO_CREDITS:
                self.refused.happened(f"round {number}, {name}: {step}: {code}")
        self.internal.of += requests
        for step in truth.internal:
            self.internal.happened(f"round {number}, {name}: {step}")
        if FAULTS[name].answers_all:
            self.silent.of += requests
            for step, why in truth.errors.items():
                self.silent.happened(f"round {number}, {name}: {step}: {why}")
        await self._compare(truth, opened, works)
        async with self.installation.database() as database:
            await audited_between(database, self.findings, opened.all)
            async with database.connection() as connection:
                await self.company.judge(
                    connection, opened.all, truth, name, f"round {number}, {name}"
                )
        for process in self.installation.processes:
            self.ended.of += 1
            if process.has_ended:
                self.ended.happened(f"round {number}, {name}: {process.command}")
        self.errors[name] += len(truth.errors)
        self.committed[name] += len(truth.committed)
        self.reasons.update(truth.errors.values())

    async def _compare(self, truth: Truth, opened: Opened, works: list[Work]) -> None:
        books = Books(works, truth, opened.given, opened.due)
        async with self.installation.database() as database:
            await books.compare(database, self.lost, self.doubled, self.sums)

    def _found(self) -> int:
        return sum(zero.found for zero in self.zeros)

    @property
    def unmet(self) -> Zero:
        """Kinds of fault that no round met as they are meant."""
        kinds = sorted(self.kinds)
        zero = Zero("kinds of fault never met", len(kinds), "kinds")
        for name in kinds:
            if not self.met[name]:
                zero.happened(f"{name}: {self.played[name]} rounds, met in none of them")
        return zero

    @property
    def zeros(self) -> list[Zero]:
        """What must not happen in a round; whether the rounds were worth anything comes after."""
        return [
            *(self.lost, self.doubled, self.overdue.leaked, self.overdue.undone),
            *(self.changed, self.refused, self.silent, self.internal, self.ended),
            *(self.sums, self.findings),
        ]

    def verdict(self) -> Verdict:
        """Return what all rounds together show."""
        outcome = Verdict("crashes", self.seed, began=self.began)
        seconds = time.monotonic() - self.began
        # Nothing is said of what was never tried: one round alone has no such requests.
        tried = [zero for zero in self.zeros if zero is not self.silent or zero.of]
        outcome.zeros = [*tried, self.unmet, self.company.lonely, self.company.rare]
        outcome.figures = {
            "rounds": self.played.total(),
            "seconds a round": round(seconds / max(1, self.played.total()), 1),
            "requests": self.doubled.of,
            "requests without an answer": self.errors.total(),
            "of them had happened": self.committed.total(),
            "why without an answer": dict(self.reasons.most_common()),
            "left behind by callers without an answer": self.overdue.unanswered,
            "accounts with a request under way at once": _from_to(self.accounts),
            "single backends struck that decided for many accounts": self.struck_for_many,
            **self.company.figures,
        }
        for name, count in sorted(self.played.items()):
            outcome.figures[f"rounds with {name}"] = (
                f"{count}, met as meant: {self.met[name]}; calls inside of Postgres when it"
                f" struck: {_from_to(self.inside[name])}, of them for many accounts:"
                f" {_from_to(self.inside_for_many[name])}; without an answer:"
                f" {self.errors[name]}, of them had happened: {self.committed[name]}, beside other"
                f" accounts: {self.company.cut_beside[name]}"
            )
        outcome.figures["again with"] = f"make prove W=crashes P='--seed {self.seed} --only ROUND'"
        return outcome


def _from_to(counts: list[int]) -> str:
    return f"{min(counts, default=0)} to {max(counts, default=0)}"
