"""100,000 operations against the model; and that the model finds what is broken on purpose."""

from collections.abc import Callable

import asyncpg
import pytest

from app.core.refusals import Refusal
from tests.conftest import Servers
from tests.proof.model.compare import Mismatch, same
from tests.proof.model.report import WHOLE, verdict
from tests.proof.model.run import Run
from tests.proof.model.seen import REQUIRED
from tests.proof.model.shapes import Refused
from tests.support.accounts import CREDIT

SEED = 1
# A slow machine plays as much as that is time for; the figures say how much that was.
SECONDS, LEAST = 240, 20_000


@pytest.mark.timeout(900)
async def test_the_product_answers_as_the_model_does(
    servers: Servers, database_name: str, record_property: Callable[[str, object], None]
) -> None:
    run = Run(servers, database_name, SEED)
    await run.play(WHOLE, SECONDS)
    result = verdict(run)
    record_property("figures", result.told())
    assert result.is_proven, result.told()
    assert run.played >= (LEAST if run.took >= SECONDS else WHOLE)


# What may be wrong while all still adds up: lines of a function, and what they become.
BROKEN: dict[str, tuple[str, dict[str, str]]] = {
    "a late settle is free": (
        "credits.settle",
        {
            "ordinal := q.ordinal;": "ordinal := q.ordinal;"
            " if q.status = 'expired' then q.asked_amount := 0; end if;"
        },
    ),
    "a settle is capped at what was reserved": (
        "credits.settle",
        {
            "ordinal := q.ordinal;": "ordinal := q.ordinal;"
            " q.asked_amount := least(q.asked_amount, q.amount);"
        },
    ),
    "another request under the same key is taken for a replay": (
        "credits.reserve",
        {
            "elsif q.seen_fingerprint = v_fingerprint then": "elsif q.seen_fingerprint"
            " is not null then"
        },
    ),
    "the last micro-credit cannot be reserved": (
        "credits.reserve",
        {"if q.amount > v_spendable then": "if q.amount >= v_spendable then"},
    ),
    "what lasts longer is drawn first": (
        "credits._draw",
        {"g.priority, g.expires_at nulls last": "g.priority, g.expires_at desc nulls first"},
    ),
    "what is kept for reservations is drawn last": (
        "credits._draw",
        {"g.state = 'live',": "g.state = 'lapsed',"},
    ),
    "a reservation ends an instant late": (
        "credits._expire_due",
        {"r.expires_at <= v_upto": "r.expires_at < v_upto"},
    ),
    "a shared call reserves what nobody has, as debt": (
        "credits.reserve_many",
        {
            "where p.are_plain and p.held_sum <= p.available": "where p.are_plain",
            "set available = a.available - p.held,": "set available ="
            " greatest(a.available - p.held, 0),"
            " overage = a.overage + greatest(p.held - a.available, 0),",
        },
    ),
    "a shared call takes what all accounts ask for from each": (
        "credits.reserve_many",
        {
            "partition by f.account_id order by f.ordinal\n                rows between": "order"
            " by f.ordinal rows between"
        },
    ),
    "a shared call reserves what ended a moment ago": (
        "credits.reserve_many",
        {"a.next_due_at > greatest(v_now, a.clock_at)": "true"},
    ),
    "a shared settle is capped at what was reserved": (
        "credits.settle_many",
        {
            "q.charged between 1 and r.amount": "q.charged >= 1",
            "            q.*,\n": "q.account_id, q.reservation_id,"
            " least(q.charged, r.amount) as charged, q.operation, q.asked_model, q.input_tokens,"
            " q.output_tokens, q.usage_estimated, q.cost_nanodollars, q.latency_ms,"
            " q.status_code, q.trace_id, q.occurred_at, q.actor, q.call_metadata, q.ordinal,"
            " q.is_twin,\n",
        },
    ),
    "a shared settle draws first what lasts longer": (
        "credits.settle_many",
        {"g.priority, g.expires_at nulls last": "g.priority, g.expires_at desc nulls first"},
    ),
    "a shared release gives back a micro-credit that another reservation holds": (
        "credits.release_many",
        {
            "set available = a.available + p.held,": "set available ="
            " a.available + p.held + least(a.reserved - p.held, 1),",
            "reserved = a.reserved - p.held,": "reserved ="
            " a.reserved - p.held - least(a.reserved - p.held, 1),",
        },
    ),
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", BROKEN)
async def test_what_is_broken_on_purpose_is_found(
    servers: Servers, database_name: str, name: str
) -> None:
    function, changes = BROKEN[name]
    admin = await asyncpg.connect(servers.admin_url(database_name))
    try:
        definition: str = await admin.fetchval(
            "select pg_get_functiondef($1::text::regproc)", function
        )
        for line, becomes in changes.items():
            assert definition.count(line) == 1
            definition = definition.replace(line, becomes)
        await admin.execute(definition)
    finally:
        await admin.close()
    run = Run(servers, database_name, SEED)
    await run.play(8_000)
    assert run.found is not None
    result = verdict(run)
    assert not result.is_proven
    assert "NOT PROVEN" in result.told()
    assert f"--only {run.found.player} --upto {run.found.number}" in result.told()


async def test_a_run_that_met_too_little_has_proven_nothing(
    servers: Servers, database_name: str
) -> None:
    run = Run(servers, database_name, SEED)
    await run.play(200)
    assert verdict(run).is_proven
    # As if that had been all of a whole run.
    run.played = WHOLE
    # Counted, zero times.
    for name in REQUIRED:
        run.seen[name] += 0
    [rules] = [zero for zero in verdict(run).zeros if zero.what == "rules never met"]
    assert rules.of == len(REQUIRED)
    assert 0 < rules.found < rules.of
    assert not verdict(run).is_proven


def test_the_model_refuses_what_is_not_the_same() -> None:
    same(Refused("BUSY"), Refusal("BUSY"))
    for expected, actual in (
        (1, 2),
        ([1], [1, 2]),
        ({"a": 1}, {"a": 2}),
        (Refused("BUSY"), None),
        (Refused("BUSY"), Refusal("INTERNAL")),
        (Refused("BALANCE_LIMIT", {"limit": CREDIT}), Refusal("BALANCE_LIMIT", {"limit": 1})),
    ):
        with pytest.raises(Mismatch):
            same(expected, actual)
