"""A refusal proven whole."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from app.core.refusals import Refusal


@asynccontextmanager
async def refused_whole(
    look: Callable[[], Awaitable[object]], code: str, facts: Mapping[str, Any]
) -> AsyncIterator[None]:
    """Prove the three things of a refusal: its code, its facts, and that nothing moved."""
    before = await look()
    with pytest.raises(Refusal) as refusal:
        yield
    assert (refusal.value.code, refusal.value.facts) == (code, facts)
    assert await look() == before
