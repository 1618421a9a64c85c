import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent import futures

import pytest

from tests import gobinaries, parts
from tests.cluster import assets, manifests, plane, world

# Else pytest-asyncio, asking for the loop that was there before its own, makes one on Python 3.11
# and leaves it open.
asyncio.set_event_loop(None)


@pytest.fixture(scope="session")
def started() -> Iterator[tuple[plane.ControlPlane, float]]:
    """A control plane, and how many seconds it took until a pod ran there."""
    try:
        programs = assets.find()
    except assets.AssetsMissing as missing:
        gobinaries.skip(f"there is no control plane: {missing}")
    except assets.AssetsIncomplete as incomplete:
        pytest.fail(str(incomplete), pytrace=False)
    began = time.monotonic()
    running = plane.ControlPlane(programs)
    with contextlib.closing(running):
        running.start()
        # In a thread of its own, for whoever asks for this fixture out of a loop that runs.
        with futures.ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, _until_a_pod_runs(running)).result()
        yield running, time.monotonic() - began


async def _until_a_pod_runs(running: plane.ControlPlane) -> None:
    """Return when each component has done its part in running a pod."""
    async with world.opened(running) as opened:
        await opened.make_namespace()
        await opened.make_nodes([("first", "i-0")])
        await opened.create(manifests.owned("Deployment", "first", manifests.PodShape()))
        await opened.until_running("first", 1)
        await opened.clear()


@pytest.fixture(scope="session")
def control_plane(
    started: tuple[plane.ControlPlane, float],
    record_testsuite_property: Callable[[str, object], None],
) -> plane.ControlPlane:
    """A control plane for all tests; each of them makes its own nodes and pods."""
    running, took = started
    record_testsuite_property(parts.READY_PROPERTY, f"{took:.2f}")
    return running
