"""The hot reads of the credits domain: what dashboards ask for all the time."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from graphql import GraphQLError

from app.core.refusals import Refusal
from app.credits.reads import PAGE_LIMIT
from app.credits.shown import (
    Shown,
    Sight,
    balance_statement,
    check_statement,
    transactions_statement,
)
from app.identity.rights import Operation
from app.identity.viewer import ViewerKind
from schema.context import Context
from schema.credits.queries import read_version
from schema.hot import Bind, Read
from schema.pages import read_cursor
from schema.scalars import read_credits

_Values = Mapping[str, Any]


def _account(values: _Values) -> UUID | None:
    value = values.get("organizationId")
    try:
        return UUID(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _sight(context: Context) -> Sight | None:
    """Return what a viewer sees, for the statement to hold to; None if that is nothing."""
    viewer = context.viewer
    try:
        context.require(Operation.READ_CREDITS)
    except Refusal:
        return None
    if viewer.kind is ViewerKind.ADMIN:
        return Sight(sees_all=True)
    if viewer.kind is ViewerKind.PROJECT_KEY:
        return Sight(project_id=viewer.project_id)
    if viewer.kind is ViewerKind.ORGANIZATION_KEY:
        return Sight(organization_id=viewer.organization_id)
    return None


def _balance(fields: tuple[Shown, ...]) -> Read:
    statement = balance_statement(fields)

    async def read(values: _Values, context: Context) -> str | None:
        account, sight = _account(values), _sight(context)
        if account is None or sight is None:
            return None
        return await context.services.shown_credits.read(
            "creditBalance", statement, account, sight=sight
        )

    return read


def _check(fields: tuple[Shown, ...]) -> Read:
    statement = check_statement(fields)

    async def read(values: _Values, context: Context) -> str | None:
        account, sight = _account(values), _sight(context)
        try:
            amount = read_credits(values.get("amount"))
        except GraphQLError:
            return None
        if account is None or sight is None or amount < 0:
            return None
        return await context.services.shown_credits.read(
            "creditBalanceCheck", statement, account, amount, sight=sight
        )

    return read


def _transactions(fields: tuple[Shown, ...]) -> Read:
    statement = transactions_statement(fields)

    async def read(values: _Values, context: Context) -> str | None:
        account, sight = _account(values), _sight(context)
        first, after = values.get("first"), values.get("after")
        if account is None or sight is None or values.get("filter") is not None:
            return None
        if type(first) is not int or not 1 <= first <= PAGE_LIMIT:
            return None
        if after is not None and not isinstance(after, str):
            return None
        try:
            cursor = read_cursor(after)
            before = None if cursor is None else read_version(cursor)
        except Refusal:
            return None
        return await context.services.shown_credits.read(
            "creditTransactions", statement, account, before, first, sight=sight
        )

    return read


HOT_READS: Mapping[str, Bind] = {
    "creditBalance": _balance,
    "creditBalanceCheck": _check,
    "creditTransactions": _transactions,
}
