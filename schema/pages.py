"""Cursor connections: keyset pages of at most 100, a total only on request."""

import base64
import binascii
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Generic, TypeVar

import strawberry

from app.core.refusals import invalid
from app.credits.reads import PAGE_LIMIT

Node = TypeVar("Node")
Whole = TypeVar("Whole")

First = Annotated[int, strawberry.argument(description="How many, from 1 to 100.")]
After = Annotated[
    str | None, strawberry.argument(description="Cursor of the last one of the page before.")
]


@strawberry.type(description="Where a page lies.")
class PageInfo:
    """As the GraphQL cursor connections specification says."""

    has_next_page: bool = strawberry.field(description="Whether more follow.")
    has_previous_page: bool = strawberry.field(description="Whether a cursor was given.")
    start_cursor: str | None = strawberry.field(description="Cursor of the first of the page.")
    end_cursor: str | None = strawberry.field(description="Cursor of the last of the page.")


@strawberry.type(description="One item with its cursor.")
class Edge(Generic[Node]):
    """An item of a page."""

    cursor: str = strawberry.field(description="Opaque; for `after`.")
    node: Node = strawberry.field(description="The item.")


@strawberry.type(description="One page.")
class Connection(Generic[Node]):
    """A page of items."""

    edges: list[Edge[Node]] = strawberry.field(description="The items with their cursors.")
    page_info: PageInfo = strawberry.field(description="Where the page lies.")
    count: strawberry.Private[Callable[[], Awaitable[int]]]

    @strawberry.field(description="The items alone.")
    def nodes(self) -> list[Node]:
        return [edge.node for edge in self.edges]

    @strawberry.field(description="How many there are on all pages; counted only when asked for.")
    async def total_count(self) -> int:
        return await self.count()


def check_first(first: int) -> int:
    """Return how many rows to read: one more than asked, to see whether more follow."""
    if not 1 <= first <= PAGE_LIMIT:
        raise invalid("first", f"must be from 1 to {PAGE_LIMIT}")
    return first + 1


def write_cursor(key: object) -> str:
    """Return an opaque cursor for a key."""
    return base64.urlsafe_b64encode(f"1:{key}".encode()).decode()


def read_cursor(after: str | None) -> str | None:
    """Return the key of a cursor."""
    if after is None:
        return None
    try:
        form, _, key = base64.urlsafe_b64decode(after.encode()).decode().partition(":")
    except (binascii.Error, UnicodeError) as error:
        raise invalid("after", "must be a cursor of this list") from error
    if form != "1" or not key:
        raise invalid("after", "must be a cursor of this list")
    return key


def page(
    connection: Callable[..., Whole],
    first: int,
    after: str | None,
    items: Sequence[tuple[object, object]],
    count: Callable[[], Awaitable[int]],
) -> Whole:
    """Return a page of (key, node) pairs, of which one more than `first` was read."""
    edges = [Edge(cursor=write_cursor(key), node=node) for key, node in items[:first]]
    return connection(
        edges=edges,
        page_info=PageInfo(
            has_next_page=len(items) > first,
            has_previous_page=after is not None,
            start_cursor=edges[0].cursor if edges else None,
            end_cursor=edges[-1].cursor if edges else None,
        ),
        count=count,
    )
