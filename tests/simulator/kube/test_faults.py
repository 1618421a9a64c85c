import asyncio

import pytest

from queue_processor.simulator.kube import api, faults, history
from queue_processor.simulator.kube.cluster import SimulatedCluster
from tests.fakes.kube_client import DirectClient

pytestmark = pytest.mark.looptime

A = "/api/v1/nodes/a"


async def test_a_fault_lasts_for_its_time(
    client: DirectClient, server: api.SimulatedApiServer
) -> None:
    busy = faults.ErrorResponse(429, "TooManyRequests", "too many requests", retry_after=1)
    server.faults.add(faults.Fault(busy, seconds=10))
    answer = await client.get(A)
    assert (answer.status, answer.headers["retry-after"]) == (429, "1")
    await asyncio.sleep(9.9)
    assert (await client.get("/version")).status == 429
    await asyncio.sleep(0.2)
    assert (await client.get(A)).status == 200


async def test_a_fault_lasts_for_its_count_and_only_where_it_fits(
    client: DirectClient, server: api.SimulatedApiServer
) -> None:
    conflict = faults.ErrorResponse(409, "Conflict")
    server.faults.add(
        faults.Fault(conflict, method="PATCH", path="/api/v1/nodes/.*", times=2),
    )
    codes = [(await client.patch(A, {"metadata": {"labels": {"x": "1"}}})).status for _ in "123"]
    assert codes == [409, 409, 200]
    assert (await client.get(A)).status == 200
    assert server.faults.pending == []


async def test_a_delay_answers_late_and_a_hang_never(
    client: DirectClient, server: api.SimulatedApiServer
) -> None:
    server.faults.add(faults.Fault(faults.Delay(5), times=1))
    began = asyncio.get_running_loop().time()
    assert (await client.get(A)).status == 200
    assert asyncio.get_running_loop().time() - began == pytest.approx(5, abs=0.01)
    server.faults.add(faults.Fault(faults.Hang(), times=1))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(client.get(A), 1000)
    assert (await client.get(A)).status == 200


@pytest.mark.parametrize("after", [False, True])
async def test_a_connection_is_cut_before_or_after_the_effect(
    client: DirectClient,
    server: api.SimulatedApiServer,
    after: bool,  # noqa: FBT001 - the two cases
) -> None:
    server.faults.add(faults.Fault(faults.Cut(after_effect=after), times=1))
    with pytest.raises(ConnectionError):
        await client.patch(A, {"spec": {"unschedulable": True}})
    node = (await client.get(A)).body
    assert bool(node["spec"].get("unschedulable")) is after


async def test_requests_are_counted_by_verb_resource_and_user_agent(
    client: DirectClient, cluster: SimulatedCluster
) -> None:
    await client.get("/api/v1/nodes")
    await client.get(A)
    await client.evict("nobody")
    watch = await client.watch("/api/v1/pods")
    cluster.drop_watches()
    assert [event async for event in watch] == []
    assert cluster.history.requests == {
        history.RequestKind("list", "nodes", "tester"): 1,
        history.RequestKind("get", "nodes", "tester"): 1,
        history.RequestKind("create", "pods/eviction", "tester"): 1,
        history.RequestKind("watch", "pods", "tester"): 1,
    }
    assert cluster.history.count_requests(resource="nodes") == 2
