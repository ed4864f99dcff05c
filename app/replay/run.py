"""The run: every call starts when the trace says, whether the server keeps up or not."""

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.replay.books import Account, Record, compare, read_back
from app.replay.client import Client, Document, RefusedError, UnansweredError, together
from app.replay.errors import ReplayError
from app.replay.figures import Times, read_credits, show_credits
from app.replay.plan import Options, Plan, survey
from app.replay.progress import Progress
from app.replay.trace import Call
from app.replay.watch import Watch

# Calls that have begun and not ended; beyond, the schedule waits, and says how long.
_OPEN_CALLS = 20_000
_LEAD_SECONDS = 0.1
_FIRST_ATTEMPTS = 3

Audit = Callable[[Sequence[str]], Awaitable[list[str]]]

_REFUSAL = "... on Refusal { code message }"
_GREETING = Document.of("organizations", "query { organizations(first: 1) { nodes { id } } }")
_CREATE = Document.of(
    "createOrganization",
    f"""mutation($input: CreateOrganizationInput!) {{ createOrganization(input: $input) {{
        ... on CreateOrganizationSuccess {{ organization {{ id }} }} {_REFUSAL} }} }}""",
)
_SETTINGS = Document.of(
    "updateOrganizationSettings",
    f"""mutation($input: UpdateOrganizationSettingsInput!) {{
        updateOrganizationSettings(input: $input) {{
        ... on UpdateOrganizationSettingsSuccess {{ balance {{ spendable }} }} {_REFUSAL} }} }}""",
)
_GRANT = Document.of(
    "grantCredits",
    f"""mutation($input: GrantCreditsInput!) {{ grantCredits(input: $input) {{
        ... on GrantCreditsSuccess {{ grant {{ id }} }} {_REFUSAL} }} }}""",
)
_ADJUST = Document.of(
    "adjustCredits",
    f"""mutation($input: AdjustCreditsInput!) {{ adjustCredits(input: $input) {{
        ... on AdjustCreditsSuccess {{ transactionId }} {_REFUSAL} }} }}""",
)
_RESERVE = Document.of(
    "reserveCredits",
    f"""mutation($input: ReserveCreditsInput!) {{ reserveCredits(input: $input) {{
        ... on ReserveCreditsSuccess {{ reservation {{ id }} }} {_REFUSAL} }} }}""",
)
_SETTLE = Document.of(
    "settleCredits",
    f"""mutation($input: SettleCreditsInput!) {{ settleCredits(input: $input) {{
        ... on SettleCreditsSuccess {{ replayed }} {_REFUSAL} }} }}""",
)


@dataclass(slots=True)
class Results:
    """All that was counted and read back."""

    run: str
    options: Options
    plan: Plan
    accounts: list[Account]
    records: list[Record] = field(default_factory=list)
    reserve: Times = field(default_factory=Times)
    settle: Times = field(default_factory=Times)
    behind: Times = field(default_factory=Times)
    failures: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    retries: int = 0
    pushes: int = 0
    sockets: int = 0
    reconnects: int = 0
    findings: list[str] | None = None
    # What does not add up: on the ledgers, and in the order of the pushes.
    wrong_books: list[str] = field(default_factory=list)
    wrong_pushes: list[str] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        """All that does not add up, in words."""
        audited = [f"audit: {finding}" for finding in self.findings or ()]
        return [*self.wrong_books, *self.wrong_pushes, *audited]


async def run(options: Options, audit: Audit | None = None) -> Results:
    """Replay a trace, then prove that everything adds up; `problems` names what does not.

    `audit` is given the organizations and returns what it finds.
    """
    plan = survey(options)
    name = secrets.token_hex(6)
    client = Client(options.url, options.key, options.concurrency)
    try:
        accounts = await _open_accounts(client, options, plan, name)
        results = Results(name, options, plan, accounts)
        watch = Watch(options.url, options.key, [account.id for account in accounts])
        async with watch.open():
            started, cpu_started = time.monotonic(), time.process_time()
            await _Traffic(client, results).flow()
            results.seconds = time.monotonic() - started
            results.cpu_seconds = time.process_time() - cpu_started
            results.retries = client.retries
            results.records = await read_back(client, accounts)
            results.wrong_pushes = await _judge_pushes(watch, results)
    except (RefusedError, UnansweredError) as error:
        raise ReplayError(f"{options.url} cannot be worked with: {error}") from error
    finally:
        await client.close()
    results.wrong_books = _judge_books(results)
    if audit is not None:
        results.findings = await audit([account.id for account in accounts])
    return results


