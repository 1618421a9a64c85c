import asyncio
import collections
import datetime as dt

import pytest

from queue_processor.simulator.kube import api, clock, manifests, objects, resources
from queue_processor.simulator.kube.cluster import SimulatedCluster
from tests.fakes.kube_client import DirectClient

pytestmark = pytest.mark.looptime

PODS = "/api/v1/namespaces/default/pods"
NODES = "/api/v1/nodes"


async def pods(client: DirectClient) -> list[objects.JsonObject]:
    found: list[objects.JsonObject] = (await client.get("/api/v1/pods")).body["items"]
    return found


def places(found: list[objects.JsonObject]) -> dict[str, int]:
    """The number of pods, by node."""
    return collections.Counter(pod["spec"].get("nodeName", "") for pod in found)


async def test_a_replica_set_makes_its_pods_and_they_become_ready(
    client: DirectClient, cluster: SimulatedCluster
) -> None:
    cluster.add_replica_set("web", replicas=6, labels={"app": "web"}, startup_seconds=2)
    await client.get(NODES)
    await asyncio.sleep(1.9)
    assert {pod["status"]["phase"] for pod in await pods(client)} == {"Pending"}
    await asyncio.sleep(0.2)
    found = await pods(client)
    assert {pod["status"]["phase"] for pod in found} == {"Running"}
    assert places(found) == {"a": 2, "b": 2, "c": 2}
    replica_set = (await client.get("/apis/apps/v1/replicasets")).body["items"][0]
    assert replica_set["status"]["readyReplicas"] == 6
    owner = found[0]["metadata"]["ownerReferences"][0]
    assert (owner["kind"], owner["name"], owner["controller"]) == ("ReplicaSet", "web", True)


async def test_an_evicted_pod_is_replaced_elsewhere_while_it_still_ends(
    client: DirectClient, cluster: SimulatedCluster
) -> None:
    cluster.add_replica_set("web", replicas=1, labels={"app": "web"}, nodes=["a"], exit_seconds=9)
    await client.patch(f"{NODES}/a", {"spec": {"unschedulable": True}})
    await client.evict(next(iter(cluster.store.pods_on("a"))).name)
    await asyncio.sleep(1)
    found = await pods(client)
    assert len(found) == 2
    assert "a" in places(found)
    await asyncio.sleep(9)
    assert "a" not in places(await pods(client))


async def test_a_replica_set_can_be_scaled_down(
    client: DirectClient, cluster: SimulatedCluster
) -> None:
    cluster.add_replica_set("web", replicas=3, labels={"app": "web"})
    path = "/apis/apps/v1/namespaces/default/replicasets/web"
    await client.patch(path, {"spec": {"replicas": 1}})
    await asyncio.sleep(5)
    assert len(await pods(client)) == 1


async def test_pods_wait_for_room_and_take_it_when_it_comes(
    client: DirectClient, cluster: SimulatedCluster
) -> None:
    for name in ("a", "b", "c"):
        await client.patch(f"{NODES}/{name}", {"spec": {"unschedulable": True}})
    cluster.add_replica_set("web", replicas=3, labels={"app": "web"})
    await asyncio.sleep(1)
    assert places(await pods(client)) == {"": 3}
    cluster.add_node("d", instance_id="i-0d", max_pods=2)
    await asyncio.sleep(1)
    assert places(await pods(client)) == {"": 1, "d": 2}
    await client.patch(f"{NODES}/b", {"spec": {"unschedulable": None}})
    await asyncio.sleep(1)
    assert places(await pods(client)) == {"b": 1, "d": 2}


async def test_a_full_node_takes_a_pod_when_another_one_leaves() -> None:
    small = SimulatedCluster()
    small.add_node("only", instance_id="i-1", max_pods=1)
    small.add_pod("first", node="only")
    small.add_pod("second")
    await asyncio.sleep(1)
    assert len(small.store.pods_on("only")) == 1
    first = small.store.get(resources.PODS, "default", "first")
    assert first is not None
    small.deletions.force(first)
    await asyncio.sleep(1)
    assert [pod.name for pod in small.store.pods_on("only")] == ["second"]


async def test_taints_and_node_selectors_decide_where_a_pod_goes(
    client: DirectClient, cluster: SimulatedCluster
) -> None:
    taint = {"key": "dedicated", "value": "db", "effect": "NoSchedule"}
    for name in ("a", "b"):
        await client.patch(f"{NODES}/{name}", {"spec": {"taints": [taint]}})
    cluster.add_pod("plain")
    tolerant = manifests.PodSpec(
        tolerations=[{"key": "dedicated", "operator": "Equal", "value": "db"}]
    )
    for index in range(4):
        cluster.add_pod(f"db-{index}", spec=tolerant)
    picky = {
        "metadata": {"name": "picky"},
        "spec": {"containers": [], "nodeSelector": {"kubernetes.io/hostname": "c"}},
    }
    await client.post(PODS, picky)
    await asyncio.sleep(1)
    found = {pod["metadata"]["name"]: pod["spec"]["nodeName"] for pod in await pods(client)}
    assert found["plain"] == "c"
    assert found["picky"] == "c"
    assert {"a", "b"} <= {node for name, node in found.items() if name.startswith("db")}


