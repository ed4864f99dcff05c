"""One running server for each file of tests; fresh tenants and keys for each test.

These fixtures stand in for those of the whole suite: here a database lasts for a file,
since a server has to be started for it. A test that looks at whole tables compares them
before and after; all others look at their own tenants.
"""

from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import pytest

from app.catalog import Catalog
from app.core.database import Database, PoolLimits, prepare_connection
from app.credits import Credits
from app.identity import Identity
from app.inference import ModelCalls
from app.standin import StandIn
from db.driver import Connection
from tests.conftest import Servers, cloned
from tests.graphql.asking import Asking
from tests.graphql.requests import Requests
from tests.support.accounts import Accounts
from tests.support.api import Api, serving, settings_for
from tests.support.callers import Tenants, make_tenants
from tests.support.catalogs import make_catalog
from tests.support.clock import Clock


@pytest.fixture(scope="module")
async def database_name(servers: Servers, template: str) -> AsyncIterator[str]:
    """Return the name of a fresh database, dropped after the file."""
    async with cloned(servers, template) as name:
        yield name


@pytest.fixture(scope="module")
async def admin(servers: Servers, database_name: str) -> AsyncIterator[Connection]:
    """A superuser's connection, to look at what no role of the application may change."""
    connection = await asyncpg.connect(servers.admin_url(database_name))
    await prepare_connection(connection)
    yield connection
    await connection.close()


@pytest.fixture(scope="module")
async def database(servers: Servers, database_name: str) -> AsyncIterator[Database]:
    """A pool of the tests' own, under the application's role."""
    limits = PoolLimits(min_size=1, max_size=5, idle_seconds=600)
    opened = await Database.connect(servers.app_url(database_name), limits)
    yield opened
    await opened.close()


@pytest.fixture(scope="module")
async def standin() -> AsyncIterator[StandIn]:
    """Stands in for the provider of all models."""
    answering = StandIn()
    await answering.start()
    yield answering
    await answering.stop()


@pytest.fixture(scope="module")
async def site(servers: Servers, database_name: str, standin: StandIn) -> AsyncIterator[Api]:
    """The running server."""
    providers = {"openai": {"api_key": standin.key, "base_url": standin.base_url}}
    settings = settings_for(servers.app_url(database_name), servers.redis, providers=providers)
    async with serving(settings) as served:
        yield served


@pytest.fixture(scope="module")
async def accounts(database: Database, admin: Connection) -> AsyncIterator[Accounts]:
    """Make accounts, and look at them. Whatever the tests did, the audit must be clean."""
    yield Accounts(database, admin)
    assert await Credits(database).audit() == []


@pytest.fixture
async def credits(database: Database) -> Credits:
    return Credits(database)


@pytest.fixture
async def clock(admin: Connection) -> AsyncIterator[Clock]:
    """The database's clock; it runs again after the test."""
    moved = Clock(admin)
    yield moved
    await moved.release()


@pytest.fixture
async def tenants(admin: Connection, accounts: Accounts) -> Tenants:
    return await make_tenants(admin, accounts)


@pytest.fixture
async def api(site: Api, tenants: Tenants) -> Api:
    """A client that knows the keys of all callers."""
    return replace(site, keys=tenants.keys)


@pytest.fixture
async def requests(tenants: Tenants, credits: Credits, database: Database) -> Requests:
    return Requests(tenants, credits, Identity(database), Catalog(database), ModelCalls(database))


@pytest.fixture
async def project(tenants: Tenants, database: Database) -> str:
    """A project with a small catalog."""
    await make_catalog(Catalog(database), tenants.project)
    return str(tenants.project)


@pytest.fixture
def organization(tenants: Tenants) -> str:
    return str(tenants.organization)


@pytest.fixture
def asking(api: Api, organization: str) -> Asking:
    """Ask models for the organization, once `requests.sell()` has opened them to it."""
    return Asking(api, organization)
