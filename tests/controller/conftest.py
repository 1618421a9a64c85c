import datetime as dt
from collections.abc import AsyncIterator

import looptime
import pytest

from tests.controller import stage

START = dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC)


@pytest.fixture
async def world() -> AsyncIterator[stage.World]:
    """A cluster, a queue and lifecycle actions in virtual time; operators end with the test."""
    with looptime.enabled(strict=True):
        made = stage.World(START)
    yield made
    with looptime.enabled(strict=True):
        await made.close()