async def _open_accounts(client: Client, options: Options, plan: Plan, run: str) -> list[Account]:
    """Make the organizations, each with exactly the credits it is meant to have."""
    # A wrong address or key shows at once, and once.
    await client.ask(_GREETING, {}, _FIRST_ATTEMPTS)

    async def open_one(number: int) -> Account:
        runs_out = number < options.exhausted
        made = await client.ask(
            _CREATE,
            _input(
                name=f"Replay {run}, {number + 1} of {options.organizations}",
                externalRef=f"replay:{run}:{number}",
                idempotencyKey=f"replay:{run}:{number}",
                projectId=options.project,
            ),
        )
        account = Account(made["organization"]["id"], runs_out)
        which = {"organizationId": account.id, "idempotencyKey": f"replay:{run}"}
        # The project's own terms, whatever they are, would blur what may be spent.
        terms = await client.ask(_SETTINGS, _input(**which, overdraftLimit="0", allowance="0"))
        missing = plan.shares[number].grant(runs_out=runs_out) - read_credits(
            terms["balance"]["spendable"]
        )
        amount = show_credits(missing)
        if missing > 0:
            await client.ask(
                _GRANT, _input(**which, amount=amount, source="PROMOTIONAL", reason="replay")
            )
        elif missing < 0:
            await client.ask(
                _ADJUST, _input(**which, amount=amount, reason="a replay grants what it needs")
            )
        return account

    return await together(open_one, options.organizations)


def _input(**fields: object) -> dict[str, Any]:
    return {"input": fields}


class _Traffic:
    """The calls of a trace, each at its time."""

    def __init__(self, client: Client, results: Results) -> None:
        self._client = client
        self._results = results
        self._options = results.options
        self._open = asyncio.Semaphore(_OPEN_CALLS)
        self._loop = asyncio.get_running_loop()
        self._progress = Progress(results.plan.calls)

    async def flow(self) -> None:
        """Start every call at its time; return when the last one has ended."""
        with self._progress:
            async with asyncio.TaskGroup() as group:
                shown = group.create_task(self._progress.show())
                await self._start_all()
                shown.cancel()

    async def _start_all(self) -> None:
        # Times are reckoned from one start, so that no delay adds to the next.
        start = self._loop.time() + _LEAD_SECONDS
        async with asyncio.TaskGroup() as calls:
            for call, number in self._options.calls():
                due = start + call.at / self._options.speed
                # When behind, it sleeps all the same: what has begun must go on.
                await asyncio.sleep(max(0.0, due - self._loop.time()))
                await self._open.acquire()
                self._progress.behind = max(0.0, self._loop.time() - due)
                calls.create_task(self._make(call, self._results.accounts[number], due))

    async def _make(self, call: Call, account: Account, due: float) -> None:
        began = self._loop.time()
        self._results.behind.add(max(0.0, began - due))
        account.calls += 1
        try:
            reservation_id = await self._reserve(call, account, began)
            await asyncio.sleep(self._options.duration(call))
            await self._settle(call, account, reservation_id)
        except RefusedError as refused:
            if refused.code == "INSUFFICIENT_CREDITS":
                account.refused += 1
                self._progress.refused += 1
            else:
                self._fail(account, refused.code)
        except UnansweredError as unanswered:
            self._fail(account, str(unanswered))
        finally:
            self._open.release()
            self._progress.done += 1

    async def _reserve(self, call: Call, account: Account, began: float) -> str:
        answer = await self._client.ask(
            _RESERVE,
            _input(
                organizationId=account.id,
                amount=show_credits(self._options.prices.bound(call)),
                idempotencyKey=f"replay:{self._results.run}:{call.line}",
                ttlSeconds=self._options.ttl_seconds(call),
            ),
        )
        # From when it was wanted: a wait for a free connection is part of it.
        self._results.reserve.add(self._loop.time() - began)
        reservation_id: str = answer["reservation"]["id"]
        return reservation_id

    async def _settle(self, call: Call, account: Account, reservation_id: str) -> None:
        began = self._loop.time()
        charge = self._options.prices.charge(call)
        await self._client.ask(
            _SETTLE,
            _input(
                organizationId=account.id,
                reservationId=reservation_id,
                amount=show_credits(charge),
                usage={
                    "operation": "chat",
                    "inputTokens": call.context_tokens,
                    "outputTokens": call.generated_tokens,
                },
            ),
        )
        self._results.settle.add(self._loop.time() - began)
        account.settle(reservation_id, charge)

    def _fail(self, account: Account, reason: str) -> None:
        account.failed += 1
        self._results.failures[reason] += 1


def _judge_books(results: Results) -> list[str]:
    wrong = [f"{count} calls failed: {reason}" for reason, count in results.failures.most_common()]
    for account, record in zip(results.accounts, results.records, strict=True):
        wrong += compare(account, record)
    return wrong


async def _judge_pushes(watch: Watch, results: Results) -> list[str]:
    lagging = await watch.lagging([record.version for record in results.records])
    results.pushes, results.sockets = watch.pushes, watch.sockets
    results.reconnects = watch.reconnects
    return [
        *watch.backwards,
        *(
            f"organization {results.accounts[number].id}: the last push had version"
            f" {watch.newest(number)}, the balance has {results.records[number].version}"
            for number in lagging
        ),
    ]
