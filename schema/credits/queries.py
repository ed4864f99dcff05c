"""Queries of the credits domain."""

from typing import Annotated, Any

import strawberry
from strawberry.types import Info

from app.core.refusals import invalid
from app.credits.reads import TransactionFilter
from app.identity.rights import Operation
from schema.context import account_of
from schema.credits.enums import GrantSource, GrantState, ReservationStatus
from schema.credits.inputs import CreditTransactionFilter
from schema.credits.types import (
    CreditBalance,
    CreditBalanceCheck,
    CreditGrant,
    CreditReservation,
    CreditTransaction,
    OrganizationId,
)
from schema.inputs import read_id, read_text, values_of
from schema.pages import After, Connection, First, check_first, page, read_cursor
from schema.scalars import Credits


@strawberry.type(description="A page of the ledger, newest first.")
class CreditTransactionConnection(Connection[CreditTransaction]):
    """Ledger rows."""


@strawberry.type(description="A page of grants, newest first.")
class CreditGrantConnection(Connection[CreditGrant]):
    """Grants."""


@strawberry.type(description="A page of reservations, newest first.")
class CreditReservationConnection(Connection[CreditReservation]):
    """Reservations."""


@strawberry.type
class CreditQueries:
    """What can be asked about credits."""

    @strawberry.field(description="The credits of an organization, as of now.")
    async def credit_balance(
        self, info: Info[Any, Any], organization_id: OrganizationId
    ) -> CreditBalance:
        context, account_id = await account_of(info, Operation.READ_CREDITS, organization_id)
        checked = await context.services.credits.check_balance(account_id)
        return CreditBalance.of(checked.balance)

    @strawberry.field(
        description="Whether an amount could be reserved now. Advice: only reserving decides."
    )
    async def credit_balance_check(
        self,
        info: Info[Any, Any],
        organization_id: OrganizationId,
        amount: Annotated[Credits, strawberry.argument(description="How much; zero passes.")],
    ) -> CreditBalanceCheck:
        context, account_id = await account_of(info, Operation.READ_CREDITS, organization_id)
        if amount < 0:
            raise invalid("amount", "must be at least 0")
        checked = await context.services.credits.check_balance(account_id, amount)
        return CreditBalanceCheck.of(checked)

    @strawberry.field(description="The ledger, newest first.")
    async def credit_transactions(
        self,
        info: Info[Any, Any],
        organization_id: OrganizationId,
        first: First = 20,
        after: After = None,
        filter: Annotated[  # noqa: A002  # the contract's word
            CreditTransactionFilter | None, strawberry.argument(description="Which rows.")
        ] = None,
    ) -> CreditTransactionConnection:
        context, account_id = await account_of(info, Operation.READ_CREDITS, organization_id)
        narrowed = TransactionFilter() if filter is None else filter.read()
        cursor = read_cursor(after)
        reads = context.services.credit_reads
        rows = await reads.transactions(
            account_id,
            narrowed,
            before_version=None if cursor is None else read_version(cursor),
            limit=check_first(first),
        )
        return page(
            CreditTransactionConnection,
            first,
            after,
            [(row.version, CreditTransaction.of(row)) for row in rows],
            lambda: reads.count_transactions(account_id, narrowed),
        )

    @strawberry.field(description="The grants, newest first.")
    async def credit_grants(
        self,
        info: Info[Any, Any],
        organization_id: OrganizationId,
        first: First = 20,
        after: After = None,
        states: Annotated[
            list[GrantState] | None, strawberry.argument(description="Only those in a state.")
        ] = None,
        sources: Annotated[
            list[GrantSource] | None, strawberry.argument(description="Only those of a source.")
        ] = None,
    ) -> CreditGrantConnection:
        context, account_id = await account_of(info, Operation.READ_CREDITS, organization_id)
        cursor = read_cursor(after)
        reads = context.services.credit_reads
        rows = await reads.grants(
            account_id,
            values_of(states),
            values_of(sources),
            before_id=None if cursor is None else read_id(cursor, "after"),
            limit=check_first(first),
        )
        return page(
            CreditGrantConnection,
            first,
            after,
            [(row.id, CreditGrant.of(row)) for row in rows],
            lambda: reads.count_grants(account_id, values_of(states), values_of(sources)),
        )

    @strawberry.field(description="The reservations, newest first.")
    async def credit_reservations(
        self,
        info: Info[Any, Any],
        organization_id: OrganizationId,
        first: First = 20,
        after: After = None,
        statuses: Annotated[
            list[ReservationStatus] | None,
            strawberry.argument(description="Only those with a status."),
        ] = None,
        feature: Annotated[
            str | None, strawberry.argument(description="Only those for a feature.")
        ] = None,
    ) -> CreditReservationConnection:
        context, account_id = await account_of(info, Operation.READ_CREDITS, organization_id)
        cursor = read_cursor(after)
        feature = read_text(feature, "feature")
        reads = context.services.credit_reads
        rows = await reads.reservations(
            account_id,
            values_of(statuses),
            feature,
            before_id=None if cursor is None else read_id(cursor, "after"),
            limit=check_first(first),
        )
        return page(
            CreditReservationConnection,
            first,
            after,
            [(row.id, CreditReservation.of(row)) for row in rows],
            lambda: reads.count_reservations(account_id, values_of(statuses), feature),
        )


def read_version(cursor: str) -> int:
    """Return the version that a cursor of the ledger stands for."""
    if not cursor.isascii() or not cursor.isdigit() or len(cursor) > 18:  # noqa: PLR2004  # bigint
        raise invalid("after", "must be a cursor of this list")
    return int(cursor)
