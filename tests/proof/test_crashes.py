"""The rounds with a crash, a few of them; and that they go red where something is broken."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncpg
import pytest

from tests.proof.crashes.accounts import Opened
from tests.proof.crashes.faults import FAULTS, drawn
from tests.proof.crashes.installation import Installation, installed
from tests.proof.crashes.load import Truth, Work
from tests.proof.crashes.rounds import Rounds

ROUNDS = 25
WORKS = 120
SEED = 20261126
# Servers start and recover many times over.
pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installation]:
    """One for all tests: each round has accounts of its own."""
    async with installed(tmp_path_factory.mktemp("crashes")) as made:
        yield made


@pytest.fixture
async def spoilt(tmp_path: Path) -> AsyncIterator[Installation]:
    """One of its own, for a test that leaves its books broken."""
    async with installed(tmp_path) as made:
        yield made


def test_every_fault_comes_in_turn() -> None:
    for first in range(1, ROUNDS, len(FAULTS)):
        faults = {drawn(SEED, number) for number in range(first, first + len(FAULTS))}
        assert faults == set(FAULTS)


async def test_nothing_acknowledged_is_lost_and_nothing_happens_twice(
    installation: Installation, record_property: Callable[[str, object], None]
) -> None:
    rounds = Rounds(installation, SEED, works=WORKS)
    for number in range(1, ROUNDS + 1):
        await rounds.play(number)
    verdict = rounds.verdict()
    record_property("figures", verdict.told())
    assert verdict.is_proven, verdict.told()
    assert set(rounds.played) == set(FAULTS)
    # Rounds in which nobody missed an answer would prove nothing.
    assert rounds.committed.total() > 0
    assert rounds.errors.total() > rounds.committed.total()


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


class _Forgetting(Rounds):
    """Rounds in which Postgres forgets a deduction, as on a disk that lies about its fsync."""

    async def judge(
        self, number: int, name: str, truth: Truth, opened: Opened, works: list[Work]
    ) -> None:
        admin = await asyncpg.connect(self.installation.admin_url)
        # As a superuser can: the ledger's own guards do not run then.
        await admin.execute("set session_replication_role = replica")
        await admin.execute(
            "delete from credits.transactions where operation = 'deduct' and idempotency_key ="
            " (select min(idempotency_key) from credits.transactions where operation = 'deduct')"
        )
        await admin.close()
        await super().judge(number, name, truth, opened, works)


async def test_what_was_acknowledged_and_is_gone_is_seen(spoilt: Installation) -> None:
    rounds = _Forgetting(spoilt, SEED, works=WORKS)
    await rounds.play(1, "Valkey killed")
    assert rounds.lost.found == 1
    assert rounds.findings.found > 0
    assert not rounds.verdict().is_proven


async def test_a_postgres_that_does_not_wait_for_its_log_is_seen(
    installation: Installation,
) -> None:
    # An API would not start so: turned off behind its back, on connections made from now on.
    await _set(installation, "set synchronous_commit = off")
    try:
        rounds = Rounds(installation, SEED, works=WORKS)
        for number in range(1, 6):
            await rounds.play(number, "Postgres killed")
            if rounds.lost.found:
                break
    finally:
        await _set(installation, "reset synchronous_commit")
    assert rounds.lost.found > 0
    assert not rounds.verdict().is_proven


async def _set(installation: Installation, what: str) -> None:
    admin = await asyncpg.connect(installation.admin_url)
    await admin.execute(f"alter database exchequer {what}")
    await admin.close()
    installation.proxy.reset()
