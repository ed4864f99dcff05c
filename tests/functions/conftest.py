"""What tests of calls on many accounts begin with."""

import pytest

from app.credits import Credits
from db.driver import Connection
from tests.functions.books import NOW
from tests.functions.many import World
from tests.support.accounts import Accounts
from tests.support.clock import Clock


@pytest.fixture
async def world(credits: Credits, accounts: Accounts, clock: Clock, admin: Connection) -> World:
    await clock.set(NOW)
    return World(credits, accounts, clock, admin)
