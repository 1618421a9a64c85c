"""Notices on Nodes, as the watcher writes them, alone and beside the queue."""

import asyncio
import dataclasses
import datetime as dt

import pytest
import structlog

from queue_processor.domain import imds_bodies, notices
from queue_processor.domain.events import EventKind
from queue_processor.domain.imds_bodies import InterruptionAction, ScheduledEvent
from queue_processor.domain.notices import Notice
from queue_processor.simulator.kube import manifests
from tests.controller import stage

pytestmark = pytest.mark.looptime

CHANGE_ID = "instance-event-0d59937288b749b32"


def write(world: stage.World, notice: Notice, *, node: str = "node-0") -> None:
    """Write a notice as the watcher on the node does."""
    world.change_node(node, annotations={notice.annotation: notice.to_json()})


def spot(world: stage.World, number: int = 0, *, seconds: float = 120) -> Notice:
    ends_at = world.clock() + dt.timedelta(seconds=seconds)
    return Notice(
        annotation=notices.annotation_name(EventKind.SPOT_INTERRUPTION),
        instance_id=stage.instance(number),
        seen_at=world.clock(),
        body=imds_bodies.instance_action(InterruptionAction.TERMINATE, ends_at),
    )


def rebalance(world: stage.World, number: int = 0) -> Notice:
    return Notice(
        annotation=notices.annotation_name(EventKind.REBALANCE_RECOMMENDATION),
        instance_id=stage.instance(number),
        seen_at=world.clock(),
        body=imds_bodies.rebalance_recommendation(world.clock()),
    )


def termination(world: stage.World, number: int = 0) -> Notice:
    return Notice(
        annotation=notices.annotation_name(EventKind.AUTOSCALING_TERMINATION),
        instance_id=stage.instance(number),
        seen_at=world.clock(),
        body=notices.TARGET_TERMINATED,
    )


def change(
    world: stage.World, *, days: float = 7, state: str = "active", is_cancelled: bool = False
) -> Notice:
    starts_at = world.clock() + dt.timedelta(days=days)
    event = ScheduledEvent(event_id=CHANGE_ID, starts_at=starts_at, state=state)
    listed = notices.parse_scheduled_events(imds_bodies.scheduled_events([event]))
    return Notice(
        annotation=notices.annotation_name(EventKind.SCHEDULED_CHANGE, change_id=CHANGE_ID),
        instance_id=stage.instance(0),
        seen_at=world.clock(),
        body=listed[CHANGE_ID],
        is_cancelled=is_cancelled,
    )


def notices_on(world: stage.World, node: str = "node-0") -> set[str]:
    annotations = world.node(node).metadata.get("annotations", {})
    return {name for name in annotations if name.startswith(notices.ANNOTATION_PREFIX)}


async def until_settled(world: stage.World, node: str = "node-0", *, limit: float = 60.0) -> float:
    return await world.until(lambda: not notices_on(world, node), limit=limit)


def evictions(world: stage.World) -> int:
    return world.cluster.history.count_requests("create", "pods/eviction")


@pytest.fixture(autouse=True)
async def world_with_notices(world: stage.World) -> None:
    """Two nodes with three pods, and operators that handle notices and have no queue."""
    world.has_queue = False
    world.handles_notices = True
    world.add_nodes(2)
    world.cluster.add_replica_set("web", replicas=3, labels={"app": "web"}, nodes=["node-0"])


@pytest.mark.parametrize("notice", [spot, rebalance, termination, change])
async def test_a_notice_drains_its_node_and_is_removed(
    world: stage.World, notice: type[Notice]
) -> None:
    await world.start()

    with structlog.testing.capture_logs() as lines:
        write(world, notice(world))  # type: ignore[call-arg,arg-type]  # a function each
        await until_settled(world)

    assert world.is_cordoned("node-0")
    assert not world.pods_on("node-0")
    (outcome,) = (line for line in lines if line["event"] == "outcome")
    assert (outcome["outcome"], outcome["node"]) == ("done", "node-0")
    assert outcome["message_id"].startswith("notice-node-0-")


