"""Whatever is sent: never a 5xx, each error coded, none of them ours, nothing left behind.

The same requests each time, so that what once passed passes again; `make fuzz` sends more.
"""

import hashlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.fuzzing import control, documents
from tests.fuzzing.judge import CATALOGUE, Wrong, judge, judge_event, judge_message
from tests.fuzzing.kinds import KINDS, script
from tests.fuzzing.report import Report
from tests.fuzzing.run import CPU_SECONDS, fuzz
from tests.fuzzing.server import Installation, installed
from tests.fuzzing.wire import Answer

REQUESTS = 12_000
SEED = 7


@pytest.fixture(scope="module")
async def place() -> AsyncIterator[Installation]:
    async with installed() as made:
        yield made


@pytest.mark.timeout(400)
async def test_whatever_is_sent_is_answered_well_and_leaves_nothing_behind(
    place: Installation, record_property: Callable[[str, object], None]
) -> None:
    report = await fuzz(place, SEED, REQUESTS)
    record_property("figures", report.told())
    assert not report.failures, report.told()
    assert report.played == REQUESTS
    assert report.good == REQUESTS // 1_000 + 1
    assert set(report.kinds) == {kind.__name__ for kind in KINDS}


# A fault, and how all that is then found begins.
PLANTED = {
    "a 5xx": "a 5xx",
    "an exception": "in the log: Exception in ASGI application",
    "a slow refusal": "a refusal of ",
    "a leak": "memory grew",
}


@pytest.mark.parametrize("faults", [[*PLANTED][:-1], [*PLANTED][-1:]], ids=", ".join)
async def test_planted_faults_are_found_and_nothing_else(
    faults: list[str], place: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANTED", ", ".join(faults))
    # Caches are not full by then; only a leak is to be taken for one.
    warm = 0 if "a leak" in faults else 200
    # What is slow each time need not be tried often.
    report = await fuzz(place, SEED, 200, module="tests.fuzzing.planted", warm=warm, rounds=2)
    due = {PLANTED[fault] for fault in faults}
    found = {begun for begun in due for what in report.failures if what.startswith(begun)}
    assert found == due, report.told()
    assert all(what.startswith(tuple(due)) for what in report.failures), report.told()


def test_a_seed_and_an_index_always_make_the_same_bytes() -> None:
    first, second, other = (
        hashlib.sha256("".join(repr(script(seed, index)) for index in range(600)).encode())
        for seed in (SEED, SEED, SEED + 1)
    )
    assert first.digest() == second.digest() != other.digest()


@pytest.mark.parametrize("operation", documents.DOCUMENTS)
def test_the_fuzzer_knows_the_variables_of_every_document(operation: str) -> None:
    (kind, played) = script(SEED, 0)
    assert kind
    assert played.steps
    assert documents.VARIABLES[operation]


def answer(status: int = 200, errors: object = None, **changed: object) -> Answer:
    body: dict[str, object] = {"data": {}} if errors is None else {"errors": [errors]}
    headers = {"content-type": "application/json", "x-request-id": "fuzz-1-1"}
    return Answer(status, headers, json.dumps(body | changed).encode())


GOOD: dict[str, Any] = {
    "message": "No.",
    "extensions": {"code": "BAD_REQUEST", "requestId": "fuzz-1-1"},
}
PLAIN = Answer(400, {"content-type": "text/plain"}, b"Invalid HTTP request received.")
WRONG = {
    "5xx": answer(500, GOOD),
    "unavailable": answer(503, GOOD),
    "no code": answer(400, GOOD | {"extensions": {"requestId": "fuzz-1-1"}}),
    "unknown code": answer(400, GOOD | {"extensions": {"code": "X", "requestId": "fuzz-1-1"}}),
    "no id": answer(400, GOOD | {"extensions": {"code": "BAD_REQUEST"}}),
    "another id": answer(400, GOOD | {"extensions": GOOD["extensions"] | {"requestId": "x"}}),
    "no message": answer(400, GOOD | {"message": ""}),
    "internal": answer(200, GOOD | {"extensions": GOOD["extensions"] | {"code": "INTERNAL"}}),
    "busy": answer(200, GOOD | {"extensions": GOOD["extensions"] | {"code": "BUSY"}}),
    "no errors": answer(400),
    "traceback": answer(200, x='Traceback (most recent call last):\n  File "/app/x.py", line 1'),
    "path": answer(200, GOOD | {"message": 'in File "/srv/app/http.py", line 3'}),
    "sql": answer(200, GOOD | {"message": "select * from credits.accounts where id = $1"}),
    "postgres": answer(200, GOOD | {"message": 'relation "accounts" does not exist'}),
    "plain": PLAIN,
    "list": Answer(200, {"content-type": "application/json"}, b"[]"),
    "cut": Answer(200, {"content-type": "application/json"}, b"{"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_answer_is_found(what: str) -> None:
    with pytest.raises(Wrong):
        judge(WRONG[what], plain=False)


def test_a_right_answer_is_none() -> None:
    assert "BAD_REQUEST" in CATALOGUE
    assert judge(answer(400, GOOD), plain=False)
    assert judge(PLAIN, plain=True)
    assert not judge(answer(200), plain=False)


def test_wrong_messages_and_events_are_found() -> None:
    error = {"message": "No."}
    for message in (
        {"id": "1", "type": "error", "payload": [error]},
        {"id": "1", "type": "next", "payload": {"errors": [error]}},
    ):
        with pytest.raises(Wrong):
            judge_message(json.dumps(message).encode())
    with pytest.raises(Wrong):
        judge_event(b"event: next\ndata: " + json.dumps({"errors": [error]}).encode())


def test_a_slow_machine_is_counted_out_and_a_fast_one_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for standard, told in ((1e-9, 1.0), (1e9, 1.0)):
        monkeypatch.setattr(control, "_STANDARD_SECONDS", standard)
        assert control.slowness() >= told
        assert (control.slowness() == 1.0) is (standard > 1)


def test_a_failure_says_how_to_play_it_again() -> None:
    report = Report(SEED)
    report.fail("a 5xx", "500", 3)
    [failure] = report.failures.values()
    assert f"--seed {SEED} --only 3" in failure.examples[0]
    assert script(SEED, 3)[1].written() in failure.examples[0]


def test_refusals_that_cost_and_memory_that_grows_are_found() -> None:
    mebibyte = 2**20
    report = Report(SEED, memory={"warm": 100 * mebibyte, "end": 118 * mebibyte})
    report.cost(0, CPU_SECONDS)
    report.weigh(CPU_SECONDS)
    assert "0 requests" in report.told()
    assert not report.failures
    report.cost(1, CPU_SECONDS + 0.001, again=True)
    report.memory["end"] += mebibyte
    report.weigh(CPU_SECONDS)
    kind, _ = script(SEED, 1)
    assert report.failures.keys() == {f"a refusal of {kind} costs too much", "memory grew"}
