"""The proof of all orders at the size of CI, and that it goes red on locks that are wrong."""

import re
from collections.abc import Callable
from typing import Final

import pytest

from tests.conftest import Servers
from tests.proof.ground import Ground
from tests.proof.interleavings.cases import MERGES, Scope, is_name, merges
from tests.proof.interleavings.pauses import statements
from tests.proof.interleavings.run import prove
from tests.races.scenes import OPERATIONS, SCENES

COUNT: Final = 4_500
RED_COUNT: Final = 300
SEED: Final = 20260131
# Where a lock is missed: all want what is there for one.
TENSE: Final = Scope(
    ("reserve", "extend", "settle", "release", "deduct", "adjust"), ("enough for one",)
)

LOCK: Final = """    where a.account_id = p_account_id
    for no key update;
    if not found"""
SETTLE: Final = """    v_account := credits._lock(p_account_id);
    select a.version into v_version_before
    from credits.accounts as a
    where a.account_id = p_account_id;
    version_before := v_version_before;

    -- What lapsed"""


@pytest.fixture
def ground(servers: Servers, template: str) -> Ground:
    return Ground(servers, template)


def without_lock(text: str) -> str:
    return text.replace(LOCK, LOCK.replace("\n    for no key update", ""))


def lock_that_keeps_nobody_out(text: str) -> str:
    return text.replace(LOCK, LOCK.replace("no key update", "key share"))


def lock_after_the_read(text: str) -> str:
    again = (
        ";\n    perform from credits.accounts as a where a.account_id = p_account_id"
        "\n    for no key update;"
    )
    return text.replace(LOCK, LOCK.replace("\n    for no key update;", again))


def child_before_account(text: str) -> str:
    child = """    perform from credits.reservations as r
    where r.account_id = p_account_id and r.id = any(
        select u.reservation_id from unnest(p_requests) as u)
    for no key update;
"""
    return text.replace(SETTLE, child + SETTLE)


@pytest.mark.timeout(240)
async def test_every_order_is_as_one_after_the_other(
    ground: Ground, record_property: Callable[[str, object], None]
) -> None:
    verdict = await prove(ground, COUNT, SEED)
    told = verdict.told()
    record_property("figures", told)
    assert verdict.is_proven, told
    assert [zero.of for zero in verdict.zeros[:3]] == [COUNT] * 3
    # Nobody would be seen to wait by an explorer that runs one after the other itself.
    for seen in ("merges in which one waited for the other", "and in which B waited for A"):
        assert verdict.figures[seen] > COUNT // 10, told


@pytest.mark.parametrize("broken", [without_lock, lock_that_keeps_nobody_out, lock_after_the_read])
async def test_it_goes_red_on(broken: Callable[[str], str], ground: Ground) -> None:
    verdict = await prove(ground, RED_COUNT, SEED, scope=TENSE, mutate=broken)
    odd, deadlocks, endless, _ = verdict.zeros
    assert odd.found > 0, verdict.told()
    assert (deadlocks.found, endless.found) == (0, 0), verdict.told()
    assert not verdict.is_proven

    # What is printed plays it again.
    [name] = re.findall(r'--only "(.*?)"', odd.examples[0])
    again = (await prove(ground, RED_COUNT, SEED, only=name, mutate=broken)).zeros[0]
    assert (again.found, again.of) == (1, 1)
    assert again.examples == odd.examples[:1]


async def test_it_finds_the_deadlock_of_a_child_that_is_locked_before_its_account(
    ground: Ground,
) -> None:
    verdict = await prove(ground, RED_COUNT, SEED, scope=TENSE, mutate=child_before_account)
    odd, deadlocks, endless, audit = verdict.zeros
    assert deadlocks.found > 0, verdict.told()
    assert all("settle" in example for example in deadlocks.examples)
    # Whoever is ended by Postgres has done nothing, so the books are right all the same.
    assert (odd.found, endless.found, audit.found) == (0, 0, 0), verdict.told()
    assert not verdict.is_proven


def test_all_merges_of_all_pairs_are_there() -> None:
    assert len(MERGES) == len(set(MERGES)) == 20
    pairs = len(OPERATIONS) * (len(OPERATIONS) + 1) // 2
    names = {case.name for case in merges()}
    assert len(names) == pairs * 20 * len(SCENES)
    assert all(map(is_name, names))
    for wrong in ("x", "x/reserve/settle/AAABBB", "enough for one/reserve/x/1-0"):
        assert not is_name(wrong)


def test_a_body_is_taken_apart_at_its_statements() -> None:
    body = """
    declare v_a int := 1;
    begin
        -- begin; not one
        if v_a = case when true then 1 else 2 end then
            v_a := 'a;b';
        else
            for v_b in select 1 loop
                perform f(case when true then ';' end);
            end loop;
        end if;
    end
    """
    found = [body[one.start : one.end] for one in statements(body)]
    assert found == [
        "if v_a = case when true then 1 else 2 end then",
        "v_a := 'a;b';",
        "for v_b in select 1 loop",
        "perform f(case when true then ';' end);",
        "end loop;",
        "end if;",
    ]
