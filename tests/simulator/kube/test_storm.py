import asyncio
import datetime as dt
import time

import looptime
import pytest

from queue_processor.simulator.kube import api, clock
from queue_processor.simulator.kube.cluster import SimulatedCluster
from tests.fakes.kube_client import DirectClient

pytestmark = pytest.mark.looptime

NODES = [f"node-{index:04}" for index in range(300)]
STRUCK = NODES[:30]


def big_cluster() -> SimulatedCluster:
    """300 nodes, 3,000 pods of 30 ReplicaSets, each with a budget."""
    now = clock.LoopClock(dt.datetime(2026, 5, 1, tzinfo=dt.UTC))
    cluster = SimulatedCluster(now=now)
    for index, name in enumerate(NODES):
        cluster.add_node(name, instance_id=f"i-{index:017x}")
    for index in range(30):
        labels = {"app": f"app-{index}"}
        nodes = NODES[index * 10 :] + NODES[: index * 10]
        cluster.add_replica_set(f"app-{index}", replicas=100, labels=labels, nodes=nodes)
        cluster.add_budget(f"app-{index}", match_labels=labels, max_unavailable="10%")
    return cluster


@pytest.fixture
async def big() -> SimulatedCluster:
    with looptime.enabled(strict=True):
        return big_cluster()


async def drain(client: DirectClient, node: str) -> None:
    await client.patch(f"/api/v1/nodes/{node}", {"spec": {"unschedulable": True}})
    query = {"fieldSelector": f"spec.nodeName={node}", "resourceVersion": "0"}
    listed = (await client.get("/api/v1/pods", **query)).body
    query["resourceVersion"] = listed["metadata"]["resourceVersion"]
    events = await client.watch("/api/v1/pods", **query)

    async def evict(name: str) -> None:
        while (await client.evict(name)).status == 429:  # noqa: ASYNC110 - a client has to ask
            await asyncio.sleep(0.2)

    names = {pod["metadata"]["name"] for pod in listed["items"]}
    async with asyncio.TaskGroup() as group:
        for name in names:
            group.create_task(evict(name))
        async for event in events:
            if event["type"] == "DELETED":
                names.discard(event["object"]["metadata"]["name"])
            if not names:
                break


async def test_a_storm_drains_without_breaking_a_budget_and_costs_little(
    big: SimulatedCluster,
) -> None:
    client = DirectClient(api.SimulatedApiServer(big), "operator")
    await client.get("/version")
    await asyncio.sleep(1)
    began = time.process_time()
    async with asyncio.TaskGroup() as group:
        for node in STRUCK:
            group.create_task(drain(client, node))
    assert time.process_time() - began < 5
    await asyncio.sleep(2)
    assert all(not big.store.pods_on(node) for node in STRUCK)
    assert big.history.budget_violations == ()
    assert big.history.budget_overrides == ()
    assert all(low.count >= 90 for low in big.history.replica_lows)


@pytest.mark.usefixtures("big")
async def test_an_idle_cluster_asks_nothing_of_the_loop() -> None:
    await asyncio.sleep(600)
    began = time.process_time()
    await asyncio.sleep(86_400)
    assert time.process_time() - began < 0.1
