"""What each SQL function spends, by Postgres' own count (`track_functions = all`)."""

from benchmarks.books import Books

_SHOWN = 15


async def self_times(books: Books, operations: int) -> str:
    """Return the functions that took most, themselves and in all; waits are part of it."""
    rows = await books.admin.fetch(
        "select s.schemaname || '.' || s.funcname as name, s.calls, s.self_time, s.total_time"
        " from pg_stat_user_functions as s where s.calls > 0 order by s.self_time desc limit $1",
        _SHOWN,
    )
    lines = [f"{'':32}{'calls':>10}{'itself, µs':>14}{'in all, µs':>14}   for each operation"]
    lines += [
        f"{row['name']:32}{row['calls']:>10,}"
        f"{row['self_time'] * 1000 / operations:>14.1f}"
        f"{row['total_time'] * 1000 / operations:>14.1f}"
        for row in rows
    ]
    return "\n".join(lines)
