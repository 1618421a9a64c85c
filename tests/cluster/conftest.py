import asyncio
import contextlib
import pathlib
import time
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from queue_processor.simulator.aws import simulator
from tests import gobinaries, parts
from tests.cluster import assets, manifests, plane, site, world

MANIFEST = pathlib.Path(__file__).parents[2] / "deploy" / "queue-processor.yaml"


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
        asyncio.run(_until_a_pod_runs(running))
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


@pytest.fixture
async def cluster(control_plane: plane.ControlPlane) -> AsyncIterator[world.World]:
    """The cluster with the operator's account and roles, and with nothing else in it."""
    async with world.opened(control_plane) as opened:
        await opened.apply(world.rbac_of(MANIFEST))
        await opened.make_namespace()
        yield opened
        await opened.clear()


@pytest.fixture(scope="module")
def aws() -> Iterator[simulator.AwsSimulator]:
    with simulator.AwsSimulator() as started:
        yield started


@pytest.fixture
async def scene(
    cluster: world.World, aws: simulator.AwsSimulator, tmp_path: pathlib.Path
) -> AsyncIterator[site.Site]:
    """The cluster, a fresh queue, and operators that may do what their roles say and no more."""
    aws.reset()
    access = await cluster.operator_access()
    made = site.Site(
        cluster,
        aws=aws,
        stack=aws.deploy(),
        folder=tmp_path,
        kubeconfig=access.write_kubeconfig(tmp_path / "kubeconfig"),
    )
    yield made
    await made.close()
    assert made.audit.refused() == []
