from __future__ import annotations

import datetime as dt

import pytest

from queue_processor.simulator.kube import api, clock, direct, settings, world


@pytest.fixture
def start() -> dt.datetime:
    return dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC)


@pytest.fixture
def cluster(start: dt.datetime) -> world.Cluster:
    """Three Ready nodes a, b and c, nothing else."""
    made = world.Cluster(settings.Settings(), clock.LoopClock(start))
    for name in ("a", "b", "c"):
        made.add_node(name, instance_id=f"i-0{name}")
    return made


@pytest.fixture
def server(cluster: world.Cluster) -> api.ApiServer:
    return api.ApiServer(cluster)


@pytest.fixture
def client(server: api.ApiServer) -> direct.DirectClient:
    return direct.DirectClient(server, "tester")
