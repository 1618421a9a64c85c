import json
from collections.abc import AsyncIterator

import pytest

from tests.cluster import plane, world
from tests.contracts.kubernetes import targets
from tests.contracts.kubernetes.cluster import Cluster
from tests.contracts.kubernetes.simulated import SimulatedTarget
from tests.deploy import chart

MANIFEST = chart.BASE.path


@pytest.fixture(scope="session")
def operator_access(control_plane: plane.ControlPlane) -> plane.Access:
    """Access as the operator, with the account and the roles that deploy/ makes."""
    documents = {"apiVersion": "v1", "kind": "List", "items": world.rbac_of(MANIFEST)}
    control_plane.kubectl("apply", "--filename=-", text=json.dumps(documents))
    namespace, account = world.OPERATOR
    token = control_plane.kubectl("create", "token", account, f"--namespace={namespace}")
    return control_plane.access(token.strip())


@pytest.fixture(params=[targets.BY_CALL, targets.REAL])
async def cluster(request: pytest.FixtureRequest) -> AsyncIterator[Cluster]:
    """A cluster for this test: the simulated one and the real one."""
    async with request.param(request) as target:
        yield target


@pytest.fixture(params=[targets.BY_CALL, targets.BY_HTTP])
async def simulation(request: pytest.FixtureRequest) -> AsyncIterator[SimulatedTarget]:
    """A simulated cluster, by call and over HTTP, for tests that inject faults."""
    async with request.param(request) as target:
        yield target
