"""Let the callers in, all at once, over each way."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random
from typing import Final
from uuid import UUID

import aiohttp
import asyncpg

from app.core.database import Database, PoolLimits, prepare_connection, server_settings
from app.core.refusals import Refusal
from app.credits import Credits
from db.driver import Connection
from tests.proof.ground import Ground
from tests.proof.overspend.doors import CreditsDoor, Door, HttpDoor, Patience, SqlDoor
from tests.proof.overspend.judge import Judge, Told
from tests.proof.overspend.rounds import ENTRIES, Entry, Round
from tests.proof.verdict import Verdict
from tests.support.accounts import Accounts
from tests.support.processes import ADMIN_KEY, ApiProcess

# Much fewer than callers: who comes waits, as in an installation.
CONNECTIONS: Final = 16
PROCESSES: Final = 2
# All callers at once, as over the other ways.
LINES_PER_PROCESS: Final = 500
ROUND_SECONDS: Final = 90.0
# How often who was refused asks, where credits return.
_TRIES: Final = 3


async def prove(
    ground: Ground,
    rounds: Iterable[Round],
    seed: int,
    *,
    entries: Iterable[Entry] = ENTRIES,
    broken: str = "",
) -> Verdict:
    """Run the rounds, one after the other; `broken`: statements that break the functions."""
    verdict = Verdict("overspend", seed)
    patience = Patience()
    done: Counter[str] = Counter()
    answers = accepted = 0
    async with _prepared(ground, broken) as (name, admin, database):
        credits, accounts = Credits(database), Accounts(database, admin)
        judge = Judge(seed, admin, credits)
        project = await accounts.project()
        async with _doors(ground, name, patience, {*entries}) as doors:
            for one in rounds:
                account = await accounts.open(project_id=project)
                if one.opening:
                    await credits.issue_grant(account, one.opening, "top_up", "opening")
                told = await _let_in(one, doors[one.entry], account, seed)
                await judge.look(one, account, told)
                done[one.entry] += 1
                answers += len(told.answers)
                accepted += sum(answer.reservation is not None for _, answer in told.answers)
    verdict.zeros = judge.zeros
    verdict.figures = {
        "rounds": ", ".join(f"{done[entry]} over {entry}" for entry in ENTRIES),
        "requests to reserve": answers,
        "accepted": accepted,
        "asked again because busy or without an answer": patience.again,
    }
    return verdict


async def _let_in(one: Round, door: Door, account: UUID, seed: int) -> Told:
    told = Told()
    numbers = range(len(one.amounts))
    groups = [numbers[at : at + one.set_size] for at in range(0, len(numbers), one.set_size)]

    async def come(group: range) -> None:
        wanted = [(f"caller-{number}", one.amounts[number]) for number in group]
        random = Random(f"{seed}-{one.number}-{group.start}")
        for _ in range(_TRIES if one.is_returning else 1):
            answers = await door.reserve(account, wanted)
            told.answers += [(amount, a) for (_, amount), a in zip(wanted, answers, strict=True)]
            if not one.is_returning:
                return
            pairs = [*zip(wanted, answers, strict=True)]
            held = [(a.reservation, amount) for (_, amount), a in pairs if a.reservation]
            wanted = [want for want, a in pairs if a.reservation is None]
            if held and random.random() < 0.5:
                told.returned += await door.release(account, [held_id for held_id, _ in held])
            elif held:
                used = [(held_id, random.randint(0, amount)) for held_id, amount in held]
                told.returned += await door.settle(account, used)
            if not wanted:
                return

    async with asyncio.timeout(ROUND_SECONDS):
        ended = await asyncio.gather(*map(come, groups), return_exceptions=True)
    for fault in ended:
        if isinstance(fault, (asyncpg.PostgresError, Refusal, TimeoutError)):
            told.faults.append(f"{type(fault).__name__}: {fault}")
        elif fault is not None:
            raise fault
    return told


@asynccontextmanager
async def _prepared(ground: Ground, broken: str) -> AsyncIterator[tuple[str, Connection, Database]]:
    async with ground.database() as name, AsyncExitStack() as opened:
        admin = await asyncpg.connect(ground.servers.admin_url(name))
        opened.push_async_callback(admin.close)
        await prepare_connection(admin)
        if broken:
            await admin.execute(broken)
        limits = PoolLimits(min_size=CONNECTIONS, max_size=CONNECTIONS, acquire_seconds=60)
        database = await Database.connect(ground.servers.app_url(name), limits)
        opened.push_async_callback(database.close)
        yield name, admin, database


@asynccontextmanager
async def _doors(
    ground: Ground, name: str, patience: Patience, entries: set[Entry]
) -> AsyncIterator[dict[Entry, Door]]:
    url = ground.servers.app_url(name)
    doors: dict[Entry, Door] = {}
    async with AsyncExitStack() as opened:
        if Entry.SQL in entries:
            pool = await asyncpg.create_pool(
                url,
                min_size=CONNECTIONS,
                max_size=CONNECTIONS,
                init=prepare_connection,
                server_settings=server_settings(PoolLimits().command_seconds),
            )
            opened.push_async_callback(pool.close)
            doors[Entry.SQL] = SqlDoor(pool, patience)
        if Entry.CREDITS in entries:
            # In one process an account has one call under way: it takes two to meet in Postgres.
            each = CONNECTIONS // PROCESSES
            limits = PoolLimits(min_size=each, max_size=each, acquire_seconds=60)
            databases = [await Database.connect(url, limits) for _ in range(PROCESSES)]
            for database in databases:
                opened.push_async_callback(database.close)
            doors[Entry.CREDITS] = CreditsDoor([*map(Credits, databases)], patience)
        if Entry.HTTP in entries:
            processes = [
                await opened.enter_async_context(ApiProcess(url, ground.servers.redis))
                for _ in range(PROCESSES)
            ]
            connector = aiohttp.TCPConnector(
                limit=PROCESSES * LINES_PER_PROCESS, limit_per_host=LINES_PER_PROCESS
            )
            session = await opened.enter_async_context(aiohttp.ClientSession(connector=connector))
            urls = [process.url for process in processes]
            doors[Entry.HTTP] = HttpDoor(session, urls, ADMIN_KEY, patience)
        yield doors
