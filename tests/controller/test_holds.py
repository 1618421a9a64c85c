"""Several events for one node, and events that the cluster proves wrong."""

import asyncio
import datetime as dt
import json

import pytest
import structlog

from queue_processor.domain import aws_events, nodes
from queue_processor.simulator.aws import events
from queue_processor.simulator.kube import faults, manifests
from tests.controller import stage

pytestmark = pytest.mark.looptime

CRITICAL = manifests.PodSpec(priority_class="system-cluster-critical")


def _change(world: stage.World, *, days: float = 3) -> aws_events.ScheduledChange:
    return events.new_change(world.clock() + dt.timedelta(days=days))


def _ours(world: stage.World, name: str) -> list[str]:
    """Return what is ours on a node."""
    node = world.node(name)
    return [
        key
        for key in (*node.metadata.get("annotations", {}), *world.taints(name))
        if "queue-processor" in key
    ]


# Deadlines of several events.


async def test_a_deadline_that_was_cancelled_deletes_no_pod_of_a_drain_that_joined(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.add_blocked_pod("node-0")
    await world.start()
    change = events.new_change(world.clock() + dt.timedelta(seconds=100))
    world.send_change(0, change)
    await world.until(lambda: world.is_cordoned("node-0"))
    world.send_rebalance(0)
    await asyncio.sleep(5)

    world.send_change(0, change, status="closed")
    await asyncio.sleep(300)

    assert not world.cluster.history.budget_overrides
    assert world.is_cordoned("node-0")
    assert world.taints("node-0") & {
        "queue-processor/rebalance-recommendation",
        "queue-processor/scheduled-change",
    } == {"queue-processor/rebalance-recommendation"}


async def test_a_recommendation_that_joins_while_a_change_is_being_undone_is_soft(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.add_blocked_pod("node-0")
    await world.start()
    change = events.new_change(world.clock() + dt.timedelta(seconds=100))
    world.send_change(0, change)
    await world.until(lambda: world.is_cordoned("node-0"))

    world.send_change(0, change, status="closed")
    world.send_rebalance(0)
    await asyncio.sleep(300)

    assert not world.cluster.history.budget_overrides


async def test_a_hard_deadline_days_ahead_does_not_keep_a_soft_one_from_giving_up(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.add_blocked_pod("node-0")
    await world.start(drain={"soft_drain_timeout_seconds": 120})
    world.send_change(0, _change(world))
    await world.until(lambda: world.is_cordoned("node-0"))

    recommendation = world.send_rebalance(0)
    took = await world.until(lambda: recommendation in world.queue.deleted, limit=130)

    assert took > 115
    assert world.queue.left == 1
    assert len(world.pods_on("node-0")) == 1


async def test_a_spot_interruption_after_a_recommendation_keeps_the_order_of_pods(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.cluster.add_replica_set("web", replicas=1, labels={"app": "web"}, nodes=["node-0"])
    world.cluster.add_budget("web", match_labels={"app": "web"}, min_available=1)
    world.cluster.add_pod("critical", node="node-0", spec=CRITICAL)
    world.cluster.add_pod("operator", node="node-0")
    await world.start(kubernetes={"pod_name": "operator"})
    world.send_rebalance(0)
    await asyncio.sleep(10)

    began_at = world.clock()
    world.send_spot(0)
    await world.until_settled(limit=130)

    critical, operator = (world.pod_record(each).signalled for each in ("critical", "operator"))
    assert critical is not None
    assert operator is not None
    assert (critical - began_at).total_seconds() > 55
    assert (operator - began_at).total_seconds() > 85


async def test_two_scheduled_changes_hold_a_node_and_each_ends_for_itself(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.cluster.add_pod("slow", node="node-0", spec=manifests.PodSpec(exit_seconds=20))
    await world.start()
    first, second = _change(world), _change(world, days=5)
    world.send_change(0, first)
    world.send_change(0, second)
    await world.until(lambda: world.is_cordoned("node-0"))
    await asyncio.sleep(1)

    world.send_change(0, first, status="closed")
    await world.until_settled()
    assert world.is_cordoned("node-0")
    assert not world.pods_on("node-0")

    world.send_change(0, second, status="closed")
    await world.until_settled()
    assert not world.is_cordoned("node-0")
    assert _ours(world, "node-0") == []


async def test_a_change_that_is_cancelled_by_another_name_is_not_cancelled(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    await world.start()
    world.send_change(0, _change(world))
    await world.until_settled()

    world.send_change(0, _change(world), status="closed")
    await world.until_settled()

    assert world.is_cordoned("node-0")


# What was there before.


async def test_the_label_of_a_person_stays_when_our_mark_goes(world: stage.World) -> None:
    world.add_nodes(2)
    label = nodes.EXCLUDE_FROM_LOAD_BALANCERS_LABEL
    world.change_node("node-0", labels={label: "by-hand"})
    await world.start()
    change = _change(world)
    world.send_change(0, change)
    await world.until_settled()
    assert world.is_cordoned("node-0")

    world.send_change(0, change, status="closed")
    await world.until_settled()

    assert not world.is_cordoned("node-0")
    assert world.node("node-0").metadata["labels"][label] == "by-hand"


# Stop and start.


@pytest.mark.parametrize("age", [15.0, 1800.0, 43_200.0])
@pytest.mark.parametrize("state", ["stopped", "terminated"])
async def test_an_old_end_of_an_instance_changes_nothing_on_a_node_that_lives(
    world: stage.World, state: str, age: float
) -> None:
    world.add_nodes(2)
    world.add_blocked_pod("node-0")
    await world.start()
    await asyncio.sleep(1)

    world.send_state(0, state, age=age)
    await world.until_settled(limit=5)
    await asyncio.sleep(200)

    assert not world.is_cordoned("node-0")
    assert len(world.pods_on("node-0")) == 1
    assert not world.cluster.history.budget_overrides


async def test_an_end_that_the_node_refutes_a_little_later_is_undone(world: stage.World) -> None:
    world.add_nodes(2)
    world.add_blocked_pod("node-0")
    await world.start()
    world.send_state(0, "stopped")
    await world.until(lambda: world.is_cordoned("node-0"))
    await asyncio.sleep(5)

    world.cluster.set_ready("node-0", ready=True)
    await world.until_settled(limit=5)
    assert not world.is_cordoned("node-0")
    assert _ours(world, "node-0") == []
    assert len(world.pods_on("node-0")) == 1
    assert not world.cluster.history.budget_overrides


async def test_an_instance_that_was_stopped_and_started_is_uncordoned(world: stage.World) -> None:
    world.add_nodes(2)
    await world.start()
    world.send_state(0, "stopping")
    await world.until_settled()
    world.cluster.set_ready("node-0", ready=False)
    world.send_state(0, "stopped")
    await world.until_settled(limit=130)
    assert world.is_cordoned("node-0")

    await asyncio.sleep(600)
    world.send_state(0, "running")
    await asyncio.sleep(90)
    assert world.is_cordoned("node-0")
    world.cluster.set_ready("node-0", ready=True)
    await world.until_settled(limit=5)

    assert not world.is_cordoned("node-0")
    assert _ours(world, "node-0") == []


async def test_an_instance_that_runs_again_ends_what_its_stop_fulfilled_and_nothing_else(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    await world.start()
    world.send_spot(0)
    world.send_change(0, _change(world))
    world.send_state(0, "stopping")
    await world.until_settled()
    await asyncio.sleep(600)

    world.send_state(0, "running")
    await world.until_settled()

    assert world.is_cordoned("node-0")
    assert {key for key in world.taints("node-0") if "queue-processor" in key} == {
        "queue-processor/scheduled-change"
    }


async def test_a_new_instance_that_runs_changes_nothing(world: stage.World) -> None:
    world.add_nodes(1)
    await world.start()

    world.send_state(0, "running")
    world.send_state(7, "running")
    await world.until_settled(limit=2)

    assert world.cluster.history.count_requests("patch") == 0


# Dead or not.


async def test_the_end_of_an_instance_frees_a_node_whose_spot_drain_goes_on(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.add_blocked_pod("node-0")
    await world.start()
    world.send_spot(0)
    await world.until(lambda: world.is_cordoned("node-0"))
    await asyncio.sleep(10)

    world.cluster.kill_kubelet("node-0")
    world.send_state(0, "terminated")
    await world.until_settled(limit=30)

    assert nodes.OUT_OF_SERVICE_TAINT in world.taints("node-0")
    assert not world.pods_on("node-0")


async def test_a_node_that_cannot_be_reached_is_freed_when_its_end_is_certain_and_not_before(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.cluster.add_pod("stuck", node="node-0")
    await world.start(drain={"lifecycle_drain_timeout_seconds": 90})
    world.cluster.kill_kubelet("node-0")
    world.send_termination(0)
    await world.until_settled(limit=130)
    assert world.lifecycle.records[stage.instance(0)].completions == 1
    assert nodes.OUT_OF_SERVICE_TAINT not in world.taints("node-0")
    assert "stuck" in world.pods_on("node-0")

    world.send_state(0, "terminated")
    await world.until_settled(limit=30)

    assert nodes.OUT_OF_SERVICE_TAINT in world.taints("node-0")
    assert not world.pods_on("node-0")


async def test_a_node_that_is_ready_again_is_not_out_of_service_any_more(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.cluster.add_pod("stuck", node="node-0")
    await world.start()
    world.cluster.kill_kubelet("node-0")
    world.send_spot(0)
    world.send_state(0, "stopped")
    await world.until_settled(limit=30)
    assert nodes.OUT_OF_SERVICE_TAINT in world.taints("node-0")

    await asyncio.sleep(30)
    world.cluster.set_ready("node-0", ready=True)
    await world.until(lambda: nodes.OUT_OF_SERVICE_TAINT not in world.taints("node-0"), limit=5)

    assert world.is_cordoned("node-0")


# Limits of our own.


async def test_a_long_grace_period_is_no_reason_to_override_a_budget_before_our_own_limit(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.cluster.add_replica_set(
        "db",
        replicas=1,
        labels={"app": "db"},
        nodes=["node-0"],
        grace_seconds=7200,
        exit_seconds=5400,
    )
    world.cluster.add_budget("db", match_labels={"app": "db"}, min_available=1)
    await world.start()

    world.send_termination(0)
    await asyncio.sleep(3500)
    assert not world.cluster.history.budget_overrides
    await asyncio.sleep(1000)
    (pod,) = (each for each in world.cluster.history.pods if each.node == "node-0")
    assert pod.signalled is not None
    assert world.lifecycle.records[stage.instance(0)].completions == 0
    await world.until_settled(limit=5000, step=1)

    assert not world.pods_on("node-0")
    assert world.lifecycle.records[stage.instance(0)].completions == 1


# Several Nodes, and Nodes that come again.


async def test_every_node_of_an_instance_is_drained(world: stage.World) -> None:
    world.add_nodes(2)
    world.cluster.add_node("old-name", instance_id=stage.instance(0), ready=False)
    world.cluster.add_replica_set("web", replicas=2, labels={"app": "web"}, nodes=["node-0"])
    await world.start()

    message_id = world.send_spot(0)
    await world.until_settled()

    assert world.is_cordoned("node-0")
    assert world.is_cordoned("old-name")
    assert not world.pods_on("node-0")
    assert world.queue.deleted == [message_id]


async def test_a_second_node_of_an_instance_that_appears_during_the_drain_is_drained_too(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.cluster.add_pod("slow", node="node-0", spec=manifests.PodSpec(exit_seconds=20))
    await world.start()
    world.send_spot(0)
    await world.until(lambda: world.is_cordoned("node-0"))

    world.cluster.add_node("new-name", instance_id=stage.instance(0))
    world.cluster.add_pod("late", node="new-name", spec=manifests.PodSpec(exit_seconds=20))
    await world.until(lambda: world.is_cordoned("new-name"), limit=2)
    await world.until_settled()

    assert not world.pods_on("node-0") | world.pods_on("new-name")


@pytest.mark.parametrize("away_seconds", [0, 30])
async def test_a_node_that_registers_again_during_its_drain_is_held_again(
    world: stage.World, away_seconds: float
) -> None:
    world.add_nodes(2)
    world.cluster.add_pod("slow", node="node-0", spec=manifests.PodSpec(exit_seconds=25))
    await world.start()
    world.send_termination(0)
    await world.until(lambda: world.is_cordoned("node-0"))

    world.cluster.remove_node("node-0")
    await asyncio.sleep(away_seconds)
    world.cluster.add_node("node-0", instance_id=stage.instance(0))
    world.cluster.add_pod("again", node="node-0")
    await world.until(lambda: world.is_cordoned("node-0"), limit=2)
    await world.until_settled()
    await world.until(lambda: not world.pods_on("node-0"), limit=40)


async def test_a_node_that_registers_again_after_its_deadline_is_not_held(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.cluster.add_pod("slow", node="node-0", spec=manifests.PodSpec(exit_seconds=25))
    await world.start()
    world.send_change(0, events.new_change(world.clock() + dt.timedelta(seconds=100)))
    await world.until(lambda: world.is_cordoned("node-0"))

    world.cluster.remove_node("node-0")
    await world.until_settled()
    await asyncio.sleep(600)
    world.cluster.add_node("node-0", instance_id=stage.instance(0))
    world.cluster.add_pod("again", node="node-0")
    await asyncio.sleep(60)

    assert not world.is_cordoned("node-0")
    assert _ours(world, "node-0") == []
    assert world.pods_on("node-0") == {"again"}


async def test_a_node_that_loses_its_label_during_its_drain_is_drained_to_its_end(
    world: stage.World,
) -> None:
    world.cluster.add_node("node-0", instance_id=stage.instance(0), labels={"team": "ours"})
    world.cluster.add_pod("slow", node="node-0", spec=manifests.PodSpec(exit_seconds=25))
    await world.start(node_selector="team=ours")
    world.send_termination(0)
    await world.until(lambda: world.is_cordoned("node-0"))
    await asyncio.sleep(1)

    world.change_node("node-0", labels={"team": None})
    await asyncio.sleep(10)
    assert world.lifecycle.records[stage.instance(0)].completions == 0
    await world.until_settled()

    assert not world.pods_on("node-0")
    assert world.lifecycle.records[stage.instance(0)].completions == 1


async def test_a_copy_of_an_event_whose_drain_ends_while_the_node_is_being_marked_is_not_cancelled(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.cluster.add_pod("slow", node="node-0", spec=manifests.PodSpec(exit_seconds=5))
    await world.start()
    event = aws_events.spot_interruption(stage.instance(0), origin=world.origin())
    world.queue.send(event)
    await world.until(lambda: world.is_cordoned("node-0"))
    world.server.faults.add(
        faults.Fault(faults.Delay(8), method="PATCH", path=".*/nodes/node-0", times=1)
    )

    with structlog.testing.capture_logs() as lines:
        world.change_node("node-0", unschedulable=False)
        world.queue.send(event)
        await world.until_settled()

    outcomes = [line for line in lines if line["event"] == "outcome"]
    results = [each["instances"][0]["result"].value for each in outcomes]
    assert results == ["drained", "drained"]


# Without a message.


async def test_a_drain_goes_on_in_a_new_process_although_its_message_is_lost(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.add_blocked_pod("node-0")
    first = await world.start("first", leader_election={"enabled": False})
    world.send_change(0, events.new_change(world.clock() + dt.timedelta(minutes=10)))
    await world.until(lambda: world.is_cordoned("node-0"))
    await asyncio.sleep(60)
    await first.kill()
    world.queue.lose_all()

    await world.start("second", leader_election={"enabled": False})
    await asyncio.sleep(500)
    assert not world.cluster.history.budget_overrides
    await asyncio.sleep(40)

    assert not world.pods_on("node-0")
    assert len(world.cluster.history.budget_overrides) == 1


async def test_a_new_process_does_not_wait_for_the_message_of_a_drain_that_was_killed(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.cluster.add_replica_set("web", replicas=4, labels={"app": "web"}, nodes=["node-0"])
    world.cluster.add_budget("web", match_labels={"app": "web"}, min_available=3)
    first = await world.start("first", leader_election={"enabled": False})
    message_id = world.send_spot(0)
    await world.until(lambda: world.is_cordoned("node-0"))
    await first.kill()

    await world.start("second", leader_election={"enabled": False})
    await world.until(lambda: not world.pods_on("node-0"), limit=15)
    assert message_id not in world.queue.deleted
    await world.until_settled(limit=40)


async def test_a_new_process_reads_the_nodes_of_a_storm_a_few_at_a_time(
    world: stage.World,
) -> None:
    nodes = world.add_nodes(40)
    for node in nodes:
        world.add_blocked_pod(node)
    first = await world.start("first", leader_election={"enabled": False})
    for number in range(40):
        world.send_spot(number)
    await world.until(lambda: all(world.is_cordoned(node) for node in nodes))
    await first.kill()
    path = "/api/v1/nodes/.+"
    reads = world.server.faults
    # Each of them shows as a read that has begun, and none has ended.
    reads.add(faults.Fault(faults.Delay(5), method="GET", path=path, seconds=1))
    before = world.cluster.history.count_requests("get", "nodes")

    await world.start(
        "second", leader_election={"enabled": False}, kubernetes={"requests_in_flight": 8}
    )
    await asyncio.sleep(4)

    assert 0 < world.cluster.history.count_requests("get", "nodes") - before <= 10
    await world.until_settled(limit=119)


async def test_a_drain_that_ended_is_not_begun_again_by_a_new_process(world: stage.World) -> None:
    world.add_nodes(2)
    world.add_blocked_pod("node-0")
    first = await world.start("first", drain={"soft_drain_timeout_seconds": 30})
    world.send_rebalance(0)
    await world.until_settled()
    await first.stop()
    evictions = world.cluster.history.count_requests("post")

    await world.start("second")
    await asyncio.sleep(60)

    assert world.is_cordoned("node-0")
    assert world.cluster.history.count_requests("post") - evictions <= 1


# What somebody else writes there.


LONGEST = "x" * 200_000
OVERSIZED = json.dumps([{"id": str(number)} for number in range(20_000)])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "{}",
        "[1, null, []]",
        "[" * 5000,
        LONGEST,
        OVERSIZED,
        '[{"id": "x", "kind": "spot_interruption"}]',
        json.dumps(
            [
                {
                    "id": "x",
                    "eventId": "x",
                    "kind": "spot_interruption",
                    "action": "cordon-and-drain",
                    "occurredAt": "9999-12-31T23:59:59Z",
                    "since": "0001-01-01T00:00:00Z",
                    "deadline": "9999-12-31T23:59:59Z",
                    "isHard": True,
                }
            ]
        ),
        '[{"id": "\\ud800", "eventId": 7, "deadline": "2026-05-01T12:00:00"}]',
    ],
)
async def test_an_annotation_that_somebody_damaged_is_written_again_during_the_drain(
    world: stage.World, text: str
) -> None:
    world.add_nodes(2)
    world.cluster.add_pod("slow", node="node-0", spec=manifests.PodSpec(exit_seconds=20))
    await world.start()
    world.send_spot(0)
    await world.until(lambda: world.is_cordoned("node-0"))
    annotation = nodes.HOLDS_ANNOTATION
    before = world.node("node-0").metadata["annotations"][annotation]

    world.change_node("node-0", annotations={annotation: text})
    await world.until(
        lambda: world.node("node-0").metadata["annotations"][annotation] == before, limit=2
    )
    await world.until_settled()

    assert ("HoldsRebuilt", "node-0") in world.kubernetes_events()
    assert not world.pods_on("node-0")


async def test_an_annotation_that_is_damaged_while_nobody_works_is_rebuilt_from_the_taint(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    first = await world.start("first")
    change = _change(world)
    world.send_change(0, change)
    await world.until_settled()
    await first.stop()
    world.change_node("node-0", annotations={nodes.HOLDS_ANNOTATION: "nonsense"})

    await world.start("second")
    await asyncio.sleep(2)
    assert world.is_cordoned("node-0")
    assert ("HoldsRebuilt", "node-0") in world.kubernetes_events()
    world.send_change(0, change, status="closed")
    await world.until_settled()

    assert not world.is_cordoned("node-0")
    assert _ours(world, "node-0") == []


async def test_an_annotation_on_a_node_that_no_event_named_changes_nothing(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.cluster.add_pod("web", node="node-0")
    world.change_node("node-0", annotations={nodes.HOLDS_ANNOTATION: "nonsense"})
    await world.start()
    await asyncio.sleep(5)

    assert not world.is_cordoned("node-0")
    assert "web" in world.pods_on("node-0")
