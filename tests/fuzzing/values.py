"""Texts and JSON values that have been somebody's undoing."""

import json
from random import Random
from typing import Any

from tests.fuzzing import world

NASTY = (
    "",
    " ",
    "\x00",
    "a\x00b",
    "\uffff",
    "\ufeff",
    "\u202e",
    "𝄞",
    "e\u0301" * 20,
    "\ud800",
    "\udfff\ud800",
    "NaN",
    "Infinity",
    "-0",
    "1e999",
    "9" * 400,
    "null",
    "true",
    "__proto__",
    "constructor",
    world.ORGANIZATION,
    world.ORGANIZATION.upper(),
    f"{world.ORGANIZATION}:1",
    f"{{{world.NOBODY}}}",
    "'; drop table accounts; --",
    "$1",
    "2026-01-31T10:00:00Z",
    "2026-02-30T25:61:61+99:99",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59.999999999-14:00",
    "MTox",
    "////",
    "{}",
    "../../etc/passwd",
    "%s%n%00",
    "a" * 256,
    "b" * 3_000,
    "\r\nX-Injected: 1",
    "<script>",
)

INTS = (
    0,
    1,
    -1,
    100,
    101,
    *(s * 2**p + d for p in (31, 53, 63, 64) for s in (1, -1) for d in (-1, 0, 1)),
)

CREDITS = (
    "0",
    "-0",
    "1",
    "-1",
    "0.000001",
    "0.0000001",
    "1.000000",
    "9223372036854.775807",
    "9223372036854.775808",
    "-9223372036854.775808",
    "1e3",
    " 1",
    "1_000",
    "٣",
    "+1",
    "01",
    ".5",
    "5.",
    "NaN",
    "9" * 5_000,
)

# Digits that no JSON library agrees upon; written into JSON as they are.
NUMBERS = (
    "9" * 400,
    "9" * 5_000,
    "-" + "9" * 400,
    "1e999",
    "-1e-999",
    "1" + "0" * 309,
    "18446744073709551616",
)


def text(rng: Random) -> str:
    """Return a text, often a nasty one."""
    if rng.random() < 0.6:
        return rng.choice(NASTY)
    top = rng.choice([0x7F, 0xFF, 0xFFFF, 0x10FFFF])
    return "".join(chr(rng.randint(0, top)) for _ in range(rng.randint(0, 30)))


def name(rng: Random) -> str:
    """Return a name of GraphQL's grammar."""
    return "".join(rng.choices("abcdefghijklmnopqrstuvwxyz_", k=rng.randint(1, 8)))


def scalar(rng: Random) -> Any:
    """Return what is neither a list nor an object."""
    return rng.choice(
        [
            None,
            True,
            False,
            rng.choice(INTS),
            rng.uniform(-1e12, 1e12),
            5e-324,
            text(rng),
            text(rng),
        ]
    )


def value(rng: Random, levels: int = 3) -> Any:
    """Return any JSON value, nested at times."""
    kind = rng.random() if levels else 0.0
    if kind < 0.6:
        return scalar(rng)
    if kind < 0.8:
        return [value(rng, levels - 1) for _ in range(rng.randint(0, 4))]
    return {text(rng): value(rng, levels - 1) for _ in range(rng.randint(0, 4))}


def mangled(rng: Random, data: bytes, times: int = 4) -> bytes:
    """Cut, double, flip or insert bytes."""
    for _ in range(rng.randint(1, times)):
        start = rng.randint(0, len(data))
        end = min(len(data), start + rng.randint(0, 40))
        match rng.randrange(5):
            case 0:
                data = data[:start] + data[end:]
            case 1:
                data = data[:end] + data[start:end] + data[end:]
            case 2:
                data = data[:start] + rng.randbytes(rng.randint(1, 4)) + data[start:]
            case 3:
                data = (
                    data[:start] + rng.choice([b"{", b"}", b"[", b'"', b",", b"\\"]) + data[start:]
                )
            case _ if data:
                at = rng.randrange(len(data))
                data = data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]
    return data


def nested(rng: Random, depth: int) -> str:
    """Return JSON of that many levels, closed or not."""
    opening, closing = rng.choice([("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
    closed = closing * depth if rng.random() < 0.7 else ""
    return opening * depth + json.dumps(scalar(rng)) + closed
