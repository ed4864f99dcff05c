"""All that a resolver can reach: the viewer, the domains, the feed."""

from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

import strawberry
from aiodataloader import DataLoader
from strawberry.types import Info

from app.billing import OrganizationPlans
from app.catalog import Catalog
from app.core.idempotency import Idempotency
from app.core.refusals import Refusal
from app.credits import Actor, Balance, Credits
from app.credits.feed import Feed
from app.credits.reads import CreditReads
from app.credits.shown import ShownCredits
from app.identity import Identity, Viewer
from app.identity.customers import CustomerTokens
from app.identity.origins import Origins
from app.identity.rights import SCOPE_DOCUMENTS, Operation, require
from app.identity.viewer import ANONYMOUS, ViewerKind
from app.inference import Inference
from schema.inputs import read_id


@dataclass(frozen=True, slots=True)
class Services:
    """The domains, made once by the composition root."""

    credits: Credits
    credit_reads: CreditReads
    shown_credits: ShownCredits
    identity: Identity
    origins: Origins
    catalog: Catalog
    plans: OrganizationPlans
    inference: Inference
    idempotency: Idempotency
    customers: CustomerTokens
    feed: Feed
    rights_recheck_seconds: float = 30.0


class Context:
    """One request's, or one socket's."""

    def __init__(
        self, services: Services, viewer: Viewer = ANONYMOUS, page: str | None = None
    ) -> None:
        self.services = services
        self.viewer = viewer
        # The origin of the page that asks, where it takes a project to allow it.
        self._page = page
        self.secret: str | None = None
        self._balances: DataLoader[UUID, Balance] | None = None

    async def sign_in(self, secret: str | None) -> None:
        """Learn who sends a bearer token, and whether from a page that may use it."""
        viewer = await self.services.identity.viewer(secret)
        if self._page is not None:
            self.services.origins.check(viewer, self._page)
        self.viewer = viewer
        self.secret = secret

    async def renew(self) -> None:
        """Ask again who sends the token: it may have been revoked, or its page shut out."""
        await self.sign_in(self.secret)

    async def balance(self, account_id: UUID) -> Balance:
        """Return a balance; those that are asked for in one go are read in one statement."""
        if self._balances is None:
            # Nothing is kept: a socket's context lives long, and a balance does not.
            self._balances = DataLoader(self._read_balances, max_batch_size=100, cache=False)
        return await self._balances.load(account_id)

    async def _read_balances(self, account_ids: list[UUID]) -> list[Balance]:
        found = await self.services.credits.balances(sorted(set(account_ids)))
        answers = [
            found.get(each) or Refusal("BALANCE_NOT_FOUND", {"accountId": str(each)})
            for each in account_ids
        ]
        # The loader raises, to each who asked, what is an exception.
        return cast("list[Balance]", answers)

    @property
    def may_send_any_document(self) -> bool:
        """Whether it may run what is no trusted document, where only those are accepted."""
        return self.viewer.kind is ViewerKind.ADMIN or SCOPE_DOCUMENTS in self.viewer.scopes

    @property
    def actor(self) -> Actor:
        """Who is asking, as the ledger keeps it."""
        return Actor(self.viewer.kind.value, self.viewer.id, self.viewer.label)

    def require(self, operation: Operation) -> None:
        """Refuse a viewer who may not do this to anything."""
        require(self.viewer, operation)

    async def authorize(self, operation: Operation, organization_id: UUID) -> None:
        """Refuse a viewer who may not do this to that organization."""
        await self.services.identity.authorize(self.viewer, operation, organization_id)


def context_of(info: Info[Any, Any]) -> Context:
    """Return the context of a resolver."""
    return cast("Context", info.context)


async def account_of(
    info: Info[Any, Any], operation: Operation, organization_id: strawberry.ID
) -> tuple[Context, UUID]:
    """Return the context, and an organization to which its viewer may do that; else refuse."""
    context = context_of(info)
    context.require(operation)
    account_id = read_id(organization_id, "organizationId")
    await context.authorize(operation, account_id)
    return context, account_id
