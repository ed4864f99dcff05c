"""What tests of calls on many accounts, and of catalogs, begin with."""

from uuid import UUID

import pytest

from app.catalog import Catalog
from app.core.database import Database
from app.credits import Credits
from db.driver import Connection
from tests.functions.books import NOW
from tests.functions.many import World
from tests.support.accounts import Accounts
from tests.support.catalogs import make_catalog
from tests.support.clock import Clock


@pytest.fixture
async def world(credits: Credits, accounts: Accounts, clock: Clock, admin: Connection) -> World:
    await clock.set(NOW)
    return World(credits, accounts, clock, admin)


@pytest.fixture
def catalog(database: Database) -> Catalog:
    return Catalog(database)


@pytest.fixture
async def project(accounts: Accounts, catalog: Catalog) -> UUID:
    """Return a project that has a small catalog."""
    project_id = await accounts.project()
    await make_catalog(catalog, project_id)
    return project_id
