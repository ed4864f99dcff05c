"""The comparison: each thing that may not add up is named with its figures."""

from dataclasses import replace

import pytest

from app.replay.books import Account, Record, compare, fingerprint


def _account() -> Account:
    account = Account("o", runs_out=False, calls=2)
    account.settle("a", 3_000_000)
    account.settle("b", 1_000_000)
    return account


def _record(**changed: int) -> Record:
    print_ = fingerprint("a", 3_000_000) + fingerprint("b", 1_000_000)
    record = Record(
        available=6_000_000,
        reserved=0,
        overage=0,
        used_this_period=4_000_000,
        version=9,
        granted=10_000_000,
        charged=4_000_000,
        fingerprint=print_,
    )
    return replace(record, **changed)


def test_books_that_agree_leave_nothing_to_say() -> None:
    assert compare(_account(), _record()) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"used_this_period": 4_000_001},
            "usedThisPeriod says 4.000001, expected 4.000000",
        ),
        (
            {"charged": 5_000_000, "available": 5_000_000},
            "the ledger charged 5.000000, expected 4.000000",
        ),
        (
            {"fingerprint": fingerprint("a", 2_000_000) + fingerprint("b", 2_000_000)},
            "the sums agree, but a call was charged another amount than it settled",
        ),
        ({"available": 6_000_002}, "the balance holds 6.000002, expected 6.000000"),
        ({"overage": 1}, "the balance holds 5.999999, expected 6.000000"),
        (
            {"granted": 3_000_000, "available": 0, "overage": 1_000_000},
            "overspent: charged 4.000000 of 3.000000 granted",
        ),
        (
            {"reserved": 1_000_000, "available": 5_000_000},
            "1.000000 are still reserved, though all is settled",
        ),
    ],
)
def test_what_the_server_recorded_otherwise_is_named(changed: dict[str, int], said: str) -> None:
    assert compare(_account(), _record(**changed)) == [f"organization o: {said}"]


def test_overspend_is_what_was_charged_beyond_what_was_granted() -> None:
    assert _record().overspend == 0
    assert _record(granted=3_999_999).overspend == 1


def test_only_those_meant_to_run_out_may_be_refused() -> None:
    account = _account()
    account.refused = 2
    assert compare(account, _record()) == [
        "organization o: 2 calls were refused, though it was granted enough for all"
    ]
    account.runs_out = True
    assert compare(account, _record()) == []


def test_what_a_failed_call_left_reserved_is_no_fault_of_the_books() -> None:
    account = _account()
    account.failed = 1
    assert compare(account, _record(reserved=1_000_000, available=5_000_000)) == []


def test_a_charge_of_nothing_leaves_no_trace() -> None:
    assert fingerprint("a", 0) == 0
    assert fingerprint("a", 1) != fingerprint("b", 1) != fingerprint("b", 2)
