"""core.idempotency_begin, core.idempotency_complete and core.idempotency_clear."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from asyncpg import Record

from app.core.database import Database
from app.core.refusals import Refusal
from db.driver import Connection
from tests.functions.books import BAD_KEY, NOW
from tests.support.clock import Clock

HASH = b"\x01" * 32
OTHER = b"\x02" * 32
DAY = timedelta(hours=24)
INSTANT = timedelta(microseconds=1)


async def begin(
    database: Database, key: str | None, digest: bytes = HASH, scope: str = "s"
) -> tuple[bool, bytes | None]:
    """Claim a key, and return what is answered."""
    [row] = await database.fetch(
        "select * from core.idempotency_begin($1, $2, $3)", scope, key, digest
    )
    return row["replayed"], row["response"]


async def complete(database: Database, key: str, response: bytes, scope: str = "s") -> None:
    await database.fetch("select core.idempotency_complete($1, $2, $3)", scope, key, response)


async def keys(admin: Connection) -> list[Record]:
    return await admin.fetch("select * from core.idempotency_keys as k order by k::text")


async def refused(
    database: Database, admin: Connection, key: str | None, digest: bytes = HASH
) -> tuple[str, Mapping[str, Any]]:
    """Return the refusal of a claim, proven to have changed no key."""
    before = await keys(admin)
    with pytest.raises(Refusal) as refusal:
        await begin(database, key, digest)
    assert await keys(admin) == before
    return refusal.value.code, refusal.value.facts


async def test_claim_then_first_response_again(
    database: Database, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    assert await begin(database, "k") == (False, None)
    await complete(database, "k", b"first")
    assert await begin(database, "k") == (True, b"first")
    assert [tuple(row) for row in await keys(admin)] == [("s", "k", HASH, b"first", NOW)]


async def test_a_claim_without_a_response_is_still_a_claim(database: Database) -> None:
    assert await begin(database, "k") == (False, None)
    assert await begin(database, "k") == (True, None)


async def test_claim_and_effect_stand_or_fall_together(
    database: Database, admin: Connection
) -> None:
    async with database.connection() as connection:
        work = connection.transaction()
        await work.start()
        await connection.fetch("select core.idempotency_begin('s', 'k', $1)", HASH)
        await work.rollback()
    assert await keys(admin) == []
    assert await begin(database, "k") == (False, None)


async def test_same_key_for_another_request(database: Database, admin: Connection) -> None:
    await begin(database, "k")
    await complete(database, "k", b"first")
    assert await refused(database, admin, "k", OTHER) == (
        "DUPLICATE_REQUEST",
        {"idempotencyKey": "k"},
    )
    assert await begin(database, "k") == (True, b"first")


async def test_scopes_know_nothing_of_each_other(database: Database) -> None:
    await begin(database, "k", scope="one")
    await complete(database, "k", b"one", scope="one")
    assert await begin(database, "k", OTHER, scope="two") == (False, None)
    await complete(database, "k", b"two", scope="two")
    assert await begin(database, "k", scope="one") == (True, b"one")
    assert await begin(database, "k", OTHER, scope="two") == (True, b"two")


async def test_malformed_key(database: Database, admin: Connection) -> None:
    for key in (None, "", "k" * 256):
        assert await refused(database, admin, key) == ("VALIDATION_ERROR", BAD_KEY)


async def test_longest_key(database: Database) -> None:
    # Characters, not bytes.
    key = "\u00e9" * 255
    assert await begin(database, key) == (False, None)
    await complete(database, key, b"")
    assert await begin(database, key) == (True, b"")


async def test_a_key_is_valid_for_24_hours(
    database: Database, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    await begin(database, "k")
    await complete(database, "k", b"first")
    await clock.set(NOW + DAY)
    assert await begin(database, "k") == (True, b"first")
    assert await refused(database, admin, "k", OTHER) == (
        "DUPLICATE_REQUEST",
        {"idempotencyKey": "k"},
    )

    # After that it is new, for any request, and its time begins again.
    await clock.set(NOW + DAY + INSTANT)
    assert await begin(database, "k", OTHER) == (False, None)
    [row] = await keys(admin)
    assert tuple(row) == ("s", "k", OTHER, None, NOW + DAY + INSTANT)
    await complete(database, "k", b"second")
    await clock.set(NOW + DAY + INSTANT + DAY)
    assert await begin(database, "k", OTHER) == (True, b"second")


async def test_a_clock_that_runs_backwards_forgets_nothing(
    database: Database, clock: Clock
) -> None:
    await clock.set(NOW)
    await begin(database, "k")
    await complete(database, "k", b"first")
    await clock.set(NOW - 3 * DAY)
    assert await begin(database, "k") == (True, b"first")
    assert await database.value("select core.idempotency_clear()") == 0


async def test_complete_of_an_unclaimed_key_stores_nothing(
    database: Database, admin: Connection
) -> None:
    await complete(database, "k", b"first")
    assert await keys(admin) == []


async def test_clear_removes_what_is_older_than_48_hours(
    database: Database, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    await begin(database, "older")
    await clock.advance(INSTANT)
    await begin(database, "old")
    await clock.set(NOW + 2 * DAY)
    assert await database.value("select core.idempotency_clear()") == 0
    await clock.set(NOW + 2 * DAY + INSTANT)
    assert await database.value("select core.idempotency_clear()") == 1
    assert [row["key"] for row in await keys(admin)] == ["old"]


async def test_clear_goes_in_steps_oldest_first(
    database: Database, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    await admin.execute(
        "insert into core.idempotency_keys (scope, key, request_hash, created_at)"
        " select 's', n::text, '', core.clock() - make_interval(days => 3, secs => n)"
        " from generate_series(1, 1001) as n"
    )
    assert await database.value("select core.idempotency_clear()") == 1000
    assert [row["key"] for row in await keys(admin)] == ["1"]
    assert await database.value("select core.idempotency_clear()") == 1
    assert await keys(admin) == []


async def test_clear_leaves_keys_in_use_alone(
    database: Database, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    await begin(database, "in use")
    await begin(database, "idle")
    await clock.set(NOW + 3 * DAY)
    async with database.transaction() as holder:
        await holder.fetch("select core.idempotency_begin('s', 'in use', $1)", HASH)
        assert await database.value("select core.idempotency_clear()") == 1
    assert [row["key"] for row in await keys(admin)] == ["in use"]
