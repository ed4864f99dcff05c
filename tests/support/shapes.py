"""A schema of every shape a type can have: what ours lacks, a later one may have."""

from datetime import datetime
from enum import Enum
from typing import Annotated, Any

import strawberry
from strawberry.scalars import JSON
from strawberry.schema.config import StrawberryConfig

from schema.scalars import SCALARS, Credits, Version

_make_enum: Any = Enum


@strawberry.enum
class Colour(Enum):
    """An enum whose values are not its names."""

    RED = "red"
    BLUE = "blue"
    NONE = 0


@strawberry.interface
class Named:
    """An interface with leaves."""

    name: str
    nick: str | None


@strawberry.type
class Leafy(Named):
    """Nothing but leaves, and lists of them."""

    id: strawberry.ID
    other_id: strawberry.ID | None
    count: int
    maybe: int | None
    share: float
    near: float | None
    ok: bool
    so: bool | None
    colour: Colour
    hue: Colour | None
    when: datetime
    ever: datetime | None
    amount: Credits
    more: Credits | None
    version: Version
    facts: JSON
    data: JSON | None
    colours: list[Colour]
    hues: list[Colour | None] | None
    grid: list[list[int]]
    holes: list[list[int | None] | None] | None
    words: list[str | None]


@strawberry.type
class Reader(Named):
    """Fields with resolvers beside leaves."""

    size: int

    @strawberry.field
    def computed(self) -> int:
        return self.size

    @strawberry.field
    async def later(self) -> str | None:
        return self.name

    @strawberry.field
    async def friends(self) -> list["Reader"]:
        return []

    @strawberry.field
    def leafy(self) -> Leafy | None:
        return None


@strawberry.type
class Bare:
    """No leaves at all."""

    leafy: Leafy
    node: Annotated["Node", strawberry.lazy("tests.support.shapes")] | None


Thing = Annotated[Leafy | Reader | Bare, strawberry.union("Thing")]


@strawberry.type
class Node(Named):
    """Objects in each place there is."""

    child: "Node | None"
    children: list["Node"]
    rows: list[list[Leafy | None]] | None
    thing: Thing
    perhaps: Thing | None
    things: list[Thing | None]
    named: Named
    all_named: list[Named] | None
    bare: Bare
    reader: Reader
    strict: list[Leafy]


@strawberry.type
class Query:
    """Roots; what they answer is put in their place."""

    node: Node
    maybe_node: Node | None
    nodes: list[Node | None] | None
    thing: Thing | None
    named: Named | None
    leafy: Leafy
    reader: Reader | None
    bare: Bare | None
    count: int | None


@strawberry.type
class Mutation:
    """Done one after the other."""

    change: Node
    rename: Named | None
    count: int
    things: list[Thing]


def make_shapes() -> strawberry.Schema:
    """Return the schema."""
    return strawberry.Schema(
        Query, Mutation, config=StrawberryConfig(scalar_map=SCALARS), types=[Node, Reader, Leafy]
    )
