"""What one subscriber keeps: the newest balance, the changes up to it, and no more."""

import asyncio
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.credits import feed
from app.credits.feed import News, Push, ReservationChange, Watch
from app.credits.rows import Balance
from tests.support.clock import utc

ACCOUNT = uuid4()
NOW = utc("2026-03-10 10:00") + timedelta(microseconds=123_456)
R1, R2, R3 = uuid4(), uuid4(), uuid4()


def _balance(version: int) -> Balance:
    values: Any = (ACCOUNT, version, *range(10, 23), NOW, NOW)
    return Balance(*values)


def _change(reservation: UUID, version: int, status: str = "pending") -> ReservationChange:
    return ReservationChange(reservation, status, 5, None, NOW, version)


def _news(before: int, after: int, *changes: ReservationChange, listed: bool = True) -> News:
    return News(before, _balance(after), changes if listed else None)


def _watch(at: int = 4) -> Watch:
    """A watch that has handed out the snapshot of a version."""
    watch = Watch(0.0)
    watch.offer(_news(at, at, listed=False))
    assert watch._take() == Push(_balance(at), (), complete=False)
    return watch


def _taken(watch: Watch) -> Any:
    push = watch._take()
    if push is None:
        return None
    changes = [(change.id, change.version) for change in push.changes]
    return push.balance.balance_version, changes, push.complete


# News.


def test_news_travel_unharmed() -> None:
    for news in (_news(4, 6, _change(R1, 5), _change(R2, 6)), _news(4, 9, listed=False)):
        assert News.decode(news.encode()) == news


def test_contiguous_news_become_one_whichever_comes_first() -> None:
    first, second = _news(4, 5, _change(R1, 5)), _news(5, 6, _change(R2, 6))
    both = _news(4, 6, _change(R1, 5), _change(R2, 6))
    assert first.merged(second) == both
    assert second.merged(first) == both


def test_merged_news_with_a_hole_list_nothing() -> None:
    hole = _news(4, 5, _change(R1, 5)).merged(_news(6, 7, _change(R2, 7)))
    assert hole == _news(4, 7, listed=False)
    # The hole arrives: what is not known stays unknown, and the newest stays the newest.
    assert hole.merged(_news(5, 6, _change(R3, 6))) == hole
    assert _news(5, 6, _change(R3, 6)).merged(hole) == hole


def test_merged_news_list_a_limited_number_of_changes() -> None:
    many = _news(0, 999, *(_change(uuid4(), version) for version in range(1, 1000)))
    one = _news(999, 1000, _change(R1, 1000))
    assert many.merged(one) == _news(0, 1000, *(many.changes or ()), _change(R1, 1000))
    more = _news(999, 1001, _change(R1, 1000), _change(R2, 1001))
    assert many.merged(more) == _news(0, 1001, listed=False)


# Versions only rise.


def test_what_is_not_newer_is_dropped() -> None:
    watch = _watch(at=4)
    watch.offer(_news(2, 3, _change(R1, 3)))
    watch.offer(_news(3, 4, _change(R1, 4)))
    assert _taken(watch) is None
    watch.offer(_news(4, 5, _change(R1, 5)))
    assert _taken(watch) == (5, [(R1, 5)], True)
    watch.offer(_news(4, 5, _change(R1, 5)))
    assert _taken(watch) is None


def test_news_that_wait_together_are_one_push_in_order() -> None:
    watch = _watch(at=4)
    watch.offer(_news(4, 5, _change(R1, 5)))
    watch.offer(_news(5, 6, _change(R2, 6)))
    watch.offer(_news(6, 7, _change(R1, 7, "settled")))
    assert _taken(watch) == (7, [(R2, 6), (R1, 7)], True)


def test_late_and_repeated_news_do_not_undo_newer_ones() -> None:
    watch = _watch(at=4)
    opened, settled = _news(4, 5, _change(R1, 5)), _news(5, 6, _change(R1, 6, "settled"))
    for news in (opened, settled, opened):
        watch.offer(news)
    assert _taken(watch) == (6, [(R1, 6)], True)


def test_a_change_that_was_handed_out_is_not_handed_out_again() -> None:
    watch = _watch(at=4)
    watch.offer(_news(4, 5, _change(R1, 5)))
    assert _taken(watch) == (5, [(R1, 5)], True)
    # Two that were merged on their way, the first of which came alone before.
    watch.offer(_news(4, 6, _change(R1, 5), _change(R2, 6)))
    assert _taken(watch) == (6, [(R2, 6)], True)


# Gaps.


def test_a_gap_makes_a_push_incomplete_and_the_next_one_complete_again() -> None:
    watch = _watch(at=4)
    watch.offer(_news(5, 6, _change(R2, 6)))
    assert _taken(watch) == (6, [(R2, 6)], False)
    watch.offer(_news(6, 7, _change(R3, 7)))
    assert _taken(watch) == (7, [(R3, 7)], True)


def test_what_fills_a_gap_late_is_told_but_does_not_make_it_complete() -> None:
    watch = _watch(at=4)
    watch.offer(_news(5, 6, _change(R2, 6)))
    watch.offer(_news(4, 5, _change(R1, 5)))
    assert _taken(watch) == (6, [(R1, 5), (R2, 6)], False)


def test_news_without_a_list_make_a_push_incomplete() -> None:
    watch = _watch(at=4)
    watch.offer(_news(4, 5, listed=False))
    assert _taken(watch) == (5, [], False)


def test_what_is_known_already_does_not_make_a_push_incomplete() -> None:
    watch = _watch(at=4)
    watch.offer(_news(4, 5, _change(R1, 5)))
    watch.offer(_news(5, 5, listed=False))
    assert _taken(watch) == (5, [(R1, 5)], True)


# Bounds.


def test_a_reader_that_does_not_read_keeps_the_newest_and_a_limited_number_of_changes() -> None:
    watch = _watch(at=4)
    for version in range(5, 20_005):
        watch.offer(_news(version - 1, version, _change(uuid4(), version)))
        assert len(watch._changes) <= 1000
    push = watch._take()
    assert push is not None
    assert push.balance == _balance(20_004)
    assert [change.version for change in push.changes] == list(range(19_005, 20_005))
    assert not push.complete


async def test_pushes_are_paced_and_the_first_of_a_pause_comes_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(feed, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(feed, "asyncio", SimpleNamespace(Event=asyncio.Event, sleep=sleep))
    watch = Watch(0.125)
    times: list[float] = []
    for version in range(1, 41):
        watch.offer(_news(version - 1, version))
        if version == 21:
            now += 7
        push = await anext(watch)
        assert push.balance.balance_version == version
        times.append(now - 1000)
    # Eight a second; after the pause it begins anew, without making up for it.
    assert times[:20] == [0.125 * number for number in range(20)]
    assert times[20:] == [7 + 0.125 * number for number in range(19, 39)]
