"""Empty databases to migrate."""

from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest

from tests.conftest import Servers


@pytest.fixture
async def empty(servers: Servers) -> AsyncIterator[str]:
    """Return the superuser's URL of an empty database."""
    name = f"exchequer_empty_{uuid4().hex[:8]}"
    admin = await asyncpg.connect(servers.postgres)
    await admin.execute(f'create database "{name}"')
    yield servers.admin_url(name)
    await admin.execute(f'drop database "{name}" with (force)')
    await admin.close()
