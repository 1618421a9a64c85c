import pathlib
from collections.abc import AsyncIterator, Iterator

import pytest

from queue_processor.simulator.aws import simulator
from tests.cluster import plane, site, world
from tests.deploy import chart

MANIFEST = chart.BASE.path


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
