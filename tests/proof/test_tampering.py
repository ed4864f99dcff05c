"""Whatever is tampered with is named; auditors that look away do not go unnoticed."""

import pytest

from tests.proof.ground import Ground
from tests.proof.tampering import prove

# The part of credits.audit that proves the ledger, looking away.
LOOKS_AWAY = """
create or replace function credits._audit_ledger(p_marks credits.audit_marks[])
returns table (account_id uuid, invariant text, subject text, expected text, actual text)
language sql stable
as $$ select null::uuid, '', '', '', '' where false $$;
create or replace function credits._audit_versions(p_marks credits.audit_marks[])
returns table (account_id uuid, invariant text, subject text, expected text, actual text)
language sql stable
as $$ select null::uuid, '', '', '', '' where false $$;
"""

# An audit since the last one that believes every account to be what it was.
READS_NOTHING = """
create or replace function credits._audit_from(
    p_first uuid, p_last uuid, p_since_last boolean)
returns credits.audit_marks[]
language sql stable
as $$
    select array_agg(credits._audit_from_nothing(a.account_id)) from credits.accounts as a
    where not p_since_last and a.account_id between p_first and p_last
$$;
"""


@pytest.mark.timeout(240)
async def test_what_is_tampered_with_is_named(ground: Ground) -> None:
    verdict = await prove(ground, 200, seed=20261126)
    assert verdict.is_proven, verdict.told()
    assert [zero.of for zero in verdict.zeros] == [200, 200]


@pytest.mark.timeout(120)
async def test_an_auditor_that_looks_away_misses_some(ground: Ground) -> None:
    verdict = await prove(ground, 150, seed=1, books=1, broken=LOOKS_AWAY)
    assert all(zero.found > 0 for zero in verdict.zeros), verdict.told()
    assert not verdict.is_proven
    assert "NOT PROVEN" in verdict.told()
    assert "book 0: " in verdict.told()


@pytest.mark.timeout(120)
async def test_an_audit_that_reads_nothing_since_the_last_misses_all(ground: Ground) -> None:
    verdict = await prove(ground, 20, seed=1, books=1, broken=READS_NOTHING)
    assert [zero.found for zero in verdict.zeros] == [0, 20]
