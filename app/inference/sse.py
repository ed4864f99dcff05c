"""Server-sent events as providers send them: cut anywhere, passed on as they came."""

from collections.abc import Iterator
from typing import Final

# An event that is longer is no answer of a model.
EVENT_BYTES: Final = 4 * 1024 * 1024


class TooLong(Exception):  # noqa: N818  # named for what it says of an event
    """An event without an end."""


class Events:
    """Puts events together from pieces; each comes out whole, with its blank line."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """Take a piece and return the events that it completes."""
        data = self._rest + piece if self._rest else piece
        start = 0
        # Only what is new can hold an end, but for the blank line's own pieces.
        look = max(0, len(self._rest) - 3)
        while (end := _end(data, look)) >= 0:
            yield data[start:end]
            start = look = end
        self._rest = data[start:]
        if len(self._rest) > EVENT_BYTES:
            raise TooLong(f"more than {EVENT_BYTES} bytes")

    def rest(self) -> bytes:
        """Return what came after the last blank line: an event that was cut off, or nothing."""
        return self._rest.strip()


def _end(data: bytes, look: int) -> int:
    """Return where the first event ends, after its blank line; -1 if it does not yet."""
    ends = [
        found + len(mark)
        for mark in (b"\n\n", b"\r\n\r\n", b"\r\r")
        if (found := data.find(mark, look)) >= 0
    ]
    return min(ends, default=-1)


def data_of(event: bytes) -> bytes | None:
    """Return the data of an event; None if it has none, such as a comment."""
    if event.startswith(b"data:"):
        # As nearly always: one line.
        line = event[5:].strip()
        if b"\n" not in line and b"\r" not in line:
            return line
    lines = [
        line[5:].removeprefix(b" ") for line in event.splitlines() if line.startswith(b"data:")
    ]
    return b"\n".join(lines).strip() if lines else None
