"""Running servers for each file of tests: as a developer has it, and as in production."""

from collections.abc import AsyncIterator

import pytest

from tests.conftest import Servers, cloned
from tests.support.api import Api, serving, settings_for


@pytest.fixture(scope="module")
async def database_name(servers: Servers, template: str) -> AsyncIterator[str]:
    """Return the name of a fresh database, dropped after the file."""
    async with cloned(servers, template) as name:
        yield name


@pytest.fixture(scope="module")
async def site(servers: Servers, database_name: str) -> AsyncIterator[Api]:
    """A server as a developer has it."""
    settings = settings_for(servers.app_url(database_name), servers.redis)
    async with serving(settings) as served:
        yield served


@pytest.fixture(scope="module")
async def production(servers: Servers, database_name: str) -> AsyncIterator[Api]:
    """A server with the settings of production."""

    settings = settings_for(
        servers.app_url(database_name),
        servers.redis,
        environment="production",
        allowed_origins=["https://app.example"],
    )
    async with serving(settings) as served:
        yield served
