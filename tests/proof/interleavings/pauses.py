"""An instrumented copy of the functions: it stands still where the explorer wants it to.

The text of `db/functions/credits` gets a call of `core.test_pause` before each statement
that locks or writes, itself or through what it calls, and after each that locks. Nothing
else is changed but the time-out of locks: how long a side stands is not what is looked at.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from db.apply import FUNCTIONS
from db.driver import Connection

# Takes the text of a function file and returns it broken, or as it is.
Mutate = Callable[[str], str]

# A side stands at its pause `test.stop` until the explorer lets go of the advisory lock
# that has the side's number. The function is no subject of the time-out for row locks.
PAUSE: Final = """
create function core.test_pause(p_point text)
returns boolean
language plpgsql volatile set search_path = pg_catalog, pg_temp set lock_timeout = '0'
as $$
declare
    v_side bigint := nullif(current_setting('test.side', true), '')::bigint;
    v_reached int;
begin
    if v_side is null then
        return true;
    end if;
    v_reached := current_setting('test.reached')::int + 1;
    perform set_config('test.reached', v_reached::text, false);
    if v_reached = current_setting('test.stop')::int then
        perform set_config('test.point', p_point, false);
        perform pg_advisory_lock(v_side);
        perform pg_advisory_unlock(v_side);
    end if;
    return true;
end
$$;
grant usage on schema core to public;
grant execute on function core.test_pause to public;
"""
_TIMEOUT: Final = "set lock_timeout = '2s'"
_PATIENT: Final = "set lock_timeout = '20s'"

_FUNCTION: Final = re.compile(
    r"create or replace function (?P<name>[\w.]+)\(.*?language (?P<language>\w+)\b.*?"
    r"\bas \$\$(?P<body>.*?)\$\$",
    re.DOTALL,
)
_TOKEN: Final = re.compile(r"--[^\n]*|'(?:[^']|'')*'|\w+|[();]")
_CALL: Final = re.compile(r"\b([a-z]+\.\w+)\s*\(")
_LOCK: Final = re.compile(r"\bfor no key update\b")
_WRITE: Final = re.compile(
    r"\binsert\s+into\b|\bdelete\s+from\b|\bupdate\s+[a-z]+\.\w+\s+as\b", re.DOTALL
)
_LOOPS: Final = ("for", "foreach", "while")
_CONDITIONS: Final = ("if", "elsif", "when")
_OPENING: Final = ("begin", "loop", "else", "exception")


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement of a body, or the head of a loop or condition, by where it stands."""

    head: str
    start: int
    end: int


def statements(body: str) -> Iterator[Statement]:
    """Take the body of a PL/pgSQL function apart, in order."""
    tokens = [found for found in _TOKEN.finditer(body) if not found[0].startswith("--")]
    begins = next(place for place, found in enumerate(tokens) if found[0] == "begin")
    start: int | None = None
    head, depth, cases = "", 0, 0
    for found in tokens[begins + 1 :]:
        word = found[0]
        if start is None:
            if word in _OPENING:
                continue
            start, head, depth, cases = found.start(), word, 0, 0
        if word in "()":
            depth += 1 if word == "(" else -1
        elif word == "case":
            cases += 1
        elif word == "end" and cases:
            cases -= 1
        elif depth == 0 and (
            word == ";"
            or (cases == 0 and word == "then" and head in _CONDITIONS)
            or (cases == 0 and word == "loop" and head in _LOOPS)
        ):
            yield Statement(head, start, found.end())
            start = None


class Functions:
    """The function files, perhaps broken on purpose."""

    def __init__(self, mutate: Mutate | None = None) -> None:
        sources = {
            path.relative_to(FUNCTIONS).as_posix(): path.read_text(encoding="utf-8")
            for path in sorted(FUNCTIONS.rglob("*.sql"))
        }
        self._texts = {
            path: mutate(text) if mutate is not None else text for path, text in sources.items()
        }
        self.changed = {path for path, text in self._texts.items() if text != sources[path]}
        if mutate is not None and not self.changed:
            raise ValueError("nothing was broken: the text to replace is not there")
        self._moving = _closure(self._texts.values())

    async def apply_changed(self, connection: Connection) -> None:
        """Apply what was broken, as it is."""
        for path in sorted(self.changed):
            await connection.execute(self._texts[path])

    async def apply_paused(self, connection: Connection) -> list[str]:
        """Apply all of credits with its pauses; return the names of the pauses."""
        await connection.execute(PAUSE)
        points: list[str] = []
        for path, text in self._texts.items():
            if path.startswith("credits/"):
                await connection.execute(self._paused(text, points).replace(_TIMEOUT, _PATIENT))
        return points

    def _paused(self, text: str, points: list[str]) -> str:
        written, upto = "", 0
        for function in _FUNCTION.finditer(text):
            if function["language"] != "plpgsql":
                continue
            for place, line in self._places(function):
                at = place + function.start("body")
                points.append(f"{function['name']}:{text.count(chr(10), 0, line) + 1}")
                written += f"{text[upto:at]} assert core.test_pause('{points[-1]}'); "
                upto = at
        return written + text[upto:]

    def _places(self, function: re.Match[str]) -> Iterator[tuple[int, int]]:
        """Return where in the body a pause belongs, and where in the text what it is for."""
        body = function["body"]
        for statement in statements(body):
            code = body[statement.start : statement.end]
            locks = _LOCK.search(code) is not None
            if not locks and not _moves(code, self._moving):
                continue
            if statement.head in ("elsif", "when"):
                raise ValueError(f"no pause can stand before this: {code}")
            line = function.start("body") + statement.start
            yield statement.start, line
            if locks and statement.head not in (*_LOOPS, *_CONDITIONS):
                yield statement.end, function.start("body") + statement.end


def _closure(texts: Iterable[str]) -> frozenset[str]:
    """Return the names of all functions that lock or write, themselves or by a call."""
    bodies = {
        function["name"]: function["body"]
        for text in texts
        for function in _FUNCTION.finditer(text)
    }
    moving: frozenset[str] = frozenset()
    while True:
        grown = frozenset(
            name
            for name, body in bodies.items()
            if _LOCK.search(body) or _moves(_uncommented(body), moving)
        )
        if grown == moving:
            return moving
        moving = grown


def _moves(code: str, moving: frozenset[str]) -> bool:
    return _WRITE.search(code) is not None or not moving.isdisjoint(_CALL.findall(code))


def _uncommented(body: str) -> str:
    return re.sub(r"--[^\n]*", "", body)
