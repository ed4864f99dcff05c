"""The ground of proofs, inside of pytest: its servers, its template."""

import pytest

from tests.conftest import Servers
from tests.proof.ground import Ground


@pytest.fixture
def ground(servers: Servers, template: str) -> Ground:
    return Ground(servers, template)
