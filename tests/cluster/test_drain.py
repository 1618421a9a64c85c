"""One node at a time: what is left of it, and how its pods went."""

import asyncio
import signal

import pytest

from tests.cluster import manifests, objects
from tests.cluster.manifests import PodShape
from tests.cluster.site import Site

NODE = ("node-a", "i-0aaaaaaaaaaaaaaaa")
SPARE = ("node-b", "i-0bbbbbbbbbbbbbbbb")
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
BUDGETS = f"/apis/policy/v1/namespaces/{manifests.NAMESPACE}/poddisruptionbudgets"
PODS = f"/api/v1/namespaces/{manifests.NAMESPACE}/pods"


async def test_a_node_is_drained_as_its_budget_allows(scene: Site) -> None:
    await scene.world.make_nodes([NODE, SPARE])
    shape = PodShape(exits_after="300ms", grace_seconds=7)
    await scene.world.make_replicas("web", shape, {"node-a": 4})
    await scene.world.make_budget("web", maxUnavailable=1)
    await scene.lead()

    async with scene.history.watching():
        scene.interrupt(NODE[1])
        await scene.until(scene.is_settled)
        await scene.world.until_running("web", 4)

    node = await scene.world.node("node-a")
    assert node is not None
    assert node["spec"]["unschedulable"]
    assert {taint["key"] for taint in node["spec"]["taints"]} == {
        "queue-processor/spot-interruption",
        "node.kubernetes.io/unschedulable",
    }
    assert node["metadata"]["annotations"]["queue-processor/kind"] == "spot_interruption"
    assert objects.is_true(node, "Drained")
    assert not objects.is_true(node, "DrainInProgress")
    assert await scene.world.pods_on("node-a") == []
    assert scene.history.lowest("web") == 3
    assert [pod.granted_seconds for pod in scene.history.told_to_go()] == [7] * 4
    assert scene.history.marked == {"node-a"}
    assert scene.audit.made("delete", "pods") == []
    assert await scene.event_reasons_on("Node", "node-a") == ["Drained", "SpotInterruption"]


async def test_what_belongs_to_the_node_stays_and_all_else_goes(scene: Site) -> None:
    world = scene.world
    await world.make_nodes([NODE])
    await world.create(manifests.owned("StatefulSet", "db", PodShape()))
    await world.create(manifests.owned("DaemonSet", "agent", PodShape()))
    mirror = PodShape(annotations={"kubernetes.io/config.mirror": "0123"})
    await world.create(manifests.pod("etcd-node-a", mirror, node_name="node-a"))
    await world.create(manifests.pod("bare", PodShape(), node_name="node-a"))
    await world.create(manifests.pod("job", PodShape(), node_name="node-a"))
    for app in ("db", "agent"):
        await world.until_running(app, 1)
    await world.api.patch(f"{PODS}/job/status", {"status": {"phase": "Succeeded"}})
    await world.make_nodes([SPARE])
    await world.until_running("agent", 2)
    before = {pod["metadata"]["name"]: pod for pod in await world.pods_on("node-a")}
    (daemon,) = (name for name in before if name.startswith("agent-"))
    assert before.keys() == {"bare", "db-0", "etcd-node-a", "job", daemon}
    await scene.lead()

    async with scene.history.watching():
        scene.interrupt(NODE[1])
        await scene.until(scene.is_settled)
        await world.until_running("db", 1)

    stayed = {"etcd-node-a", "job", daemon}
    left = {pod["metadata"]["name"]: pod for pod in await world.pods_on("node-a")}
    assert left.keys() == stayed
    for name, pod in left.items():
        assert pod["metadata"]["uid"] == before[name]["metadata"]["uid"]
        assert "deletionTimestamp" not in pod["metadata"]
    moved = await world.get(f"{PODS}/db-0")
    assert moved is not None
    assert moved["spec"]["nodeName"] == "node-b"
    assert moved["metadata"]["uid"] != before["db-0"]["metadata"]["uid"]
    assert {pod.name for pod in scene.history.told_to_go()} == {"bare", "db-0"}


async def test_a_node_with_110_pods_is_drained_with_all_their_grace(scene: Site) -> None:
    await scene.world.make_nodes([NODE, SPARE])
    shape = PodShape(exits_after="200ms", grace_seconds=3)
    await scene.world.make_replicas("web", shape, {"node-a": 60})
    await scene.world.make_budget("web", maxUnavailable=20)
    bare = (manifests.pod(f"bare-{n}", PodShape(), node_name="node-a") for n in range(50))
    await scene.world.create_all(bare)
    await scene.lead()

    async with scene.history.watching():
        scene.interrupt(NODE[1])
        await scene.until(scene.is_settled)

    gone = scene.history.told_to_go()
    assert await scene.world.pods_on("node-a") == []
    assert len(gone) == 110
    assert all(pod.granted_seconds == pod.grace_seconds for pod in gone)
    assert scene.history.lowest("web") >= 40


