import asyncio
import contextlib
from collections.abc import Iterator

import pytest

from tests import gobinaries
from tests.cluster import assets, plane

# Else pytest-asyncio, asking for the loop that was there before its own, makes one on Python 3.11
# and leaves it open.
asyncio.set_event_loop(None)


@pytest.fixture(scope="session")
def control_plane() -> Iterator[plane.ControlPlane]:
    """A control plane for all tests; each of them makes its own nodes and pods."""
    try:
        programs = assets.find()
    except gobinaries.GoMissing as missing:
        gobinaries.skip(f"the control plane cannot be built: {missing}")
    running = plane.ControlPlane(programs)
    with contextlib.closing(running):
        running.start()
        yield running
