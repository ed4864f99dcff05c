"""Who is asking."""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID


class ViewerKind(StrEnum):
    """The kinds of principals."""

    ANONYMOUS = "anonymous"
    ADMIN = "admin"
    PROJECT_KEY = "project_key"
    ORGANIZATION_KEY = "organization_key"


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who is asking, and for whom: the project and organization of a key."""

    kind: ViewerKind
    id: str = ""
    label: str = ""
    project_id: UUID | None = None
    organization_id: UUID | None = None
    scopes: frozenset[str] = frozenset()

    @property
    def sight(self) -> tuple[object, ...]:
        """What decides what a viewer may see: those with equal ones see the same."""
        return self.kind, self.project_id, self.organization_id, self.scopes


ANONYMOUS = Viewer(ViewerKind.ANONYMOUS)
ADMIN = Viewer(ViewerKind.ADMIN, id="bootstrap", label="bootstrap administrator")
