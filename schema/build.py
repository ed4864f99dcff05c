"""Assembles the schema: what Strawberry describes, and `schema.engine` runs."""

import strawberry
from strawberry.schema.config import StrawberryConfig

from schema.billing.mutations import BillingMutations
from schema.catalog.mutations import CatalogMutations
from schema.catalog.queries import CatalogQueries
from schema.credits.mutations import CreditMutations
from schema.credits.queries import CreditQueries
from schema.credits.subscriptions import CreditSubscriptions
from schema.identity.mutations import IdentityMutations
from schema.identity.queries import IdentityQueries
from schema.inference.mutations import InferenceMutations
from schema.inference.queries import InferenceQueries
from schema.inference.subscriptions import InferenceSubscriptions
from schema.scalars import SCALARS


@strawberry.type(description="What can be asked.")
class Query(CatalogQueries, CreditQueries, IdentityQueries, InferenceQueries):
    """The queries of all domains."""


@strawberry.type(description="What can be done. Each answers its result or a refusal.")
class Mutation(
    BillingMutations, CatalogMutations, CreditMutations, IdentityMutations, InferenceMutations
):
    """The mutations of all domains."""


@strawberry.type(description="What can be watched, over WebSocket or server-sent events.")
class Subscription(CreditSubscriptions, InferenceSubscriptions):
    """The subscriptions of all domains."""


def make_schema() -> strawberry.Schema:
    """Return the schema. It has no extensions: each would run around every request or field."""
    return strawberry.Schema(
        query=Query,
        mutation=Mutation,
        subscription=Subscription,
        config=StrawberryConfig(scalar_map=SCALARS),
    )
