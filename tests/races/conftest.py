"""What every race needs."""

from collections.abc import AsyncIterator

import pytest

from tests.conftest import Servers
from tests.support.races import Race


@pytest.fixture
async def race(servers: Servers, database_name: str) -> AsyncIterator[Race]:
    """Two connections under the application's own role, and who goes first."""
    async with Race(servers.app_url(database_name)) as opened:
        yield opened
