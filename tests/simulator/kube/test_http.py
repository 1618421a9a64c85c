import asyncio
import json
import pathlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import kopf
import pytest
from kubernetes.aio import client as kubernetes_client
from kubernetes.aio import config as kubernetes_config

from queue_processor.simulator.kube import api, faults, http
from queue_processor.simulator.kube.cluster import SimulatedCluster


@pytest.fixture
async def shell(server: api.SimulatedApiServer) -> AsyncIterator[http.HttpServer]:
    made = http.HttpServer(server)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def session(shell: http.HttpServer) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(shell.url) as made:
        yield made


async def test_objects_lists_and_refusals_travel_over_http(
    session: aiohttp.ClientSession,
) -> None:
    async with session.get("/api/v1/nodes", params={"limit": "1"}) as response:
        assert response.status == 200
        assert len((await response.json())["items"]) == 1
    async with session.get("/api/v1/nodes/z") as response:
        assert response.status == 404
        assert (await response.json())["kind"] == "Status"
    async with session.get("/readyz") as response:
        assert await response.text() == "ok"


async def test_a_watch_streams_and_ends_with_its_client(
    session: aiohttp.ClientSession, cluster: SimulatedCluster
) -> None:
    query = {"watch": "true", "resourceVersion": str(cluster.store.version)}
    async with session.get("/api/v1/nodes", params=query) as response:
        cluster.set_ready("a", ready=False)
        line = await asyncio.wait_for(response.content.readline(), 5)
        assert json.loads(line)["type"] == "MODIFIED"
        assert cluster.hub.count == 1
        response.close()
    for _ in range(100):
        if cluster.hub.count == 0:
            break
        await asyncio.sleep(0.01)
    assert cluster.hub.count == 0


async def test_an_outage_cuts_and_refuses_until_it_ends(
    shell: http.HttpServer, session: aiohttp.ClientSession
) -> None:
    async with session.get("/api/v1/nodes", params={"watch": "true"}) as response:
        await asyncio.wait_for(response.content.readline(), 5)
        await shell.pause()
        with pytest.raises(aiohttp.ClientError):
            await asyncio.wait_for(response.content.read(), 5)
    with pytest.raises(aiohttp.ClientConnectorError):
        await session.get("/version")
    url = shell.url
    await shell.resume()
    assert shell.url == url
    async with session.get("/version") as response:
        assert response.status == 200


async def test_a_cut_connection_has_no_answer(
    session: aiohttp.ClientSession, server: api.SimulatedApiServer
) -> None:
    server.faults.add(faults.Fault(faults.Cut(), method="POST"))
    with pytest.raises(aiohttp.ClientConnectionError):
        await session.post("/api/v1/namespaces/default/events", json={})


async def test_the_official_client_reads_patches_and_evicts(
    shell: http.HttpServer, cluster: SimulatedCluster, tmp_path: pathlib.Path
) -> None:
    cluster.add_pod("x", node="a")
    path = shell.write_kubeconfig(tmp_path / "kubeconfig")
    await kubernetes_config.load_kube_config(config_file=str(path))
    async with kubernetes_client.ApiClient() as connection:
        core = kubernetes_client.CoreV1Api(connection)
        nodes = await core.list_node()
        assert [node.to_dict()["metadata"]["name"] for node in nodes.items] == ["a", "b", "c"]
        patched = await core.patch_node("a", {"spec": {"unschedulable": True}})
        assert patched.to_dict()["spec"]["unschedulable"]
        pods = await core.list_pod_for_all_namespaces(field_selector="spec.nodeName=a")
        (pod,) = pods.items
        uid = pod.to_dict()["metadata"]["uid"]
        preconditions = kubernetes_client.V1Preconditions(uid=uid)
        eviction = kubernetes_client.V1Eviction(
            metadata=kubernetes_client.V1ObjectMeta(name="x", namespace="default"),
            delete_options=kubernetes_client.V1DeleteOptions(preconditions=preconditions),
        )
        await core.create_namespaced_pod_eviction("x", "default", eviction)
    (record,) = cluster.history.pods
    assert record.removal_requested is not None


async def test_kopf_sees_nodes_come_change_and_go(
    shell: http.HttpServer, cluster: SimulatedCluster
) -> None:
    registry, stop, ready = kopf.OperatorRegistry(), asyncio.Event(), asyncio.Event()
    seen: asyncio.Queue[tuple[str | None, str]] = asyncio.Queue()

    async def login(**_: Any) -> kopf.ConnectionInfo:  # noqa: ANN401 - kopf passes what it likes
        return kopf.ConnectionInfo(server=shell.url)

    async def note(type: str | None, name: str, **_: Any) -> None:  # noqa: A002, ANN401 - kopf's
        await seen.put((type, name))

    kopf.on.login(registry=registry)(login)
    kopf.on.event("nodes", registry=registry)(note)
    options = kopf.OperatorSettings()
    options.posting.enabled = False
    operator = asyncio.create_task(
        kopf.operator(
            registry=registry,
            settings=options,
            clusterwide=True,
            standalone=True,
            stop_flag=stop,
            ready_flag=ready,
        )
    )

    async def expect(count: int) -> list[tuple[str | None, str]]:
        return sorted([await asyncio.wait_for(seen.get(), 10) for _ in range(count)], key=str)

    assert await expect(3) == [(None, "a"), (None, "b"), (None, "c")]
    cluster.add_node("d", instance_id="i-0d")
    assert await expect(1) == [("ADDED", "d")]
    cluster.set_ready("d", ready=False)
    assert set(await expect(2)) == {("MODIFIED", "d")}
    cluster.remove_node("d")
    assert await expect(1) == [("DELETED", "d")]
    stop.set()
    await asyncio.wait_for(operator, 10)
    assert cluster.hub.count == 0
