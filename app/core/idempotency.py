"""Stored first responses, for mutations that move no credits.

Claim, work and response commit in one transaction: a crash leaves either all or
nothing, a second caller waits for the first and gets its answer. Responses are
encrypted, because some carry a secret that is otherwise kept nowhere.
"""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import orjson
from cryptography.fernet import InvalidToken

from app.core.database import Database
from app.core.refusals import Refusal
from app.core.sealing import cipher_of
from db.driver import Connection

Response = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Claim:
    replayed: bool
    response: bytes | None


class Idempotency:
    """Does work once for each key and answers a repeated key with the first response."""

    def __init__(self, database: Database, secret_key: str) -> None:
        self._database = database
        self._cipher = cipher_of(secret_key, "idempotency")

    async def once(
        self,
        scope: str,
        key: str,
        request: Response,
        work: Callable[[Connection], Awaitable[Response]],
    ) -> tuple[Response, bool]:
        """Do `work` in a transaction unless the key was used; return (response, replayed).

        `scope` names caller and operation; `request` is what must be the same again.
        """
        fingerprint = hashlib.sha256(orjson.dumps(request, option=orjson.OPT_SORT_KEYS)).digest()
        async with self._database.transaction() as connection:
            claim = await self._begin(scope, key, fingerprint, connection)
            if claim.replayed:
                return self._open(claim.response, key), True
            response = await work(connection)
            sealed = self._cipher.encrypt(orjson.dumps(response))
            await self._complete(scope, key, sealed, connection)
        return response, False

    async def clear(self) -> int:
        """Remove responses older than 48 hours, at most 1,000; return how many."""
        cleared: int = await self._database.value("select core.idempotency_clear()")
        return cleared

    async def _begin(
        self, scope: str, key: str, fingerprint: bytes, connection: Connection
    ) -> _Claim:
        return await self._database.call_one(
            _Claim,
            "core.idempotency_begin",
            connection,
            p_scope=scope,
            p_key=key,
            p_request_hash=fingerprint,
        )

    async def _complete(
        self, scope: str, key: str, response: bytes, connection: Connection
    ) -> None:
        await self._database.value(
            "select core.idempotency_complete(p_scope => $1, p_key => $2, p_response => $3)",
            scope,
            key,
            response,
            connection=connection,
        )

    def _open(self, sealed: bytes | None, key: str) -> Response:
        try:
            opened: Response = orjson.loads(self._cipher.decrypt(sealed or b""))
        except InvalidToken as error:
            # The secret was changed since: the work is done, its answer unreadable.
            raise Refusal("DUPLICATE_REQUEST", {"idempotencyKey": key}) from error
        return opened
