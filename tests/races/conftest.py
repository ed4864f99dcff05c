"""What every race needs."""

from collections.abc import AsyncIterator

import pytest

from tests.conftest import Servers
from tests.support.gate import Gate, turn
from tests.support.races import Race


@pytest.fixture
async def race(servers: Servers, database_name: str) -> AsyncIterator[Race]:
    """Two connections under the application's own role, and who goes first."""
    async with Race(servers.app_url(database_name)) as opened:
        yield opened


@pytest.fixture
async def gate() -> AsyncIterator[Gate]:
    """Shut; by the end of the test nobody is left sending."""
    made = Gate()
    yield made
    made.open()
    await turn()
    assert made.batches.lanes == 0
