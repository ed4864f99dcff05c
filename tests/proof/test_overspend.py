"""The proof against overspend at the size of CI, and that it goes red on locks that are wrong."""

from collections.abc import Callable
from typing import Final

import pytest

from app.credits import Credits, ReserveRequest
from db.apply import FUNCTIONS
from db.driver import Connection
from tests.proof.ground import Ground
from tests.proof.overspend.doors import Answer
from tests.proof.overspend.judge import Judge, Told
from tests.proof.overspend.rounds import CALLERS, ENTRIES, Entry, Round, round_of
from tests.proof.overspend.run import prove
from tests.races.test_broken_lock import BROKEN, READ
from tests.support.accounts import CREDIT, Accounts

# 20 of them have a known number of places.
ROUNDS: Final = 26
EXACT: Final = 20
SEED: Final = 20260131
# A process has one call of an account under way: who has read stays until the other process has
# read the same. The last calls of all have nobody to wait for, and go on after a while.
MEETING: Final = """
    perform pg_advisory_xact_lock_shared(20260131);
    declare
        v_alone_until constant timestamptz := clock_timestamp() + interval '3 seconds';
    begin
        while clock_timestamp() < v_alone_until and (
            select count(*) from pg_locks as l
            where l.locktype = 'advisory' and l.objid = 20260131 and l.granted and l.database = (
                select d.oid from pg_database as d where d.datname = current_database()
            )
        ) < 2 loop
            perform pg_sleep(0.005);
        end loop;
    end;
"""


@pytest.mark.timeout(300)
async def test_exactly_as_many_are_accepted_as_there_are_credits_for(
    ground: Ground, record_property: Callable[[str, object], None]
) -> None:
    verdict = await prove(ground, (round_of(SEED, number) for number in range(ROUNDS)), SEED)
    told = verdict.told()
    record_property("figures", told)
    assert verdict.is_proven, told
    assert verdict.figures["requests to reserve"] >= ROUNDS * CALLERS
    tried = {zero.what: zero.of for zero in verdict.zeros}
    assert tried["not as many accepted as there are places"] == EXACT


@pytest.mark.parametrize("lock", BROKEN)
async def test_it_goes_red_on(lock: str, ground: Ground) -> None:
    text = (FUNCTIONS / "credits" / "_lock.sql").read_text(encoding="utf-8")
    assert READ in text
    # Through SQL: in one process, `Credits` may put callers in a row of its own.
    crowd = Round(0, Entry.SQL, 500 * CREDIT, (CREDIT,) * CALLERS, 500)
    verdict = await prove(
        ground, [crowd], SEED, entries=[Entry.SQL], broken=text.replace(READ, BROKEN[lock])
    )
    found = {zero.what: zero.found for zero in verdict.zeros}
    told = verdict.told()
    assert found["accepted without credits for it"] > 0, told
    assert found["places that were left or taken twice"] > 0, told
    assert found["not as many accepted as there are places"] == 1, told
    assert found["balances that are not exact"] == 1, told
    assert found["versions missing or given twice"] > 0, told
    assert found["findings of the audit"] > 0, told
    assert not verdict.is_proven


@pytest.mark.parametrize("entry", [Entry.CREDITS, Entry.HTTP])
async def test_it_goes_red_on_two_processes_that_do_not_lock(entry: Entry, ground: Ground) -> None:
    text = (FUNCTIONS / "credits" / "_lock.sql").read_text(encoding="utf-8")
    crowd = Round(ENTRIES.index(entry), entry, 200 * CREDIT, (CREDIT,) * 400, 200)
    broken = text.replace(READ, BROKEN["no lock"] + MEETING)
    verdict = await prove(ground, [crowd], SEED, entries=[entry], broken=broken)
    assert verdict.zeros[0].found > 0, verdict.told()


def test_of_the_rounds_that_are_published_over_200_have_a_known_number_of_places() -> None:
    assert sum(round_of(7, number).places is not None for number in range(300)) == 204
    in_ci = [round_of(SEED, number).places for number in range(ROUNDS)]
    assert sum(places is not None for places in in_ci) == EXACT


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (Answer(None, "INSUFFICIENT_CREDITS", 6 * CREDIT), "refused while there was room"),
        (Answer(None, "INSUFFICIENT_CREDITS", CREDIT), "refused while there was room"),
        (Answer(None, "INSUFFICIENT_CREDITS"), "refused while there was room"),
        (Answer(None, "INTERNAL"), "faults"),
    ],
)
async def test_a_wrong_no_is_seen(
    answer: Answer, what: str, accounts: Accounts, admin: Connection, credits: Credits
) -> None:
    account = await accounts.open(10)
    held = await credits.reserve(account, ReserveRequest("a", 4 * CREDIT))
    yes = (4 * CREDIT, Answer(held.reservation_id))
    done = Round(0, Entry.SQL, 10 * CREDIT, (4 * CREDIT, 7 * CREDIT), 1)

    fair = Judge(SEED, admin, credits)
    no = Answer(None, "INSUFFICIENT_CREDITS", 6 * CREDIT)
    await fair.look(done, account, Told([yes, (7 * CREDIT, no)]))
    assert [zero.found for zero in fair.zeros] == [0] * len(fair.zeros)

    judge = Judge(SEED, admin, credits)
    await judge.look(done, account, Told([yes, (6 * CREDIT, answer)]))
    assert {zero.what: zero.found for zero in judge.zeros if zero.found} == {what: 1}


async def test_a_yes_that_postgres_does_not_hold_is_seen(
    accounts: Accounts, admin: Connection, credits: Credits
) -> None:
    account = await accounts.open(10)
    judge = Judge(SEED, admin, credits)
    done = Round(0, Entry.SQL, 10 * CREDIT, (CREDIT,), 1)
    await judge.look(done, account, Told([(CREDIT, Answer(account))]))
    assert {zero.what: zero.found for zero in judge.zeros if zero.found} == {
        "answers that are not what Postgres holds": 1
    }


async def test_each_place_that_is_left_is_counted(
    accounts: Accounts, admin: Connection, credits: Credits
) -> None:
    account = await accounts.open(10)
    judge = Judge(SEED, admin, credits)
    no = Answer(None, "INSUFFICIENT_CREDITS", 10 * CREDIT)
    done = Round(0, Entry.SQL, 10 * CREDIT, (11 * CREDIT,) * 5, 3)
    await judge.look(done, account, Told([(11 * CREDIT, no)] * 5))
    assert {zero.what: zero.found for zero in judge.zeros if zero.found} == {
        "places that were left or taken twice": 3,
        "not as many accepted as there are places": 1,
    }


def test_every_way_sees_the_edges() -> None:
    first = [round_of(SEED, number) for number in range(4 * len(ENTRIES))]
    for entry in ENTRIES:
        edges = [one.places for one in first if one.entry is entry]
        assert edges == [0, CALLERS, 1, CALLERS - 1]
    assert round_of(SEED, 17) == round_of(SEED, 17)
    kinds = [round_of(SEED, number) for number in range(ROUNDS)]
    assert any(one.is_returning for one in kinds)
    assert any(len({*one.amounts}) > 1 for one in kinds)
    assert any(one.set_size > 1 for one in kinds)
