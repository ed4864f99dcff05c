"""credits.next_boundary, against an oracle that counts months from the anchor."""

from datetime import datetime, time
from itertools import product

import asyncpg

from app.core.database import Database
from app.credits import Credits
from tests.conftest import Servers
from tests.functions.grants import boundaries
from tests.support.clock import utc

ZONES = (
    "Pacific/Kiritimati",  # UTC+14, the first to see a day
    "Pacific/Niue",  # UTC-11
    "America/St_Johns",  # half an hour off, with daylight saving
    "Europe/Berlin",
    "Asia/Kathmandu",  # a quarter of an hour off
)
STYLES = ("ISO, MDY", "SQL, DMY", "German, DMY", "Postgres, YMD")
EVERY = (
    "select credits.next_boundary(b.at, b.day) from unnest($1::timestamptz[], $2::int[]) b(at, day)"
)


async def test_every_anchor_over_a_hundred_years(database: Database) -> None:
    starts: list[datetime] = []
    anchors: list[int] = []
    expected: list[datetime] = []
    for anchor in range(1, 32):
        # Another time of day for each anchor: it is kept to the microsecond.
        line = boundaries(1999, anchor, time(anchor % 24, anchor, 59, 999_990 + anchor % 10), 1213)
        starts += line[:-1]
        anchors += [anchor] * (len(line) - 1)
        expected += line[1:]
    rows = await database.fetch(EVERY, starts, anchors)
    assert [row[0] for row in rows] == expected


async def test_the_31st_is_clamped_and_comes_back(credits: Credits) -> None:
    at = utc("2028-01-31 09:30")
    seen = []
    for _ in range(5):
        at = await credits.next_boundary(at, 31)
        seen.append(at)
    assert seen == [
        utc("2028-02-29 09:30"),
        utc("2028-03-31 09:30"),
        utc("2028-04-30 09:30"),
        utc("2028-05-31 09:30"),
        utc("2028-06-30 09:30"),
    ]


async def test_edges_of_the_calendar(credits: Credits) -> None:
    for start, anchor, end in (
        ("2027-01-31 00:00", 31, "2027-02-28 00:00"),
        ("2100-01-30 00:00", 30, "2100-02-28 00:00"),  # a century without a leap day
        ("2000-01-29 00:00", 29, "2000-02-29 00:00"),  # and one with it
        ("2027-12-31 23:59:59.999999", 31, "2028-01-31 23:59:59.999999"),
        ("1969-12-31 12:00", 31, "1970-01-31 12:00"),
        ("2038-01-19 03:14:08", 19, "2038-02-19 03:14:08"),
        ("9998-12-31 12:00", 31, "9999-01-31 12:00"),
        # A period that began on a clamped day ends on the anchor day again.
        ("2026-02-28 12:00", 30, "2026-03-30 12:00"),
    ):
        assert await credits.next_boundary(utc(start), anchor) == utc(end)


async def test_the_session_has_no_say(servers: Servers, database_name: str) -> None:
    # Just before and after midnight, and through the hours that clocks skip and repeat.
    at = [time(0, 0, 1), time(1, 30), time(2, 30), time(23, 59, 59)]
    lines = [(a, boundaries(2027, a, t, 30)) for a in (1, 28, 29, 30, 31) for t in at]
    starts = [at for _, line in lines for at in line[:-1]]
    anchors = [anchor for anchor, line in lines for _ in line[:-1]]
    for zone, style in product(ZONES, STYLES):
        session = await asyncpg.connect(
            servers.app_url(database_name), server_settings={"timezone": zone, "datestyle": style}
        )
        try:
            rows = await session.fetch(EVERY, starts, anchors)
        finally:
            await session.close()
        assert [row[0] for row in rows] == [at for _, line in lines for at in line[1:]]


async def test_null_is_null(database: Database) -> None:
    assert await database.value("select credits.next_boundary(null, 31)") is None
    assert await database.value("select credits.next_boundary(now(), null)") is None