async def test_a_cordoned_node_gets_the_taint_of_the_node_controller(
    client: DirectClient, cluster: SimulatedCluster
) -> None:
    await client.patch(f"{NODES}/a", {"spec": {"unschedulable": True}})
    await asyncio.sleep(0.1)
    (taint,) = (await client.get(f"{NODES}/a")).body["spec"]["taints"]
    assert (taint["key"], taint["effect"]) == ("node.kubernetes.io/unschedulable", "NoSchedule")
    await client.patch(f"{NODES}/a", {"spec": {"unschedulable": None}})
    await asyncio.sleep(0.1)
    assert "taints" not in (await client.get(f"{NODES}/a")).body["spec"]
    record = cluster.history.cordons["a"]
    assert (record.node, record.by) == ("a", "tester")


async def test_a_node_that_is_not_ready_loses_the_readiness_of_its_pods_until_it_is_back(
    cluster: SimulatedCluster,
) -> None:
    pod = cluster.add_pod("x", node="a")
    cluster.set_ready("a", ready=False)
    await asyncio.sleep(1)
    found = cluster.store.get(resources.PODS, *pod.key)
    assert found is not None
    assert not objects.is_ready(found)
    cluster.set_ready("a", ready=True)
    await asyncio.sleep(1)
    found = cluster.store.get(resources.PODS, *pod.key)
    assert found is not None
    assert objects.is_ready(found)


async def test_pods_of_a_dead_kubelet_stay_terminating_for_ever(
    client: DirectClient, cluster: SimulatedCluster
) -> None:
    cluster.add_pod("x", node="a")
    cluster.kill_kubelet("a")
    await client.delete(f"{PODS}/x")
    await asyncio.sleep(3600)
    assert (await client.get(f"{PODS}/x")).body["metadata"]["deletionTimestamp"]
    conditions = (await client.get(f"{NODES}/a")).body["status"]["conditions"]
    assert {c["type"]: c["status"] for c in conditions}["Ready"] == "Unknown"


async def test_an_unreachable_node_loses_its_pods_after_five_minutes(
    client: DirectClient, cluster: SimulatedCluster
) -> None:
    cluster.add_replica_set("web", replicas=1, labels={"app": "web"}, nodes=["a"])
    cluster.kill_kubelet("a")
    await asyncio.sleep(299)
    assert places(await pods(client)) == {"a": 1}
    await asyncio.sleep(5)
    assert sum(places(await pods(client)).values()) == 2


async def test_a_node_out_of_service_frees_its_pods_and_volumes(
    client: DirectClient, cluster: SimulatedCluster
) -> None:
    cluster.add_replica_set("db", replicas=1, labels={"app": "db"}, nodes=["a"], volumes=["data"])
    cluster.kill_kubelet("a")
    await asyncio.sleep(1)
    attachments = "/apis/storage.k8s.io/v1/volumeattachments"
    (attachment,) = (await client.get(attachments)).body["items"]
    assert attachment["spec"]["nodeName"] == "a"
    taint = {
        "key": "node.kubernetes.io/out-of-service",
        "value": "nodeshutdown",
        "effect": "NoExecute",
    }
    taints = (await client.get(f"{NODES}/a")).body["spec"]["taints"]
    await client.patch(f"{NODES}/a", {"spec": {"taints": [*taints, taint]}})
    await asyncio.sleep(5)
    assert "a" not in places(await pods(client))
    (attachment,) = (await client.get(attachments)).body["items"]
    assert attachment["spec"]["nodeName"] in ("b", "c")


async def test_a_no_execute_taint_ends_the_pods_that_do_not_tolerate_it(
    client: DirectClient, cluster: SimulatedCluster
) -> None:
    cluster.add_pod("plain", node="a")
    cluster.add_pod(
        "guest",
        node="a",
        spec=manifests.PodSpec(tolerations=[{"key": "x", "operator": "Exists"}]),
    )
    cluster.add_daemon_set("agent", labels={"app": "agent"}, nodes=["a"])
    taint = {"key": "x", "effect": "NoExecute"}
    await client.patch(f"{NODES}/a", {"spec": {"taints": [taint]}})
    await asyncio.sleep(10)
    left = [pod["metadata"]["name"].partition("-")[0] for pod in await pods(client)]
    assert sorted(left) == ["agent", "guest"]


