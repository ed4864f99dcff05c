"""`exchequer replay` from end to end, against the real server."""

import asyncio
from itertools import islice
from pathlib import Path

import pytest

from app.replay.figures import show_credits
from app.replay.plan import Options, survey
from db.driver import Connection
from tests.replay.conftest import Replay, Replayed, Serving
from tests.support.callers import ADMIN_KEY
from tests.support.traces import write_trace

REAL = Path(__file__).parents[3] / "shared" / "traces" / "azure-llm-conversations-2023.csv"
TEN_OF_WHICH_THREE = ("--organizations", "10", "--exhausted", "3", "--speed", "40")


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return write_trace(tmp_path / "trace.csv")


def _adds_up(replayed: Replayed, calls: int, exhausted: int) -> None:
    """All that a replay proves, from its raw results and not from its verdict."""
    raw, organizations = replayed.raw, replayed.raw["organizations"]
    assert replayed.out.splitlines()[-1] == "Everything adds up."
    assert (replayed.code, raw["problems"], raw["adds_up"]) == (0, [], True)
    assert (raw["audited"], raw["findings"], raw["failures"]) == (True, [], {})
    assert sum(o["calls"] for o in organizations) == calls
    assert sum(o["settled"] + o["refused"] for o in organizations) == calls
    for organization in organizations:
        recorded = organization["recorded"]
        assert recorded["charged"] == recorded["used_this_period"] == organization["expected"]
        assert recorded["granted"] - recorded["charged"] == recorded["available"]
        assert (recorded["reserved"], recorded["overage"], organization["overspend"]) == (0, 0, 0)
        assert (organization["refused"] > 0) == organization["runs_out"]
    assert sum(o["runs_out"] for o in organizations) == exhausted


async def test_a_trace_adds_up_to_the_micro_credit(replay: Replay, trace: Path) -> None:
    done = await replay(trace, *TEN_OF_WHICH_THREE, process=True)
    _adds_up(done, calls=300, exhausted=3)
    plan = survey(Options(trace, "", "", organizations=10, exhausted=3))
    organizations = done.raw["organizations"]
    for share, organization in zip(plan.shares, organizations, strict=True):
        granted = share.charge // 2 if organization["runs_out"] else share.bounds
        assert (organization["calls"], organization["recorded"]["granted"]) == (
            share.calls,
            granted,
        )
        if not organization["runs_out"]:
            assert organization["expected"] == share.charge
    expected = show_credits(sum(o["expected"] for o in organizations))
    refused = sum(o["refused"] for o in organizations)
    told = done.told
    assert told["calls"].startswith("300 in ")
    assert told["settled"] == str(300 - refused)
    assert told["refused"] == f"{refused}; 3 of 3 organizations meant to run out did"
    assert (told["failed"], told["retries"], told["expected"]) == ("0", "0", expected)
    assert told["charged"] == f"{expected} by the ledgers, {expected} by the balances"
    assert told["overspend"] == "0.000000"
    assert told["audit"] == "clean, 10 accounts"
    assert told["pushes"] == (
        f"{done.raw['pushes']} over 1 sockets, 0 reconnects;"
        " versions only rose, up to the final balance: yes"
    )
    # A snapshot for each, and no fewer than one push for each that called.
    assert done.raw["pushes"] >= 20
    assert done.err.splitlines()[-1].startswith(f"300 of 300 calls, refused {refused}, behind ")


async def test_the_ledger_holds_the_usage_of_every_call(
    replay: Replay, trace: Path, admin: Connection
) -> None:
    done = await replay(trace, "--speed", "40", "--microcredits-per-token", "7,0", "--limit", "40")
    _adds_up(done, calls=40, exhausted=0)
    calls = [call for call, _ in islice(Options(trace, "", "").calls(), 40)]
    rows = await admin.fetch(
        "select credits, input_tokens, output_tokens, operation from usage.records order by 2, 3"
    )
    sizes = sorted((call.context_tokens, call.generated_tokens) for call in calls)
    assert [tuple(row) for row in rows] == [(7 * i, i, o, "chat") for i, o in sizes]


async def test_an_administrator_names_the_project(
    replay: Replay, serving: Serving, trace: Path
) -> None:
    options = ("--limit", "20", "--speed", "40", "--organizations", "2")
    done = await replay(trace, *options, key=ADMIN_KEY)
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        f"exchequer: {serving.url} cannot be worked with: VALIDATION_ERROR: A value is out of"
        " range or malformed. projectId: must name the project: this key belongs to none."
        " Correct the field that is named and send the request again.\n"
    )
    done = await replay(trace, *options, "--project", serving.project_id, key=ADMIN_KEY)
    _adds_up(done, calls=20, exhausted=0)


async def test_a_wrong_key_is_said_in_one_line(
    replay: Replay, serving: Serving, trace: Path
) -> None:
    done = await replay(trace, key="exq_p_wrong")
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        f"exchequer: {serving.url} cannot be worked with: UNAUTHENTICATED: No valid key was sent."
        " Send `Authorization: Bearer <key>`; the key may be mistyped, expired or revoked.\n"
    )


