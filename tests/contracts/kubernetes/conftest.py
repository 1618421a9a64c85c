import contextlib
import json
import pathlib
from collections.abc import AsyncIterator

import looptime
import pytest

from tests.cluster import plane, world
from tests.contracts.kubernetes.cluster import Cluster
from tests.contracts.kubernetes.real import RealCluster
from tests.contracts.kubernetes.simulated import ByCall, ByHttp, SimulatedCluster

MANIFEST = pathlib.Path(__file__).parents[3] / "deploy" / "queue-processor.yaml"


@pytest.fixture(scope="session")
def operator_access(control_plane: plane.ControlPlane) -> plane.Access:
    """Access as the operator, with the account and the roles that deploy/ makes."""
    documents = {"apiVersion": "v1", "kind": "List", "items": world.rbac_of(MANIFEST)}
    control_plane.kubectl("apply", "--filename=-", text=json.dumps(documents))
    namespace, account = world.OPERATOR
    token = control_plane.kubectl("create", "token", account, f"--namespace={namespace}")
    return control_plane.access(token.strip())


@contextlib.asynccontextmanager
async def by_call(_: pytest.FixtureRequest) -> AsyncIterator[SimulatedCluster]:
    with looptime.enabled(strict=True):
        made = SimulatedCluster(ByCall)
        await made.open()
    yield made
    await made.close()


@contextlib.asynccontextmanager
async def by_http(_: pytest.FixtureRequest) -> AsyncIterator[SimulatedCluster]:
    made = SimulatedCluster(ByHttp)
    await made.open()
    yield made
    await made.close()


@contextlib.asynccontextmanager
async def real(request: pytest.FixtureRequest) -> AsyncIterator[RealCluster]:
    control_plane: plane.ControlPlane = request.getfixturevalue("control_plane")
    made = RealCluster(control_plane, request.getfixturevalue("operator_access"))
    try:
        await made.open()
        yield made
    finally:
        await made.close()


SIMULATED = [
    pytest.param(by_call, marks=pytest.mark.looptime, id="simulator by call"),
    pytest.param(by_http, id="simulator by http"),
]


REAL = pytest.param(
    real, marks=[pytest.mark.built, pytest.mark.xdist_group("control plane")], id="real api server"
)


@pytest.fixture(params=[*SIMULATED, REAL])
async def cluster(request: pytest.FixtureRequest) -> AsyncIterator[Cluster]:
    """A cluster for this test: a simulated one in each of the ways, and the real one."""
    async with request.param(request) as made:
        yield made


@pytest.fixture(params=SIMULATED)
async def simulation(request: pytest.FixtureRequest) -> AsyncIterator[SimulatedCluster]:
    """A simulated cluster in each of the ways: it can be ordered to misbehave."""
    async with request.param(request) as made:
        yield made