async def test_pods_of_a_removed_node_are_orphans_and_are_collected(
    client: DirectClient, cluster: SimulatedCluster
) -> None:
    cluster.add_pod("x", node="a")
    cluster.remove_node("a")
    await asyncio.sleep(39)
    assert (await client.get(f"{PODS}/x")).status == 200
    await asyncio.sleep(2)
    assert (await client.get(f"{PODS}/x")).status == 404


async def test_a_volume_is_detached_a_moment_after_its_last_pod(
    client: DirectClient, cluster: SimulatedCluster
) -> None:
    attachments = "/apis/storage.k8s.io/v1/volumeattachments"
    spec = manifests.PodSpec(volumes=["data"], exit_seconds=2)
    cluster.add_pod("x", node="a", spec=spec)
    cluster.add_pod("y", node="a", spec=spec)
    await asyncio.sleep(0.1)
    assert len((await client.get(attachments)).body["items"]) == 1
    await client.delete(f"{PODS}/x", {"gracePeriodSeconds": 0})
    await asyncio.sleep(10)
    assert len((await client.get(attachments)).body["items"]) == 1
    await client.delete(f"{PODS}/y")
    await asyncio.sleep(2.9)
    assert len((await client.get(attachments)).body["items"]) == 1
    await asyncio.sleep(0.2)
    assert (await client.get(attachments)).body["items"] == []


async def test_seeded_pods_are_what_they_were_asked_to_be(
    client: DirectClient, cluster: SimulatedCluster
) -> None:
    cluster.add_pod("static", node="a", mirror=True, namespace="kube-system")
    cluster.add_pod("done", node="a", phase="Succeeded")
    critical = manifests.PodSpec(priority_class="system-node-critical")
    cluster.add_pod("critical", node="a", spec=critical)
    cluster.add_daemon_set("agent", labels={"app": "agent"}, nodes=["a", "b"])
    found = {pod["metadata"]["name"].partition("-")[0]: pod for pod in await pods(client)}
    assert "kubernetes.io/config.mirror" in found["static"]["metadata"]["annotations"]
    assert found["done"]["status"]["phase"] == "Succeeded"
    assert found["critical"]["spec"]["priorityClassName"] == "system-node-critical"
    assert found["agent"]["metadata"]["ownerReferences"][0]["kind"] == "DaemonSet"
    node = (await client.get(f"{NODES}/a")).body
    assert node["spec"]["providerID"] == "aws:///us-east-1a/i-0a"


async def test_subscribers_hear_every_change_until_they_leave(cluster: SimulatedCluster) -> None:
    heard: list[str] = []
    leave = cluster.subscribe(lambda change: heard.append(change.after.name))
    cluster.add_pod("x", node="a")
    leave()
    cluster.add_pod("y", node="a")
    assert heard == ["x"]


async def test_a_missing_node_or_namespace_is_a_mistake_of_the_test(
    cluster: SimulatedCluster,
) -> None:
    with pytest.raises(LookupError):
        cluster.set_ready("nobody", ready=True)
    with pytest.raises(LookupError):
        cluster.terminate_namespace("nobody")


async def test_a_living_kubelet_renews_its_heartbeat_and_a_dead_one_does_not() -> None:
    noon = dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC)
    cluster = SimulatedCluster(now=clock.LoopClock(noon))
    client = DirectClient(api.SimulatedApiServer(cluster), "tester")
    for number, name in enumerate("abc"):
        cluster.add_node(name, instance_id=f"i-0123456789abcdef{number}")
    cluster.set_ready("b", ready=False)
    cluster.kill_kubelet("c")

    async def heartbeats() -> list[str]:
        nodes = (await client.get(NODES)).body["items"]
        conditions = [objects.condition(node["status"]["conditions"], "Ready") for node in nodes]
        return [ready["lastHeartbeatTime"][11:16] for ready in conditions if ready is not None]

    await asyncio.sleep(299)
    before = await heartbeats()
    await asyncio.sleep(780)

    assert before == ["12:00", "12:00", "12:00"]
    assert await heartbeats() == ["12:15", "12:15", "12:00"]


async def test_a_node_that_is_registered_again_has_a_kubelet_again(
    client: DirectClient, cluster: SimulatedCluster
) -> None:
    cluster.remove_node("a")
    cluster.add_node("a", instance_id="i-0123456789abcdef0")
    cluster.add_pod("web", node="a", phase="Pending")
    await asyncio.sleep(2)

    (pod,) = await pods(client)
    assert pod["status"]["phase"] == "Running"
