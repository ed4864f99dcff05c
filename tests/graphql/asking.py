"""Asking models over GraphQL, for one organization."""

from typing import Any
from uuid import UUID

from db.driver import Connection
from tests.support.api import Api, unique
from tests.support.callers import Caller

CHAT = "createChatCompletion"


class Asking:
    """Asks models for one organization."""

    def __init__(self, api: Api, organization: str) -> None:
        self._api = api
        self.organization = organization

    def input(self, said: str = "hello", **more: Any) -> dict[str, Any]:
        """Return an input."""
        own = {
            "organizationId": self.organization,
            "idempotencyKey": unique(),
            "messages": [{"role": "USER", "content": said}],
            **more,
        }
        return {name: value for name, value in own.items() if value is not None}

    async def ask(self, operation: str, caller: Caller = Caller.PROJECT, **fields: Any) -> Any:
        """Return what a mutation answers."""
        asked = {"organizationId": self.organization, "idempotencyKey": unique(), **fields}
        return (await self._api.run(operation, {"input": asked}, caller)).result

    async def chat(self, said: str = "hello", **more: Any) -> Any:
        """Return what a conversation answers."""
        return (await self._api.run(CHAT, {"input": self.input(said, **more)})).result


async def charged(admin: Connection, organization: str) -> list[int]:
    """Return what the ledger took, in order."""
    rows = await admin.fetch(
        "select -amount as amount from credits.transactions"
        " where account_id = $1 and type = 'consumption' order by version",
        UUID(organization),
    )
    return [row["amount"] for row in rows]