async def test_the_deadline_is_the_time_in_the_notice(world: stage.World) -> None:
    world.add_blocked_pod("node-0")
    await world.start()
    write(world, spot(world, seconds=90))

    took = await until_settled(world, limit=120)

    # The pod is blocked until only its grace period of 30 s is left.
    assert 58 <= took <= 60
    assert not world.pods_on("node-0")


async def test_a_notice_that_was_there_before_the_operator_is_delivered(
    world: stage.World,
) -> None:
    write(world, spot(world))

    await world.start()
    await until_settled(world)

    assert not world.pods_on("node-0")


async def test_a_notice_survives_a_kill_and_no_pod_is_evicted_twice(world: stage.World) -> None:
    world.cluster.add_pod("slow", node="node-0", spec=manifests.PodSpec(exit_seconds=25))
    first = await world.start("first")
    write(world, spot(world))
    await world.until(lambda: evictions(world) == 4)
    await first.kill()

    await world.start("second")
    await until_settled(world)

    assert not world.pods_on("node-0")
    assert evictions(world) == 4


async def test_a_standby_leaves_notices_alone(world: stage.World) -> None:
    await world.start("leader")
    await world.start("standby")

    write(world, spot(world))
    await until_settled(world)

    count = world.cluster.history.count_requests
    assert count("patch", "nodes", "leader") == 2
    assert count("patch", "nodes", "standby") == 0


async def test_queue_and_notice_about_one_node_are_one_drain(world: stage.World) -> None:
    world.has_queue = True
    await world.start()

    write(world, spot(world))
    world.send_spot(0)
    await world.until_settled()
    await until_settled(world)

    assert world.cluster.history.count_requests("list", "pods") == 1
    assert evictions(world) == 3


async def test_a_rebalance_and_an_interruption_are_one_drain(world: stage.World) -> None:
    await world.start()

    write(world, rebalance(world))
    write(world, spot(world))
    await until_settled(world)

    assert evictions(world) == 3
    assert world.taints("node-0") >= {
        "queue-processor/rebalance-recommendation",
        "queue-processor/spot-interruption",
    }


async def test_a_cancelled_change_uncordons_the_node_while_it_is_drained(
    world: stage.World,
) -> None:
    world.add_blocked_pod("node-0")
    await world.start()
    write(world, change(world))
    await world.until(lambda: world.is_cordoned("node-0"))
    await asyncio.sleep(10)

    write(world, change(world, is_cancelled=True))
    await until_settled(world, limit=5)

    assert not world.is_cordoned("node-0")
    assert not world.taints("node-0")


async def test_a_cancelled_change_leaves_a_cordon_of_somebody_else(world: stage.World) -> None:
    world.change_node("node-0", unschedulable=True)
    await world.start()
    write(world, change(world))
    await until_settled(world)

    write(world, change(world, state="canceled"))
    await until_settled(world)

    assert world.is_cordoned("node-0")
    assert world.taints("node-0") == {"node.kubernetes.io/unschedulable"}


async def test_a_newer_value_that_comes_before_the_removal_stays(world: stage.World) -> None:
    world.cluster.add_pod("slow", node="node-0", spec=manifests.PodSpec(exit_seconds=20))
    await world.start()
    write(world, change(world, days=7))
    await world.until(lambda: evictions(world) == 4)

    write(world, change(world, days=14))
    await until_settled(world)

    assert not world.pods_on("node-0")
    assert evictions(world) == 4


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("<html>", "not JSON"),
        ('{"instance": "i-00000000000000001", "said": "x"}', "the Node runs on"),
    ],
)
async def test_what_is_not_a_notice_is_removed_with_an_event(
    world: stage.World, value: str, reason: str
) -> None:
    await world.start()
    annotation = notices.annotation_name(EventKind.SPOT_INTERRUPTION)

    with structlog.testing.capture_logs() as lines:
        world.change_node("node-0", annotations={annotation: value})
        await until_settled(world)

    await world.until(lambda: ("MalformedNotice", "node-0") in world.kubernetes_events())
    assert not world.is_cordoned("node-0")
    (outcome,) = (line for line in lines if line["event"] == "outcome")
    assert outcome["outcome"] == "dead_letter"
    assert reason in outcome["reason"]


