import asyncio

import pytest

from queue_processor.simulator.kube import history, manifests
from queue_processor.simulator.kube.cluster import SimulatedCluster
from tests.fakes.kube_client import DirectClient

pytestmark = pytest.mark.looptime

PODS = "/api/v1/namespaces/default/pods"


async def gone_after(client: DirectClient, path: str) -> float:
    """Seconds until the object is gone."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    parent, _, name = path.rpartition("/")
    async for event in await client.watch(parent, fieldSelector=f"metadata.name={name}"):
        if event["type"] == "DELETED":
            break
    return loop.time() - began


async def test_a_pod_ends_by_itself_within_its_grace(
    client: DirectClient, cluster: SimulatedCluster
) -> None:
    pod = cluster.add_pod("x", node="a", spec=manifests.PodSpec(grace_seconds=30, exit_seconds=5))
    answer = await client.delete(f"{PODS}/x")
    assert answer.status == 200
    assert answer.body["metadata"]["deletionTimestamp"] == "2026-05-01T12:00:30Z"
    assert answer.body["metadata"]["deletionGracePeriodSeconds"] == 30
    assert await gone_after(client, f"{PODS}/x") == pytest.approx(5, abs=0.1)
    record = cluster.history.pod(pod.uid)
    assert record.termination is history.PodTermination.EXITED
    assert record.signalled is not None
    assert record.removed is not None
    assert (record.removed - record.signalled).total_seconds() == pytest.approx(5, abs=0.01)


async def test_a_pod_that_takes_too_long_is_killed_at_the_end_of_its_grace(
    client: DirectClient, cluster: SimulatedCluster
) -> None:
    pod = cluster.add_pod("x", node="a", spec=manifests.PodSpec(grace_seconds=10, exit_seconds=60))
    await client.delete(f"{PODS}/x")
    assert await gone_after(client, f"{PODS}/x") == pytest.approx(10, abs=0.1)
    assert cluster.history.pod(pod.uid).termination is history.PodTermination.KILLED


async def test_a_second_deletion_may_only_shorten_the_grace(
    client: DirectClient, cluster: SimulatedCluster
) -> None:
    pod = cluster.add_pod("x", node="a", spec=manifests.PodSpec(grace_seconds=100, exit_seconds=90))
    await client.delete(f"{PODS}/x")
    await asyncio.sleep(1)
    longer = await client.delete(f"{PODS}/x", {"gracePeriodSeconds": 200})
    assert longer.body["metadata"]["deletionGracePeriodSeconds"] == 100
    shorter = await client.delete(f"{PODS}/x", {"gracePeriodSeconds": 5})
    assert shorter.body["metadata"]["deletionTimestamp"] == "2026-05-01T12:00:05Z"
    assert await gone_after(client, f"{PODS}/x") == pytest.approx(5, abs=0.1)
    record = cluster.history.pod(pod.uid)
    assert (record.grace_seconds, record.termination) == (5, history.PodTermination.KILLED)


async def test_no_grace_removes_the_pod_at_once(
    client: DirectClient, cluster: SimulatedCluster
) -> None:
    pod = cluster.add_pod("x", node="a")
    await client.delete(f"{PODS}/x", gracePeriodSeconds="0")
    assert (await client.get(f"{PODS}/x")).status == 404
    assert cluster.history.pod(pod.uid).termination is history.PodTermination.REMOVED


async def test_finished_and_unscheduled_pods_go_at_once(
    client: DirectClient, cluster: SimulatedCluster
) -> None:
    cluster.add_pod("done", node="a", phase="Succeeded")
    for name in ("a", "b", "c"):
        cluster.set_ready(name, ready=False)
    cluster.add_pod("waiting")
    for name in ("done", "waiting"):
        await client.delete(f"{PODS}/{name}")
        assert (await client.get(f"{PODS}/{name}")).status == 404


async def test_a_terminating_pod_is_not_ready(
    client: DirectClient, cluster: SimulatedCluster
) -> None:
    cluster.add_pod("x", node="a")
    await client.delete(f"{PODS}/x")
    await asyncio.sleep(0.1)
    conditions = (await client.get(f"{PODS}/x")).body["status"]["conditions"]
    assert {"Ready": "False"}.items() <= {c["type"]: c["status"] for c in conditions}.items()


async def test_finalizers_hold_a_pod_until_they_are_taken_off(
    client: DirectClient, cluster: SimulatedCluster
) -> None:
    cluster.add_pod("x", node="a")
    await client.patch(f"{PODS}/x", {"metadata": {"finalizers": ["a/b"]}})
    await client.delete(f"{PODS}/x")
    await asyncio.sleep(60)
    held = (await client.get(f"{PODS}/x")).body
    assert held["status"]["phase"] == "Succeeded"
    assert held["metadata"]["deletionGracePeriodSeconds"] == 0
    await client.patch(f"{PODS}/x", {"metadata": {"finalizers": None}})
    assert (await client.get(f"{PODS}/x")).status == 404


async def test_a_held_node_goes_with_its_last_finalizer(client: DirectClient) -> None:
    path = "/api/v1/nodes/a"
    await client.patch(path, {"metadata": {"finalizers": ["a/b"]}})
    held = await client.delete(path)
    assert held.body["metadata"]["deletionTimestamp"]
    await client.patch(path, {"metadata": {"finalizers": []}})
    assert (await client.get(path)).status == 404


@pytest.mark.parametrize(
    ("precondition", "refusal"),
    [
        ({"uid": "other"}, "the UID in the precondition (other) does not match the UID in record"),
        ({"resourceVersion": "1"}, "the ResourceVersion in the precondition (1) does not match"),
    ],
)
async def test_a_precondition_that_does_not_hold_is_a_conflict(
    client: DirectClient,
    cluster: SimulatedCluster,
    precondition: dict[str, str],
    refusal: str,
) -> None:
    cluster.add_pod("x", node="a")
    answer = await client.delete(f"{PODS}/x", {"preconditions": precondition})
    assert (answer.status, answer.body["reason"]) == (409, "Conflict")
    assert refusal in answer.body["message"]
    assert (await client.get(f"{PODS}/x")).status == 200


async def test_a_deleted_object_answers_with_its_identity(client: DirectClient) -> None:
    uid = (await client.get("/api/v1/nodes/a")).body["metadata"]["uid"]
    answer = await client.delete("/api/v1/nodes/a")
    assert answer.body["status"] == "Success"
    assert answer.body["details"] == {"name": "a", "kind": "nodes", "uid": uid}


async def test_a_namespace_goes_after_everything_in_it(
    client: DirectClient, cluster: SimulatedCluster
) -> None:
    cluster.add_namespace("team")
    cluster.add_replica_set(
        "web", namespace="team", replicas=2, labels={"app": "web"}, nodes=["a"], exit_seconds=3
    )
    cluster.add_budget("web", namespace="team", match_labels={"app": "web"}, min_available=2)
    cluster.terminate_namespace("team")
    await asyncio.sleep(1)
    assert (await client.get("/api/v1/namespaces/team")).body["status"]["phase"] == "Terminating"
    await asyncio.sleep(10)
    assert (await client.get("/api/v1/namespaces/team")).status == 404
    assert (await client.get("/api/v1/pods")).body["items"] == []
