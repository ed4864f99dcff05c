"""`Usage`: one method for each SQL function of the usage domain."""

from uuid import UUID

from app.core.audit import Finding
from app.core.database import Database


class Usage:
    """Records of settled calls. `credits.settle` writes them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def audit(self, account_id: UUID | None = None) -> list[Finding]:
        """Prove that everything settled has one usage record of the same credits."""
        return await self._database.call(Finding, "usage.audit", p_account_id=account_id)
