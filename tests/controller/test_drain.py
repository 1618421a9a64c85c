"""One drain: the mark on the node, the order and grace of evictions, the deadline, the volumes."""

import asyncio
import datetime as dt

import pytest
import structlog

from queue_processor.domain import nodes
from queue_processor.simulator.kube import manifests, resources, store
from tests.controller import stage

pytestmark = pytest.mark.looptime


async def test_a_spot_interruption_moves_every_pod_and_then_deletes_the_message(
    world: stage.World,
) -> None:
    world.add_nodes(3)
    world.cluster.add_replica_set("web", replicas=6, labels={"app": "web"}, nodes=["node-0"])
    await world.start()

    message_id = world.send_spot(0)
    await world.until_settled()

    assert world.is_cordoned("node-0")
    assert not world.pods_on("node-0")
    assert len(world.pods_on("node-1") | world.pods_on("node-2")) == 6
    assert world.queue.deleted == [message_id]


async def test_a_cordoned_node_says_why_until_when_and_takes_no_traffic(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    await world.start()
    sent_at = world.clock().replace(microsecond=0)

    world.send_spot(0)
    await world.until_settled()

    metadata = world.node("node-0").metadata
    assert "queue-processor/spot-interruption" in world.taints("node-0")
    assert metadata["labels"][nodes.EXCLUDE_FROM_LOAD_BALANCERS_LABEL] == "true"
    assert metadata["annotations"][nodes.KIND_ANNOTATION] == "spot_interruption"
    deadline = dt.datetime.fromisoformat(metadata["annotations"][nodes.DEADLINE_ANNOTATION])
    assert deadline == sent_at + dt.timedelta(seconds=120)


async def test_the_conditions_of_a_node_tell_of_its_drain(world: stage.World) -> None:
    world.add_nodes(2)
    world.cluster.add_pod("slow", node="node-0", spec=manifests.PodSpec(exit_seconds=20))
    await world.start()

    world.send_spot(0)
    await world.until(lambda: world.condition("node-0", "DrainInProgress") == "True")
    await world.until_settled()

    assert world.condition("node-0", "DrainInProgress") == "False"
    assert world.condition("node-0", "Drained") == "True"
    assert ("Drained", "node-0") in world.kubernetes_events()


async def test_blocked_evictions_are_logged_in_one_line_for_a_node_and_second(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.cluster.add_replica_set("web", replicas=30, labels={"app": "web"}, nodes=["node-0"])
    world.cluster.add_budget("web", match_labels={"app": "web"}, max_unavailable=0)
    await world.start()
    with structlog.testing.capture_logs() as lines:
        world.send_spot(0)
        await asyncio.sleep(10)

    (line,) = [line for line in lines if line["event"] == "evictions_blocked"]
    assert (line["node"], line["count"]) == ("node-0", 30)
    (reason,) = line["blocked"]
    assert (reason["answer"], reason["count"], len(reason["pods"])) == ("blocked", 30, 5)
    assert "disruption budget" in reason["response"]


async def test_other_taints_of_the_node_stay(world: stage.World) -> None:
    world.add_nodes(2)
    node = world.node("node-0")
    taint = {"key": "team", "value": "a", "effect": "NoSchedule"}
    world.cluster.store.update(node, node.body | {"spec": node.spec | {"taints": [taint]}})
    await world.start()

    world.send_spot(0)
    await world.until_settled()

    assert {"team", "queue-processor/spot-interruption"} <= world.taints("node-0")


async def test_mirror_daemon_set_and_finished_pods_stay_and_bare_pods_go(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.cluster.add_daemon_set("agent", labels={"app": "agent"}, nodes=["node-0"])
    world.cluster.add_pod("static", node="node-0", mirror=True)
    world.cluster.add_pod("job", node="node-0", phase="Succeeded")
    world.cluster.add_pod("bare", node="node-0")
    await world.start()

    world.send_spot(0)
    await world.until_settled()

    left = world.pods_on("node-0")
    assert "bare" not in left
    assert {"static", "job"} < left
    assert len(left) == 3


async def test_critical_pods_go_when_the_ordinary_ones_are_gone(world: stage.World) -> None:
    world.add_nodes(2)
    world.cluster.add_pod("ordinary", node="node-0", spec=manifests.PodSpec(exit_seconds=5))
    world.cluster.add_pod(
        "critical",
        node="node-0",
        spec=manifests.PodSpec(priority_class="system-cluster-critical"),
    )
    await world.start()

    world.send_spot(0)
    await world.until_settled()

    records = {record.name: record for record in world.cluster.history.pods}
    ordinary, critical = records["ordinary"], records["critical"]
    assert critical.signalled is not None
    assert ordinary.removed is not None
    assert critical.signalled >= ordinary.removed


async def test_critical_pods_do_not_wait_past_half_of_the_time_that_is_left(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.cluster.add_pod("stubborn", node="node-0")
    world.cluster.add_budget("stubborn", match_labels={"app": "stubborn"}, min_available=1)
    world.cluster.add_replica_set(
        "stubborn", replicas=1, labels={"app": "stubborn"}, nodes=["node-0"], startup_seconds=9999
    )
    world.cluster.add_pod(
        "critical",
        node="node-0",
        spec=manifests.PodSpec(priority_class="system-node-critical"),
    )
    await world.start()
    began = world.clock()

    world.send_spot(0)
    await world.until_settled(limit=130)

    critical = world.pod_record("critical")
    assert critical.signalled is not None
    assert 55 < (critical.signalled - began).total_seconds() < 65


async def test_a_pod_that_is_bound_late_is_caught(world: stage.World) -> None:
    world.add_nodes(2)
    world.cluster.add_pod("slow", node="node-0", spec=manifests.PodSpec(exit_seconds=10))
    await world.start()

    world.send_spot(0)
    await world.until(lambda: world.is_cordoned("node-0"))
    await asyncio.sleep(2)
    world.cluster.add_pod("late", node="node-0")
    await world.until_settled()

    assert not world.pods_on("node-0")


async def test_a_budget_is_respected_while_there_is_time(world: stage.World) -> None:
    world.add_nodes(3)
    world.cluster.add_replica_set(
        "web", replicas=6, labels={"app": "web"}, nodes=["node-0"], startup_seconds=3
    )
    world.cluster.add_budget("web", match_labels={"app": "web"}, max_unavailable=1)
    await world.start()

    world.send_spot(0)
    await world.until_settled(limit=119)

    assert not world.pods_on("node-0")
    assert not world.cluster.history.budget_violations
    assert not world.cluster.history.budget_overrides


async def test_a_pod_that_its_budget_blocks_gets_its_sigterm_with_all_the_grace_that_fits(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.cluster.add_replica_set(
        "db", replicas=1, labels={"app": "db"}, nodes=["node-0"], grace_seconds=40, exit_seconds=35
    )
    world.cluster.add_budget("db", match_labels={"app": "db"}, min_available=1)
    await world.start()
    began = world.clock()

    world.send_spot(0)
    await world.until_settled(limit=130)

    (record, *_) = world.cluster.history.pods
    assert record.removal_cause is store.Cause.DELETE
    assert record.signalled is not None
    assert record.grace_seconds == 40
    assert 78 < (record.signalled - began).total_seconds() < 82
    assert record.termination is not None
    assert record.termination.value == "exited"
    assert ("DeletedAtDeadline", record.name) in world.kubernetes_events()


async def test_with_on_deadline_leave_the_blocked_pod_stays_and_the_message_is_settled(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.add_blocked_pod("node-0")
    await world.start(drain={"on_deadline": "leave"})

    world.send_spot(0)
    took = await world.until_settled(limit=130)

    assert 115 < took < 125
    assert len(world.pods_on("node-0")) == 1
    assert world.condition("node-0", "Drained") == "False"


async def test_a_soft_drain_never_overrides_a_budget_and_gives_up_in_the_end(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.add_blocked_pod("node-0")
    await world.start(drain={"soft_drain_timeout_seconds": 300})

    world.send_rebalance(0)
    took = await world.until_settled(limit=400)

    assert 295 < took < 305
    assert len(world.pods_on("node-0")) == 1
    assert world.is_cordoned("node-0")
    assert ("DrainStopped", "node-0") in world.kubernetes_events()


async def test_a_soft_drain_that_gave_up_uncordons_where_that_is_asked_for(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.add_blocked_pod("node-0")
    await world.start(drain={"soft_drain_timeout_seconds": 60, "on_soft_timeout": "uncordon"})

    world.send_rebalance(0)
    await world.until_settled(limit=100)

    assert not world.is_cordoned("node-0")
    assert "queue-processor/rebalance-recommendation" not in world.taints("node-0")


async def test_a_drained_node_waits_until_its_volumes_are_detached(world: stage.World) -> None:
    world.add_nodes(2)
    world.cluster.add_replica_set(
        "db", replicas=1, labels={"app": "db"}, nodes=["node-0"], volumes=["data"]
    )
    await world.start()
    world.send_termination(0)
    await world.until(lambda: not world.pods_on("node-0"))
    assert any(
        each.spec["nodeName"] == "node-0"
        for each in world.cluster.store.every(resources.ATTACHMENTS)
    )
    assert world.lifecycle.records[stage.instance(0)].completed_at is None
    await world.until(lambda: world.condition("node-0", "DrainInProgress") == "True")
    assert "no pods left, volumes still attached" in [
        each.get("message") for each in world.node("node-0").status["conditions"]
    ]
    await world.until_settled()

    assert not any(
        each.spec["nodeName"] == "node-0"
        for each in world.cluster.store.every(resources.ATTACHMENTS)
    )
    assert world.lifecycle.records[stage.instance(0)].completions == 1


async def test_volumes_of_pods_that_stay_are_not_waited_for(world: stage.World) -> None:
    world.add_nodes(2)
    for name in ("moving", "staying"):
        world.cluster.add_pod(
            name,
            node="node-0",
            spec=manifests.PodSpec(volumes=[name]),
            mirror=name == "staying",
        )
    await world.start()

    world.send_spot(0)
    took = await world.until_settled()

    assert took < 5
    assert len(world.cluster.store.every(resources.ATTACHMENTS)) == 1
