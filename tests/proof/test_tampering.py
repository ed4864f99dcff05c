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


@pytest.mark.timeout(240)
async def test_what_is_tampered_with_is_named(ground: Ground) -> None:
    verdict = await prove(ground, 200, seed=20261126)
    assert verdict.is_proven, verdict.told()
    assert verdict.zeros[0].of == 200


@pytest.mark.timeout(120)
async def test_an_auditor_that_looks_away_misses_some(ground: Ground) -> None:
    verdict = await prove(ground, 40, seed=1, books=1, broken=LOOKS_AWAY)
    assert not verdict.is_proven
    assert "NOT PROVEN" in verdict.told()
    assert "book 0: " in verdict.told()