async def test_a_notice_that_somebody_else_removes_is_over(world: stage.World) -> None:
    world.cluster.add_pod("slow", node="node-0", spec=manifests.PodSpec(exit_seconds=20))
    await world.start()
    notice = spot(world)
    write(world, notice)
    await world.until(lambda: evictions(world) == 4)

    with structlog.testing.capture_logs() as lines:
        world.change_node("node-0", annotations={notice.annotation: None})
        await world.until(lambda: any(line["event"] == "outcome" for line in lines))

    assert not world.pods_on("node-0")
    assert not [line for line in lines if line["log_level"] == "warning"]


async def test_a_notice_on_a_node_that_goes_is_over(world: stage.World) -> None:
    world.cluster.add_pod("slow", node="node-0", spec=manifests.PodSpec(exit_seconds=60))
    await world.start()
    write(world, spot(world))
    await world.until(lambda: evictions(world) == 4)

    with structlog.testing.capture_logs() as lines:
        world.cluster.remove_node("node-0")
        await world.until(lambda: any(line["event"] == "outcome" for line in lines))
        await asyncio.sleep(60)

    (outcome,) = (line for line in lines if line["event"] == "outcome")
    assert outcome["outcome"] == "done"


async def test_a_storm_of_notices_takes_one_request_more_for_each_node(
    world: stage.World,
) -> None:
    world.add_nodes(48, first=2)
    await world.start()

    for number in range(50):
        write(world, spot(world, number), node=f"node-{number}")
    await world.until(lambda: not any(notices_on(world, f"node-{each}") for each in range(50)))

    assert all(world.is_cordoned(f"node-{number}") for number in range(50))
    patches = world.cluster.history.count_requests("patch", "nodes")
    assert patches == 2 * 50


async def test_without_the_setting_notices_stay(world: stage.World) -> None:
    world.has_queue = True
    world.handles_notices = False
    await world.start()

    write(world, spot(world))
    await asyncio.sleep(60)

    assert notices_on(world)
    assert not world.is_cordoned("node-0")


@pytest.mark.parametrize("minutes", [-5, 5])
async def test_the_clock_of_the_watcher_moves_no_deadline(world: stage.World, minutes: int) -> None:
    world.add_blocked_pod("node-0")
    await world.start()
    notice = spot(world, seconds=90)
    seen_at = notice.seen_at + dt.timedelta(minutes=minutes)
    write(world, dataclasses.replace(notice, seen_at=seen_at))

    took = await until_settled(world, limit=120)

    assert 58 <= took <= 60


async def test_two_watchers_on_one_node_are_one_drain(world: stage.World) -> None:
    world.cluster.add_pod("slow", node="node-0", spec=manifests.PodSpec(exit_seconds=10))
    await world.start()
    notice = spot(world)

    for number in range(10):
        seen_at = notice.seen_at + dt.timedelta(milliseconds=number)
        write(world, dataclasses.replace(notice, seen_at=seen_at))
        await asyncio.sleep(0.5)
    await until_settled(world)

    assert not world.pods_on("node-0")
    assert evictions(world) == 4


async def test_a_notice_about_an_instance_that_was_replaced_is_malformed(
    world: stage.World,
) -> None:
    """The Node has the name of an earlier one, whose watcher wrote a moment too late."""
    await world.start()

    write(world, spot(world, number=1), node="node-0")
    await until_settled(world)

    assert not world.is_cordoned("node-0")
    assert not world.is_cordoned("node-1")
