"""The rounds with a crash, a few of them; and that they go red where something is broken."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from db.apply import FUNCTIONS
from tests.proof.crashes.accounts import MANY, Opened
from tests.proof.crashes.company import OPERATIONS
from tests.proof.crashes.faults import FAULTS, Fault, drawn
from tests.proof.crashes.installation import Installation, installed
from tests.proof.crashes.load import Truth, Work
from tests.proof.crashes.rounds import Rounds
from tests.proof.crashes.waits import NotSeen, seen

ROUNDS = 2 * len(FAULTS)
WORKS = 160
SEED = 20261126
# Where something is kept on purpose, nobody has to wait for long to see it.
SHORT_MARGIN = 0.5
# Servers start and recover many times over.
pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installation]:
    """One for all tests: each round has accounts of its own."""
    async with installed(tmp_path_factory.mktemp("crashes")) as made:
        yield made


@asynccontextmanager
async def _broken(installation: Installation, path: str, old: str, new: str) -> AsyncIterator[None]:
    """Break a SQL function, as its file would be with another text."""
    text = (FUNCTIONS / path).read_text(encoding="utf-8")
    assert text.count(old) == 1
    async with installation.admin() as admin:
        await admin.execute(text.replace(old, new))
    try:
        yield
    finally:
        async with installation.admin() as admin:
            await admin.execute(text)


def test_every_fault_comes_in_turn() -> None:
    assert ROUNDS >= 25
    for first in range(1, ROUNDS, len(FAULTS)):
        faults = {drawn(SEED, number) for number in range(first, first + len(FAULTS))}
        assert faults == set(FAULTS)


async def test_who_waits_in_vain_is_told_for_what() -> None:
    async def nothing() -> None:
        await asyncio.sleep(0)

    with pytest.raises(NotSeen, match=r"not seen in 0\.05 s: a miracle"):
        await seen(nothing, "a miracle", seconds=0.05, pause=0.01)
    with pytest.raises(NotSeen, match="a look that ends"):
        await seen(asyncio.Event().wait, "a look that ends", seconds=0.05)


async def test_nothing_acknowledged_is_lost_and_nothing_happens_twice(
    installation: Installation, record_property: Callable[[str, object], None]
) -> None:
    rounds = Rounds(installation, SEED, works=WORKS)
    for number in range(1, ROUNDS + 1):
        await rounds.play(number)
    await rounds.finish()
    verdict = rounds.verdict()
    record_property("figures", verdict.told())
    assert verdict.is_proven, verdict.told()
    assert set(rounds.played) == set(FAULTS)
    # Rounds in which nobody missed an answer would prove nothing.
    assert rounds.committed.total() > 0
    assert rounds.errors.total() > rounds.committed.total()
    assert rounds.overdue.unanswered > 0
    # And crashes that met nobody in the middle of a commit for many accounts, little of that.
    assert min(rounds.accounts) >= MANY
    assert rounds.company.cut_beside.total() > 0


async def test_rounds_in_which_each_account_is_decided_alone_are_seen(
    installation: Installation,
) -> None:
    rounds = Rounds(installation, SEED, works=WORKS, kinds=["connections reset"])
    ends = "    end if;\nend\n"
    # Calls for many find no account that they may decide for.
    nobody = "    end if;\n    free := array[]::uuid[];\nend\n"
    async with _broken(installation, "credits/_lock_free.sql", ends, nobody):
        await rounds.play(1, "connections reset")
    assert rounds.company.decided.total() > 0
    assert rounds.company.beside["settle"] == rounds.company.beside["release"] == 0
    assert (rounds.company.lonely.found, rounds.company.lonely.of) == (1, 1)
    assert rounds.company.rare.found >= len(OPERATIONS)
    # Nothing is wrong in the books: only this is missing.
    assert sum(zero.found for zero in rounds.zeros) == 0
    assert not rounds.verdict().is_proven


async def test_a_client_that_asks_again_with_another_key_is_seen(
    installation: Installation,
) -> None:
    broken = Rounds(installation, SEED, works=WORKS, keeps_keys=False)
    # A settle or release is known by its reservation: only others can happen twice. Which of
    # them are cut off is a matter of timing, so more than one round may be needed.
    for number in range(1, 9):
        await broken.play(number, "cut after commit")
        if broken.doubled.found:
            break
    assert not broken.verdict().is_proven
    # One more for each that was cut off after its commit; the books alone are in order.
    assert broken.doubled.found > 0
    assert broken.sums.found > 0
    assert broken.findings.found == 0


_FORGET = """
with gone as (
    delete from credits.transactions where account_id = any($1) and idempotency_key = (
        select min(t.idempotency_key) from credits.transactions as t
        where t.account_id = any($1) and t.operation = 'deduct'
    )
    returning *
)
insert into forgotten select * from gone
"""


class _Forgetting(Rounds):
    """Rounds in which Postgres forgets a deduction, as on a disk that lies about its fsync."""

    async def judge(
        self, number: int, name: str, truth: Truth, opened: Opened, works: list[Work]
    ) -> None:
        async with self.installation.admin() as admin:
            # As a superuser can: the ledger's own guards do not run then.
            await admin.execute("set session_replication_role = replica")
            await admin.execute("create temporary table forgotten (like credits.transactions)")
            await admin.execute(_FORGET, opened.all)
            await super().judge(number, name, truth, opened, works)
            await admin.execute("insert into credits.transactions select * from forgotten")


async def test_what_was_acknowledged_and_is_gone_is_seen(installation: Installation) -> None:
    rounds = _Forgetting(installation, SEED, works=WORKS)
    await rounds.play(1, "Valkey killed")
    assert rounds.lost.found == 1
    assert rounds.findings.found > 0
    assert not rounds.verdict().is_proven


async def test_workers_that_do_not_sweep_are_seen(installation: Installation) -> None:
    rounds = Rounds(installation, SEED, works=WORKS, margin_seconds=SHORT_MARGIN)
    for worker in installation.workers:
        os.kill(worker.pid, signal.SIGSTOP)
    try:
        await rounds.play(2, "cut after commit")
    finally:
        for worker in installation.workers:
            os.kill(worker.pid, signal.SIGCONT)
    # Each that was left behind is kept, whether its caller had an answer or not.
    assert rounds.overdue.leaked.found == rounds.overdue.leaked.of > 0
    assert rounds.overdue.undone.found == rounds.overdue.undone.of == 2
    # What is kept is where it was: nothing but time is missing.
    assert (rounds.lost.found, rounds.doubled.found, rounds.findings.found) == (0, 0, 0)
    assert not rounds.verdict().is_proven


async def test_an_expiry_that_skips_some_reservations_is_seen(installation: Installation) -> None:
    rounds = Rounds(installation, SEED, works=WORKS, margin_seconds=SHORT_MARGIN)
    due = "r.expires_at <= v_upto"
    skips = f"{due} and r.amount % 2 = 0"
    async with _broken(installation, "credits/_expire_due.sql", due, skips):
        await rounds.play(1, "API killed")
    assert 0 < rounds.overdue.leaked.found < rounds.overdue.leaked.of
    assert not rounds.verdict().is_proven


async def test_a_grant_that_nobody_knows_to_be_due_is_seen(installation: Installation) -> None:
    rounds = Rounds(installation, SEED, works=WORKS, margin_seconds=SHORT_MARGIN)
    due = "min(case g.state when 'scheduled' then g.effective_at when 'live' then g.expires_at end)"
    async with _broken(installation, "credits/_next_due.sql", due, "min(null::timestamptz)"):
        await rounds.play(1, "connections reset")
    assert rounds.overdue.undone.found == 2
    assert not rounds.verdict().is_proven


@pytest.mark.parametrize(
    ("says", "lost", "doubled"),
    [
        ("where p_type <> 'credits.granted'", True, False),
        ("union all select p_account_id, p_version + 9, p_type, p_payload, p_at", False, True),
    ],
)
async def test_an_outbox_that_says_too_little_or_too_much_is_seen(
    installation: Installation,
    says: str,
    lost: bool,  # noqa: FBT001  # a case
    doubled: bool,  # noqa: FBT001  # a case
) -> None:
    rounds = Rounds(installation, SEED, works=WORKS)
    told = "values (p_account_id, p_version, p_type, p_payload, p_at)"
    instead = f"select p_account_id, p_version, p_type, p_payload, p_at {says}"
    async with _broken(installation, "events/emit.sql", told, instead):
        await rounds.play(1, "Valkey stopped")
    assert (rounds.lost.found > 0, rounds.doubled.found > 0) == (lost, doubled)


async def test_one_credit_more_than_there_is_is_seen(installation: Installation) -> None:
    rounds = Rounds(installation, SEED, works=WORKS)
    limit = "if q.amount > v_spendable then\n                outcome"
    async with _broken(
        installation, "credits/reserve.sql", limit, limit.replace("spendable", "spendable + 1e6")
    ):
        await rounds.play(1, "backend ended")
    assert rounds.sums.found == 1
    assert not rounds.verdict().is_proven


async def test_what_an_api_cannot_explain_is_seen(installation: Installation) -> None:
    rounds = Rounds(installation, SEED, works=WORKS)
    begin = "begin\n    perform credits._check_key(p_idempotency_key);"
    fails = "begin if random() < 0.2 then raise exception 'broken on purpose'; end if;"
    async with _broken(installation, "credits/deduct.sql", begin, begin.replace("begin", fails)):
        await rounds.play(1, "Valkey stopped")
    assert rounds.internal.found > 0
    # Nothing is broken but Valkey: somebody had no answer all the same.
    assert rounds.silent.found > 0
    assert rounds.doubled.found == 0


class _Deserted(Rounds):
    """Rounds in which a worker ends by itself."""

    async def judge(
        self, number: int, name: str, truth: Truth, opened: Opened, works: list[Work]
    ) -> None:
        [worker, *_] = self.installation.workers
        os.kill(worker.pid, signal.SIGKILL)
        await worker.ended()
        await super().judge(number, name, truth, opened, works)
        await self.installation.start([worker])


async def test_a_worker_that_ends_by_itself_is_seen(installation: Installation) -> None:
    rounds = _Deserted(installation, SEED, works=WORKS)
    await rounds.play(1, "Valkey killed")
    assert rounds.ended.found == 1


async def test_a_fault_that_was_never_met_is_seen(installation: Installation) -> None:
    # Too few for a crowd inside of Postgres: it was killed, and hardly anything under way.
    rounds = Rounds(installation, SEED, works=6, kinds=["Postgres killed", "API killed"])
    await rounds.play(1, "Postgres killed")
    assert rounds.unmet.of == 2
    assert rounds.unmet.found == 2
    assert not rounds.verdict().is_proven


async def test_a_fault_that_costs_answers_it_must_not_is_seen(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    loud = Fault(FAULTS["connections reset"].strike, answers_all=True)
    monkeypatch.setitem(FAULTS, "Valkey killed", loud)
    rounds = Rounds(installation, SEED, works=WORKS)
    await rounds.play(1, "Valkey killed")
    assert rounds.silent.found > 0


async def test_a_postgres_that_does_not_wait_for_its_log_is_seen(
    installation: Installation,
) -> None:
    # An API would not start so: turned off behind its back.
    await installation.forget_commits(forgets=True)
    try:
        rounds = Rounds(installation, SEED, works=WORKS)
        for number in range(1, 6):
            await rounds.play(number, "Postgres killed")
            if rounds.lost.found:
                break
    finally:
        await installation.forget_commits(forgets=False)
    assert rounds.lost.found > 0
    assert not rounds.verdict().is_proven