async def test_a_pod_that_its_budget_blocks_is_deleted_with_its_grace_before_the_deadline(
    scene: Site,
) -> None:
    await scene.world.make_nodes([NODE, SPARE])
    await scene.world.make_replicas("web", PodShape(grace_seconds=5), {"node-a": 1})
    await scene.world.make_budget("web", minAvailable=1)
    await scene.lead()

    async with scene.history.watching():
        scene.interrupt(NODE[1], leaves=15)
        await scene.until(lambda: bool(scene.audit.made("create", "pods/eviction")))
        assert len(scene.history.left_on("node-a")) == 1
        await scene.until(scene.is_settled)

    assert {request.code for request in scene.audit.made("create", "pods/eviction")} == {429}
    (deleted,) = scene.history.told_to_go()
    assert (deleted.name, deleted.granted_seconds) == ("web-0", 5)
    assert await scene.event_reasons_on("Pod", "web-0") == ["DeletedAtDeadline"]
    assert await scene.world.pods_on("node-a") == []


async def test_pods_that_stay_terminating_are_left_to_the_deadline_with_all_their_grace(
    scene: Site,
) -> None:
    await scene.world.make_nodes([NODE, SPARE])
    stuck = PodShape(exits_after=manifests.NEVER, grace_seconds=40)
    for name, shape in (("stuck", stuck), ("quick", PodShape())):
        await scene.world.create(manifests.pod(name, shape, node_name="node-a"))
    await scene.lead()

    async with scene.history.watching():
        scene.interrupt(NODE[1], leaves=6)
        await scene.until(lambda: len(scene.history.left_on("node-a")) == 1)
        assert not scene.is_settled()
        await scene.until(scene.is_settled)

    (left,) = await scene.world.pods_on("node-a")
    assert left["metadata"]["name"] == "stuck"
    assert left["metadata"]["deletionGracePeriodSeconds"] == 40
    assert scene.audit.made("delete", "pods") == []
    assert await scene.event_reasons_on("Node", "node-a") == ["DrainStopped", "SpotInterruption"]
    node = await scene.world.node("node-a")
    assert node is not None
    assert not objects.is_true(node, "Drained")
    # The instance runs on: nobody may say that it is dead.
    assert OUT_OF_SERVICE not in {taint["key"] for taint in node["spec"]["taints"]}


async def test_an_operator_that_stops_leaves_no_budget_taken_for_pods_that_stay(
    scene: Site,
) -> None:
    """The API server takes a pod's part of the budget before it deletes the pod.

    Between the two it does not notice that nobody waits for the answer any more, and the budget
    is then held for two minutes.
    """
    await scene.world.make_nodes([NODE])
    await scene.world.make_replicas("web", PodShape(), {"node-a": 6})
    await scene.world.make_budget("web", maxUnavailable=4)
    operator = await scene.lead()

    async with scene.history.watching():
        scene.interrupt(NODE[1])
        await scene.until(lambda: bool(scene.history.told_to_go()))
        operator.send(signal.SIGTERM)
        assert await operator.ended() == 0
        gone = {pod.name for pod in scene.history.told_to_go()}
    budget = await scene.world.get(f"{BUDGETS}/web")

    assert budget is not None
    assert set(budget["status"].get("disruptedPods", {})) <= gone


async def test_the_lifecycle_action_is_completed_when_the_last_pod_is_gone(scene: Site) -> None:
    (instance,) = scene.aws.launch(1)
    scene.hold(instance)
    await scene.world.make_nodes([("node-a", instance), SPARE])
    stuck = PodShape(exits_after=manifests.NEVER)
    for name, shape in (("stuck", stuck), ("quick", PodShape())):
        await scene.world.create(manifests.pod(name, shape, node_name="node-a"))
    await scene.lead()

    async with scene.history.watching():
        scene.aws.terminate_in_group(instance)
        await scene.until(
            lambda: [pod.name for pod in scene.history.left_on("node-a")] == ["stuck"]
        )
        # Nothing tells that nothing happens: a second is longer than any step of a drain.
        await asyncio.sleep(1)
        assert [action.is_active for action in scene.aws.lifecycle_actions()] == [True]
        assert not scene.is_settled()
        await scene.world.delete(f"{PODS}/stuck", gracePeriodSeconds=0)
        await scene.until(scene.is_settled)

    (action,) = scene.aws.lifecycle_actions()
    assert action.ending is not None
    assert action.result is not None
    assert action.result.name == "CONTINUE"
    assert scene.history.marked == {"node-a"}


@pytest.mark.timeout(180)
async def test_a_dead_node_is_freed_of_pods_that_nobody_ends(scene: Site) -> None:
    await scene.world.make_nodes([NODE, SPARE])
    stuck = PodShape(exits_after=manifests.NEVER)
    await scene.world.make_replicas("web", stuck, {"node-a": 2})
    await scene.world.stop_kubelet("node-a")
    await scene.lead()

    scene.stop(NODE[1])
    await scene.until(scene.is_settled)

    node = await scene.world.node("node-a")
    assert node is not None
    assert OUT_OF_SERVICE in {taint["key"] for taint in node["spec"]["taints"]}
    assert await scene.world.pods_on("node-a") == []
    await scene.world.until_running("web", 2)
