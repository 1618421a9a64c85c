import datetime as dt

import looptime
import pytest

from queue_processor.simulator.kube import api, clock
from queue_processor.simulator.kube.cluster import SimulatedCluster
from tests.fakes.kube_client import DirectClient


@pytest.fixture
def start() -> dt.datetime:
    return dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC)


@pytest.fixture
async def cluster(start: dt.datetime) -> SimulatedCluster:
    """Three Ready nodes a, b and c, nothing else."""
    with looptime.enabled(strict=True):
        made = SimulatedCluster(now=clock.LoopClock(start))
        for name in ("a", "b", "c"):
            made.add_node(name, instance_id=f"i-0{name}")
    return made


@pytest.fixture
def server(cluster: SimulatedCluster) -> api.SimulatedApiServer:
    return api.SimulatedApiServer(cluster)


@pytest.fixture
def client(server: api.SimulatedApiServer) -> DirectClient:
    return DirectClient(server, "tester")
