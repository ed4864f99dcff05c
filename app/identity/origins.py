"""Origins: which pages may use which keys.

A browser names the origin of the page that asks, and asks before it sends a key: by then
nobody has said whose key it will be. So a page is let in if the setting or any project
allows its origin, and its key is compared with its origin once it comes.
"""

import asyncio
import re
from collections.abc import Iterable, Mapping
from ipaddress import IPv6Address
from uuid import UUID

from app.core.database import Unavailable
from app.core.refusals import Refusal
from app.core.telemetry import log
from app.identity.identity import Identity
from app.identity.viewer import Viewer

ORIGINS = 50
_ANY = "*"
_LENGTH = 255
_PORT_MAX = 65_535
_PROJECTS = 10_000
_USUAL_PORTS = {"http": 80, "https": 443}
_FORM = re.compile(
    r"(https?)://([a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?",
    re.ASCII | re.IGNORECASE,
)


def normal_origin(text: str) -> str | None:
    """Return an origin of http or https in the form browsers send it; None if it is none."""
    found = _FORM.fullmatch(text)
    if found is None or len(text) > _LENGTH:
        return None
    scheme, host = found[1].lower(), found[2].lower()
    if host.startswith("["):
        try:
            host = f"[{IPv6Address(host[1:-1]).compressed}]"
        except ValueError:
            return None
    if found[3] is None:
        return f"{scheme}://{host}"
    port = int(found[3])
    if not 1 <= port <= _PORT_MAX:
        return None
    return f"{scheme}://{host}" if port == _USUAL_PORTS[scheme] else f"{scheme}://{host}:{port}"


class Origins:
    """The origins of the setting and of all projects; the latter read now and then.

    Nobody waits for Postgres here. While it cannot be asked, what was known goes on: neither
    is a page let in that nobody named, nor one shut out that somebody did.
    """

    def __init__(self, identity: Identity, named: Iterable[str] = (), *, seconds: float) -> None:
        self._identity = identity
        self._named = frozenset(normal_origin(origin) or origin for origin in named)
        self._seconds = seconds
        self._of_projects: Mapping[UUID, frozenset[str]] = {}
        self._of_any = self._named
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read them, and again whenever they may have changed."""
        await self._read()
        self._task = asyncio.create_task(self._follow(), name="origins")

    async def stop(self) -> None:
        """Read them no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @property
    def are_all(self) -> bool:
        """Whether the setting allows every page there is."""
        return _ANY in self._named

    def are_named(self, origin: str) -> bool:
        """Say whether the setting allows an origin, and so with any key."""
        return self.are_all or origin in self._named

    def allow(self, origin: str) -> bool:
        """Say whether the setting or any project allows an origin."""
        return self.are_all or origin in self._of_any

    def check(self, viewer: Viewer, origin: str) -> None:
        """Refuse a key whose project does not allow an origin that the setting does not."""
        if viewer.project_id is None:
            return
        if origin not in self._of_projects.get(viewer.project_id, ()):
            raise Refusal("FORBIDDEN", {"operation": "key.use"})

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            await self._read()

    async def _read(self) -> None:
        try:
            found = await self._identity.allowed_origins(_PROJECTS + 1)
        except (Unavailable, Refusal) as error:
            log.warning("origins.not_read", error=str(error))
            return
        except Exception:  # noqa: BLE001  # logged; the next time may be better
            log.exception("origins.failed")
            return
        if len(found) > _PROJECTS:
            log.error("origins.too_many_projects", limit=_PROJECTS)
        self._of_projects = {
            project_id: frozenset(origins) for project_id, origins in found[:_PROJECTS]
        }
        self._of_any = self._named.union(*self._of_projects.values())
