import asyncio
import contextlib
import functools
import time
from collections.abc import Iterator
from concurrent import futures

import hypothesis
import pytest
from botocore import loaders
from xdist import scheduler  # type: ignore[import-untyped]  # it has no annotations

from tests import gobinaries, parts
from tests.cluster import assets, manifests, plane, world

# Else pytest-asyncio, asking for the loop that was there before its own, makes one on Python 3.11
# and leaves it open.
asyncio.set_event_loop(None)

# Its limits are about wall-clock time, which says nothing while other tests run beside.
hypothesis.settings.register_profile(
    "side by side",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("side by side")

# How often looptime polls for I/O before it moves the clock on. Its default of 42 is half of what
# tests in virtual time compute. Their I/O does not leave the process, so that it is there at once.
_IDLE_CYCLES = 2
# Where tests share a fixture of the session that takes long to start, and what they share.
_SHARED = {
    "tests/cluster": "control plane",
    "tests/contracts": "control plane",
    "tests/infra": "ministack",
}
# Fixtures that use a program in Go or a Python environment, which they build if it is missing.
_BUILT = {"started", "emulator", "tools"}
# Folders whose tests start processes: they take longest, so workers take them first.
_LONGEST = (
    "cluster",
    "contracts",
    "infra",
    "deploy",
    "wiring",
    "doctor",
    "messages",
    "demo",
    "cli",
    "watcher",
)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Let `--dist=loadgroup` run tests that share something in one process, others by module.

    pytest-xdist 3.8 has such groups, by a mark, but it appends their names to a copy of the test's
    id that pytest 9.2 no longer reads.
    """
    if config.getvalue("dist") != "loadgroup":
        return None
    by_group = scheduler.LoadScopeScheduling(config, log)
    by_group._split_scope = _group_of
    return by_group


def _group_of(nodeid: str) -> str:
    module = nodeid.partition("::")[0]
    return next((group for folder, group in _SHARED.items() if module.startswith(folder)), module)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests by what they use, and let workers of pytest-xdist run the longest first."""
    for item in items:
        if item.get_closest_marker("looptime"):
            item.add_marker(pytest.mark.looptime(noop_cycles=_IDLE_CYCLES))
        if _BUILT.intersection(getattr(item, "fixturenames", ())):
            item.add_marker("built")
        if item.get_closest_marker("built") and not item.nodeid.startswith(parts.BUILT_FOLDERS):
            raise pytest.UsageError(f"{item.nodeid} is `built`, but not in {parts.BUILT_FOLDERS}")
    if hasattr(config, "workerinput"):
        items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    folder = item.nodeid.split("/")[1]
    return _LONGEST.index(folder) if folder in _LONGEST else len(_LONGEST)


@pytest.fixture(scope="session", autouse=True)
def _read_the_data_of_the_sdk_once() -> Iterator[None]:
    """Let sessions of boto3 share their data: each parses megabytes, and tests open hundreds."""
    read = functools.cache(loaders.JSONFileLoader().load_file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loaders.JSONFileLoader, "load_file", lambda _, path: read(path))
        yield


@pytest.fixture(scope="session")
def started() -> Iterator[plane.Started]:
    """A control plane, and what it took until a pod ran there."""
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
        yield plane.Started(running, time.monotonic() - began)


async def _until_a_pod_runs(running: plane.ControlPlane) -> None:
    """Return when each component has done its part in running a pod."""
    async with world.opened(running) as opened:
        await opened.make_namespace()
        await opened.make_nodes([("first", "i-0")])
        await opened.create(manifests.owned("Deployment", "first", manifests.PodShape()))
        await opened.until_running("first", 1)
        await opened.clear()


@pytest.fixture(scope="session")
def control_plane(started: plane.Started) -> plane.ControlPlane:
    """A control plane for all tests; each of them makes its own nodes and pods."""
    return started.plane
