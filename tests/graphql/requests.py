"""A valid request for each operation of the contract, and what a refusal must not move."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from asyncpg import Record

from app.catalog import Catalog
from app.catalog.edits import PlanFeatureTerms
from app.credits import Credits, ReserveRequest, SettleRequest
from app.identity import Identity
from app.inference import CloseRequest, ModelCalls, OpenRequest
from db.driver import Connection
from tests.support.accounts import CREDIT
from tests.support.api import unique
from tests.support.callers import Tenants
from tests.support.catalogs import FEATURE, PLAN, make_catalog

Variables = dict[str, Any]
CATALOG_QUERIES: dict[str, Variables] = {
    "plans": {},
    "plan": {"key": "basic"},
    "features": {},
    "qualityLevels": {},
    "models": {},
    "model": {"key": "small"},
    "catalogChanges": {},
}
CATALOG: dict[str, Variables] = CATALOG_QUERIES | {
    "upsertFeature": {"key": "exports", "kind": "BOOLEAN", "name": "Exports"},
    "upsertQualityLevel": {"key": "best", "name": "Best", "rank": 9, "multiplierBasisPoints": 1},
    "upsertModel": {
        "key": "large",
        "provider": "openai",
        "providerModelId": "large-1",
        "name": "Large",
        "tier": "POWERFUL",
        "contextLength": 1000,
        "maxOutputTokens": 100,
        "price": {"inputPerMillion": "0.15", "outputPerMillion": "0.6", "source": "a list"},
    },
    "upsertPlan": {
        "key": "more",
        "kind": "RECURRING",
        "name": "More",
        "rank": 1,
        "features": [
            {
                "feature": "summary",
                "qualityLevels": [{"quality": "fast", "models": ["small"]}],
            }
        ],
    },
    "archivePlan": {"key": "basic"},
    "setDefaultPlan": {"key": None},
}
# With the feature by which the plan opens each.
CALLS: dict[str, Variables] = {
    "createChatCompletion": {"messages": [{"role": "USER", "content": "hello"}]},
    "createCompletion": {"prompt": "hello"},
    "suggestQuestions": {"topic": "a shop that sells bread"},
    "assembleTestimonial": {"answers": [{"question": "How was it?", "answer": "Good."}]},
    "polishTestimonial": {"text": "it was good"},
    "chatCompletionStream": {"messages": [{"role": "USER", "content": "hello"}]},
}
_FEATURES = (
    "chat_completion",
    "text_completion",
    "question_generation",
    "testimonial_assembly",
    "testimonial_polish",
)
_SCHEMAS = ["core", "identity", "catalog", "credits", "usage", "events", "inference"]


class Requests:
    """Builds variables that succeed, making first what they need; each may be sent once."""

    def __init__(
        self,
        tenants: Tenants,
        credits: Credits,
        identity: Identity,
        catalog: Catalog,
        calls: ModelCalls,
    ) -> None:
        self._calls = calls
        self._tenants = tenants
        self._credits = credits
        self._identity = identity
        self._catalog = catalog
        self._account = tenants.organization
        self._owing = False
        self._sells = False
        self._opens = False

    async def variables(self, operation: str) -> Variables:
        """Return the variables of a request that an administrator may send."""
        special: dict[str, Callable[[], Awaitable[Variables]]] = {
            "extendReservation": self._extend,
            "settleCredits": self._settle,
            "releaseCredits": self._release,
            "refundCredits": self._refund,
            "voidGrant": self._void,
            "forgiveOverage": self._forgive,
        }
        if operation in CALLS:
            await self.sell()
            fields = {"idempotencyKey": unique(), **CALLS[operation]}
            return {"input": {"organizationId": str(self._account), **fields}}
        whole: dict[str, Callable[[], Awaitable[Variables]]] = {
            "charge": self._charge,
            "revokeKey": self._revoke,
            "setOrganizationPlan": self._plan,
        }
        if operation in whole:
            return await whole[operation]()
        if operation in CATALOG:
            return await self._catalogs(operation)
        if operation in special:
            fields = await special[operation]()
            return {"input": {"organizationId": str(self._account), **fields}}
        return self._simple(operation)

    async def sell(self) -> None:
        """Open all that calls models to the organization, once."""
        if self._opens:
            return
        project, catalog = self._tenants.project, self._catalog
        if not self._sells:
            await make_catalog(catalog, project)
            self._sells = True
        for key in _FEATURES:
            await catalog.upsert_feature(project, FEATURE._replace(key=key, name=key))
        open_to_any = [PlanFeatureTerms(key, any_model=True) for key in _FEATURES]
        await catalog.upsert_plan(project, PLAN._replace(key="calls"), open_to_any, [])
        await catalog.set_default_plan(project, "calls")
        self._opens = True

    async def call(self) -> UUID:
        """Let a call begin, and charge it."""
        await self.sell()
        asked = OpenRequest(unique(), bytes(32), "chat_completion", None, "small", 10, 10)
        opened = await self._calls.open(self._account, asked)
        used = CloseRequest(
            opened.reservation_id, 9, 0, 3, usage_estimated=False, outcome="complete"
        )
        await self._calls.close(self._account, used)
        return opened.reservation_id

    async def _catalogs(self, operation: str) -> Variables:
        project = self._tenants.project
        if not self._sells:
            await make_catalog(self._catalog, project)
            self._sells = True
        fields = {"projectId": str(project), **CATALOG[operation]}
        return fields if operation in CATALOG_QUERIES else {"input": fields}

    def _simple(self, operation: str) -> Variables:
        organization = str(self._account)
        inputs: dict[str, Variables] = {
            "reserveCredits": {"amount": "1", "idempotencyKey": unique()},
            "deductCredits": {"amount": "1", "idempotencyKey": unique()},
            "grantCredits": {"amount": "1", "idempotencyKey": unique()},
            "adjustCredits": {"amount": "1", "idempotencyKey": unique(), "reason": "a test"},
            "updateOrganizationSettings": {"overdraftLimit": "5", "idempotencyKey": unique()},
            "createOrganizationKey": {"name": "Key", "idempotencyKey": unique()},
        }
        if operation in inputs:
            return {"input": {"organizationId": organization, **inputs[operation]}}
        whole: dict[str, Variables] = {
            "organization": {"id": organization},
            "organizations": {},
            "projects": {},
            "creditBalanceCheck": {"organizationId": organization, "amount": "1"},
            "aiAccess": {"organizationId": organization, "feature": "summary"},
            "featureLimits": {"organizationId": organization},
            "createProject": {
                "input": {"slug": unique("p"), "name": "Project", "idempotencyKey": unique()}
            },
            "updateProjectSettings": {
                "input": {
                    "projectId": str(self._tenants.project),
                    "allowedOrigins": ["https://app.example"],
                }
            },
            "createCustomerToken": {
                "input": {"organizationId": organization, "endCustomerRef": "eve"}
            },
            "createOrganization": {
                "input": {
                    "name": "Organization",
                    "projectId": str(self._tenants.project),
                    "idempotencyKey": unique(),
                }
            },
            "createProjectKey": {
                "input": {
                    "name": "Key",
                    "projectId": str(self._tenants.project),
                    "idempotencyKey": unique(),
                }
            },
        }
        return whole.get(operation, {"organizationId": organization})

    async def reserve(self, amount: int = CREDIT) -> UUID:
        """Set credits aside; the rest of the set-up of a reservation is its default."""
        row = await self._credits.reserve(self._account, ReserveRequest(unique(), amount))
        return row.reservation_id

    async def key(self) -> UUID:
        """Make a key of the organization; its secret is nobody's."""
        row = await self._identity.create_api_key(
            "organization",
            self._tenants.project,
            "Key",
            "exq_o_",
            "0000",
            unique().encode(),
            organization_id=self._account,
        )
        return row.id

    async def grant(self, amount: int = CREDIT) -> UUID:
        """Give credits, and so write a ledger row."""
        row = await self._credits.issue_grant(self._account, amount, "promotional", unique())
        return row.grant_id

    async def _charge(self) -> Variables:
        return {"organizationId": str(self._account), "id": str(await self.call())}

    async def _revoke(self) -> Variables:
        return {"input": {"keyId": str(await self.key())}}

    async def _plan(self) -> Variables:
        await self.sell()
        return {"input": {"organizationId": str(self._account), "plan": "basic"}}

    async def _extend(self) -> Variables:
        return {"reservationId": str(await self.reserve()), "amount": "2"}

    async def _settle(self) -> Variables:
        return {"reservationId": str(await self.reserve()), "amount": "0.5"}

    async def _release(self) -> Variables:
        return {"reservationId": str(await self.reserve())}

    async def _refund(self) -> Variables:
        reservation = await self.reserve()
        await self._credits.settle(self._account, SettleRequest(reservation, CREDIT))
        return {"reservationId": str(reservation), "idempotencyKey": unique()}

    async def _void(self) -> Variables:
        return {"grantId": str(await self.grant()), "idempotencyKey": unique()}

    async def _forgive(self) -> Variables:
        if not self._owing:
            # More is settled than there is: the account owes from now on.
            reservation = await self.reserve()
            await self._credits.settle(self._account, SettleRequest(reservation, 1000 * CREDIT))
            self._owing = True
        return {"amount": "0.5", "idempotencyKey": unique(), "reason": "a test"}


async def everything(admin: Connection) -> dict[str, list[Record]]:
    """Return every row of every table: equal ones mean that nothing moved at all."""
    names = await admin.fetch(
        "select schemaname || '.' || tablename as name from pg_tables"
        " where schemaname = any($1) order by 1",
        _SCHEMAS,
    )
    return {
        row["name"]: await admin.fetch(
            f"select * from {row['name']} as t order by t::text"  # noqa: S608  # names of tables
        )
        for row in names
    }
