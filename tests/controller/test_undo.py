"""A scheduled change that is cancelled: the mark and the cordon are undone."""

import asyncio
import dataclasses
import datetime as dt

import pytest

from queue_processor.domain import aws_events
from queue_processor.simulator.aws import events
from queue_processor.simulator.kube import faults, manifests
from tests.controller import stage

pytestmark = pytest.mark.looptime


def _send(world: stage.World, change: aws_events.ScheduledChange) -> None:
    world.queue.send(
        aws_events.scheduled_change([stage.instance(0)], change, origin=world.origin())
    )


def _change(world: stage.World) -> aws_events.ScheduledChange:
    return events.new_change(world.clock() + dt.timedelta(days=3))


async def test_a_cancelled_change_uncordons_the_node_that_we_cordoned(world: stage.World) -> None:
    world.add_nodes(2)
    await world.start()
    change = _change(world)
    _send(world, change)
    await world.until_settled()
    assert world.is_cordoned("node-0")

    _send(world, dataclasses.replace(change, status="closed"))
    await world.until_settled()

    assert not world.is_cordoned("node-0")
    assert world.condition("node-0", "Drained") == "False"
    assert "queue-processor/scheduled-change" not in world.taints("node-0")
    assert not [
        key
        for key in world.node("node-0").metadata.get("annotations", {})
        if "queue-processor" in key
    ]


async def test_a_cancelled_change_uncordons_a_node_whose_taint_a_policy_refused(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    await world.start()
    world.server.faults.add(
        faults.Fault(
            faults.ErrorResponse(403, "Forbidden", "taints are managed elsewhere"),
            method="PATCH",
            path="/api/v1/nodes/node-0",
            times=1,
        )
    )
    change = _change(world)
    _send(world, change)
    await world.until_settled()
    assert world.is_cordoned("node-0")
    assert "queue-processor/scheduled-change" not in world.taints("node-0")

    _send(world, dataclasses.replace(change, status="closed"))
    await world.until_settled()

    assert not world.is_cordoned("node-0")


async def test_an_instance_that_is_resolved_in_an_open_change_is_uncordoned_alone(
    world: stage.World,
) -> None:
    world.add_nodes(3)
    world.add_blocked_pod("node-0")
    world.cluster.add_pod("slow", node="node-1", spec=manifests.PodSpec(exit_seconds=20))
    await world.start()
    affected = [stage.instance(0), stage.instance(1)]
    change = _change(world)
    world.queue.send(aws_events.scheduled_change(affected, change, origin=world.origin()))
    await world.until(lambda: world.is_cordoned("node-0") and world.is_cordoned("node-1"))

    update = dataclasses.replace(change, resolved=frozenset(affected[:1]))
    world.queue.send(aws_events.scheduled_change(affected, update, origin=world.origin()))
    await world.until_settled()

    assert not world.is_cordoned("node-0")
    assert len(world.pods_on("node-0")) == 1
    assert world.is_cordoned("node-1")
    assert not world.pods_on("node-1")


async def test_a_cancelled_change_stops_the_drain_in_hand(world: stage.World) -> None:
    world.add_nodes(2)
    world.add_blocked_pod("node-0")
    await world.start()
    change = _change(world)
    _send(world, change)
    await world.until(lambda: world.is_cordoned("node-0"))

    _send(world, dataclasses.replace(change, status="closed"))
    await world.until_settled(limit=5)

    assert not world.is_cordoned("node-0")
    assert len(world.pods_on("node-0")) == 1


async def test_a_cancelled_change_leaves_a_node_alone_that_another_event_holds(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.cluster.add_pod("slow", node="node-0", spec=manifests.PodSpec(exit_seconds=20))
    await world.start()
    change = _change(world)
    _send(world, change)
    world.send_spot(0)
    await world.until(lambda: world.is_cordoned("node-0"))

    _send(world, dataclasses.replace(change, status="closed"))
    await world.until_settled()

    assert world.is_cordoned("node-0")
    assert not world.pods_on("node-0")


async def test_a_cancelled_change_leaves_a_node_alone_that_somebody_else_cordoned(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    node = world.node("node-0")
    world.cluster.store.update(node, node.body | {"spec": node.spec | {"unschedulable": True}})
    await world.start()
    change = _change(world)
    _send(world, change)
    await world.until_settled()

    _send(world, dataclasses.replace(change, status="closed"))
    await world.until_settled()

    assert world.is_cordoned("node-0")
    assert "queue-processor/scheduled-change" not in world.taints("node-0")


async def test_a_cancelled_change_that_nobody_acted_on_changes_nothing(
    world: stage.World,
) -> None:
    world.add_nodes(1)
    await world.start()

    _send(world, dataclasses.replace(_change(world), status="closed"))
    await world.until_settled()

    assert world.cluster.history.count_requests("patch") == 0


async def test_a_change_that_is_cancelled_while_a_new_process_resumes_its_drain_is_undone(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.add_blocked_pod("node-0")
    first = await world.start("first")
    change = _change(world)
    _send(world, change)
    await world.until(lambda: world.is_cordoned("node-0"))
    await first.stop()
    world.queue.lose_all()

    _send(world, dataclasses.replace(change, status="closed"))
    await world.start("second")
    await world.until_settled()

    assert not world.is_cordoned("node-0")


async def test_a_change_that_is_announced_and_cancelled_at_once_leaves_no_message(
    world: stage.World,
) -> None:
    world.add_nodes(1)
    first, second = _change(world), _change(world)
    for change in (first, dataclasses.replace(first, status="closed")):
        _send(world, change)
    for change in (second, dataclasses.replace(second, status="closed")):
        _send(world, change)

    await world.start()
    await world.until_settled()

    assert not world.is_cordoned("node-0")


async def test_a_change_that_is_cancelled_while_volumes_are_detached_is_undone(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.cluster.add_replica_set(
        "db", replicas=1, labels={"app": "db"}, nodes=["node-0"], volumes=["data"]
    )
    await world.start()
    change = _change(world)
    message = world.queue.send(
        aws_events.scheduled_change([stage.instance(0)], change, origin=world.origin())
    )
    await world.until(lambda: not world.pods_on("node-0"))

    _send(world, dataclasses.replace(change, status="closed"))
    await asyncio.sleep(2)

    assert message in world.queue.deleted
    assert not world.is_cordoned("node-0")


async def test_an_announcement_that_arrives_after_the_end_of_its_change_holds_nothing(
    world: stage.World,
) -> None:
    world.add_nodes(1)
    await world.start()
    change = _change(world)
    announced = aws_events.scheduled_change([stage.instance(0)], change, origin=world.origin())
    await asyncio.sleep(10)

    _send(world, dataclasses.replace(change, status="closed"))
    await world.until_settled()
    world.queue.send(announced)
    await world.until_settled()

    assert not world.is_cordoned("node-0")


async def test_a_change_that_is_cancelled_while_its_node_is_awaited_holds_nothing(
    world: stage.World,
) -> None:
    await world.start()
    change = _change(world)
    _send(world, change)
    await asyncio.sleep(5)

    _send(world, dataclasses.replace(change, status="closed"))
    await asyncio.sleep(5)
    world.add_nodes(1)
    await world.until_settled()

    assert not world.is_cordoned("node-0")


async def test_a_change_that_is_announced_once_more_after_its_end_holds_the_node(
    world: stage.World,
) -> None:
    world.add_nodes(1)
    await world.start()
    change = _change(world)
    _send(world, dataclasses.replace(change, status="closed"))
    await world.until_settled()
    await asyncio.sleep(10)

    _send(world, change)
    await world.until_settled()

    assert world.is_cordoned("node-0")
