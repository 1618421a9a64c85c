import pathlib
from collections.abc import AsyncIterator

import pytest

from tests.cluster import plane, world

MANIFEST = pathlib.Path(__file__).parents[2] / "deploy" / "queue-processor.yaml"


@pytest.fixture
async def cluster(control_plane: plane.ControlPlane) -> AsyncIterator[world.World]:
    """The cluster with the operator's account and roles, and with nothing else in it."""
    async with world.opened(control_plane) as opened:
        await opened.apply(world.rbac_of(MANIFEST))
        await opened.make_namespace()
        yield opened
        await opened.clear()