async def test_without_a_database_the_audit_is_said_not_to_have_run(
    replay: Replay, trace: Path
) -> None:
    done = await replay(trace, "--limit", "20", "--speed", "40", audit=False)
    assert (done.code, done.raw["audited"]) == (0, False)
    assert done.told["audit"] == (
        "not run: it reads the database, give --audit-database or DATABASE_URL"
    )


async def test_lost_answers_are_asked_for_again_and_nothing_is_done_twice(
    replay: Replay, serving: Serving, trace: Path
) -> None:
    moved = 0

    async def lose_every_fifth_move(_serving: Serving, body: bytes) -> bool:
        nonlocal moved
        moved += b"mutation" in body
        return b"mutation" in body and moved % 5 == 0

    serving.meddler = lose_every_fifth_move
    done = await replay(trace, *TEN_OF_WHICH_THREE)
    _adds_up(done, calls=300, exhausted=3)
    # Three to make each organization, a reserve for each call, and the settles.
    needed = 10 * 3 + 300 + sum(o["settled"] for o in done.raw["organizations"])
    assert moved == needed + serving.lost
    assert serving.lost == moved // 5 == done.raw["retries"]


async def test_a_server_that_goes_away_and_comes_back_loses_nothing(
    replay: Replay, serving: Serving, trace: Path
) -> None:
    in_the_middle = asyncio.Event()

    async def count(serving: Serving, _body: bytes) -> bool:
        if serving.requests == 250:
            in_the_middle.set()
        return False

    serving.meddler = count
    running = asyncio.create_task(replay(trace, *TEN_OF_WHICH_THREE))
    await in_the_middle.wait()
    await serving.stop()
    await serving.start()
    done = await running
    _adds_up(done, calls=300, exhausted=3)
    assert done.raw["retries"] > 0
    assert done.raw["reconnects"] == 1


# What is falsified, and what is said of it.
TAMPERED = {
    "a balance": (
        """update credits.accounts set
            available = available + 1, bonus = bonus + 1, granted_total = granted_total + 1
            where account_id = '{id}'""",
        "organization {id}: the balance holds {more}, expected {left}",
    ),
    "the spent total": (
        """update credits.accounts set spent_total = spent_total + 1, available = available - 1
            where account_id = '{id}'""",
        "organization {id}: usedThisPeriod says {used_more}, expected {used}",
    ),
    "two charges": (
        """update credits.transactions as t set amount = t.amount + o.more
            from (select account_id, version, 2 * (row_number() over (order by version)) - 3 as more
                from credits.transactions
                where account_id = '{id}' and type = 'consumption' order by version limit 2) as o
            where o.account_id = t.account_id and o.version = t.version""",
        "organization {id}: the sums agree, but a call was charged another amount than it settled",
    ),
}


@pytest.mark.parametrize("what", TAMPERED)
async def test_what_does_not_add_up_is_found_and_named(
    replay: Replay, serving: Serving, trace: Path, admin: Connection, what: str
) -> None:
    """The books are falsified when the calls are over and before they are read."""
    statement, line = TAMPERED[what]
    victim: list[str] = []
    falsified = asyncio.Lock()

    async def falsify(_serving: Serving, body: bytes) -> bool:
        async with falsified:
            if b"usedThisPeriod" in body and not victim:
                newest = await admin.fetchval("select max(id::text) from identity.organizations")
                # Even a superuser has to switch the ledger's guards off first.
                await admin.execute("set session_replication_role = 'replica'")
                assert await admin.execute(statement.format(id=newest)) != "UPDATE 0"
                victim.append(newest)
        return False

    serving.meddler = falsify
    done = await replay(trace, "--limit", "60", "--speed", "40", "--organizations", "2")
    [organization] = [o for o in done.raw["organizations"] if o["id"] == victim[0]]
    spent = organization["expected"]
    left = organization["recorded"]["granted"] - spent
    said = line.format(
        id=victim[0],
        more=show_credits(left + 1),
        left=show_credits(left),
        used_more=show_credits(spent + 1),
        used=show_credits(spent),
    )
    assert (done.code, done.raw["adds_up"]) == (1, False)
    assert done.raw["problems"][0] == said
    assert done.out.partition("It does NOT add up:\n")[2].splitlines()[0] == f"  {said}"
    # The auditor, asked on its own, finds the same row.
    assert any(finding.startswith(victim[0]) for finding in done.raw["findings"])


@pytest.mark.skipif(not REAL.exists(), reason=f"the recorded trace is not at {REAL}")
async def test_the_beginning_of_the_recorded_trace_adds_up(replay: Replay) -> None:
    done = await replay(REAL, "--limit", "200", *TEN_OF_WHICH_THREE)
    _adds_up(done, calls=200, exhausted=3)
