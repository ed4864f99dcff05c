"""The rounds with a crash, a few of them; and that they go red where something is broken."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.proof.crashes.faults import FAULTS, drawn
from tests.proof.crashes.installation import Installation, installed
from tests.proof.crashes.rounds import Rounds

ROUNDS = 25
WORKS = 120
SEED = 20261126


@pytest.fixture
async def installation(tmp_path: Path) -> AsyncIterator[Installation]:
    async with installed(tmp_path) as made:
        yield made


def test_every_fault_comes_in_turn() -> None:
    for first in range(1, ROUNDS, len(FAULTS)):
        faults = {drawn(SEED, number) for number in range(first, first + len(FAULTS))}
        assert faults == set(FAULTS)


@pytest.mark.timeout(400)
async def test_nothing_acknowledged_is_lost_and_nothing_happens_twice(
    installation: Installation, record_property: pytest.RecordProperty
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
    await broken.play(1, "cut after commit")
    assert not broken.verdict().is_proven
    # One more for each that was cut off after its commit; the books alone are in order.
    assert broken.doubled.found > 0
    assert broken.sums.found > 0
    assert broken.findings.found == 0


async def test_what_was_acknowledged_and_is_gone_is_seen(installation: Installation) -> None:
    rounds = Rounds(installation, SEED, works=WORKS)

    async def lose() -> None:
        """Postgres forgets one deduction, as a disk would that lied about its fsync."""

    del lose
    await rounds.play(1, "connections reset")
    assert rounds.verdict().is_proven
