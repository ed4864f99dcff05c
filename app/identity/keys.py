"""API keys: `exq_p_` or `exq_o_`, 43 characters of chance, 6 of checksum.

The checksum tells a mistyped key from an unknown one without asking anybody, and lets
scanners find leaked keys by a pattern: `exq_[po]_[0-9A-Za-z]{49}`. The secret holds 256
bits of chance, so a plain SHA-256 of it cannot be searched; only that is stored.
"""

import hashlib
import re
import secrets
import zlib
from dataclasses import dataclass
from typing import Literal

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CHANCE_LENGTH = 43
_CHECK_LENGTH = 6
_SHOWN_LENGTH = 12
_FORM = re.compile(r"^exq_[po]_[0-9A-Za-z]{49}$")

KeyKind = Literal["project", "organization"]


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made; `secret` is shown once and kept nowhere."""

    secret: str
    prefix: str
    last4: str
    secret_hash: bytes


def make_key(kind: KeyKind) -> NewKey:
    """Make a key."""
    body = f"exq_{kind[0]}_{_base62(secrets.randbits(256), _CHANCE_LENGTH)}"
    secret = body + _checksum(body)
    return NewKey(secret, secret[:_SHOWN_LENGTH], secret[-4:], hash_key(secret))


def hash_key(secret: str) -> bytes:
    """Return what is stored of a key."""
    return hashlib.sha256(secret.encode()).digest()


def is_well_formed(secret: str) -> bool:
    """Say whether a text can be a key at all: its form and checksum are right."""
    if not _FORM.match(secret):
        return False
    return secret.endswith(_checksum(secret[:-_CHECK_LENGTH]))


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), _CHECK_LENGTH)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
