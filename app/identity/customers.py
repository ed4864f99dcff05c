"""Tokens of end customers: who somebody is to a back-end, said by it and shown by a public page.

A token says nothing to who holds it, and cannot be made up: it is sealed with the server's key.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import orjson
from cryptography.fernet import InvalidToken

from app.core.refusals import invalid
from app.core.sealing import cipher_of

PREFIX: Final = "exq_c_"
_LONGEST: Final = 2_000


@dataclass(frozen=True, slots=True)
class Customer:
    """An end customer of an organization, and about what they may ask."""

    organization_id: UUID
    ref: str
    related_type: str | None
    related_id: str | None
    expires_at: datetime


class CustomerTokens:
    """Makes tokens and reads them."""

    def __init__(self, secret_key: str) -> None:
        self._cipher = cipher_of(secret_key, "customers")

    def make(self, customer: Customer) -> str:
        """Return a token for somebody."""
        told = [
            customer.organization_id.hex,
            customer.ref,
            customer.related_type,
            customer.related_id,
            customer.expires_at.isoformat(),
        ]
        return PREFIX + self._cipher.encrypt(orjson.dumps(told)).decode()

    def read(self, token: str, organization_id: UUID, now: datetime) -> Customer:
        """Return whose token it is; refuses one that is not, is another's, or has expired."""
        if len(token) > _LONGEST or not token.startswith(PREFIX):
            raise _bad("must be a token that createCustomerToken made")
        try:
            sealed = self._cipher.decrypt(token.removeprefix(PREFIX).encode())
        except InvalidToken:
            raise _bad("must be a token that createCustomerToken made") from None
        owner, ref, related_type, related_id, until = orjson.loads(sealed)
        customer = Customer(
            UUID(hex=owner), ref, related_type, related_id, datetime.fromisoformat(until)
        )
        if customer.organization_id != organization_id:
            raise _bad("must be of the organization that is named")
        if customer.expires_at <= now:
            raise _bad("must not have expired: ask for a new one")
        return customer


def _bad(reason: str) -> Exception:
    return invalid("customerToken", reason)
