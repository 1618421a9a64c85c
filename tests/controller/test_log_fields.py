"""The lines about messages that do not go the short way."""

import asyncio
import dataclasses

import pytest
import structlog

from queue_processor.domain import aws_events
from queue_processor.simulator.aws import events
from queue_processor.simulator.kube import faults, manifests
from tests.controller import stage

pytestmark = pytest.mark.looptime


async def test_a_message_that_is_handed_back_says_which_node_it_was_about(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.cluster.add_pod("slow", node="node-0", spec=manifests.PodSpec(exit_seconds=25))
    operator = await world.start()

    with structlog.testing.capture_logs() as lines:
        message_id = world.send_spot(0)
        await asyncio.sleep(5)
        await operator.stop()

    (outcome,) = (line for line in lines if line["event"] == "outcome")
    assert (outcome["message_id"], outcome["outcome"]) == (message_id, "retry")
    assert (outcome["instance_id"], outcome["node"]) == (stage.instance(0), "node-0")
    assert [each["result"] for each in outcome["instances"]] == [None]


async def test_a_message_that_is_deleted_while_it_is_extended_is_not_told_as_lost(
    world: stage.World,
) -> None:
    world.add_nodes(21)
    for number in range(20):
        # All of them are extended after 20 s.
        shape = manifests.PodSpec(exit_seconds=18 + number / 10)
        world.cluster.add_pod(f"slow-{number}", node=f"node-{number}", spec=shape)
    world.queue.delay = 0.3
    await world.start()

    with structlog.testing.capture_logs() as lines:
        for number in range(20):
            world.send_spot(number)
        await world.until_settled()
        await asyncio.sleep(1)

    assert len(world.queue.deleted) == 20
    assert [call for call, _ in world.queue.calls].count("ChangeMessageVisibilityBatch") > 0
    assert not [line for line in lines if line["event"] == "message_lost"]


async def test_what_is_done_about_one_instance_is_told_though_another_failed(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    await world.start()
    change = events.new_change(world.clock(), status="open")
    named = [stage.instance(0), stage.instance(1)]
    world.queue.send(aws_events.scheduled_change(named, change, origin=world.origin()))
    await world.until_settled()
    forbidden = faults.ErrorResponse(403, "Forbidden", "no such permission")
    world.server.faults.add(
        faults.Fault(forbidden, method="PATCH", path="/api/v1/nodes/node-0", times=1)
    )

    with structlog.testing.capture_logs() as lines:
        closed = dataclasses.replace(change, status="closed")
        world.queue.send(aws_events.scheduled_change(named, closed, origin=world.origin()))
        await world.until_settled()

    first, second = (line for line in lines if line["event"] == "outcome")
    assert (first["outcome"], second["outcome"]) == ("retry", "done")
    assert [each["result"] for each in first["instances"]] == [None, "uncordoned"]
    assert first["node"] == "node-0,node-1"


async def test_a_launch_has_a_plan_though_it_has_no_node_yet(world: stage.World) -> None:
    await world.start()
    step = events.new_step(group="workers", hook="drain")

    with structlog.testing.capture_logs() as lines:
        world.lifecycle.begin(stage.instance(5))
        world.queue.send(
            aws_events.autoscaling_launch(stage.instance(5), step, origin=world.origin())
        )
        await asyncio.sleep(5)
        world.add_nodes(1, first=5)
        await world.until_settled()

    (plan,) = (line for line in lines if line["event"] == "plan")
    (outcome,) = (line for line in lines if line["event"] == "outcome")
    assert (plan["action"], plan["instance_id"]) == ("await-ready", stage.instance(5))
    assert plan["node"] is None
    assert outcome["node"] == "node-5"


async def test_an_instance_that_is_waited_for_is_told_at_once(world: stage.World) -> None:
    await world.start()

    with structlog.testing.capture_logs() as lines:
        world.send_spot(7)
        await asyncio.sleep(1)

    (line,) = (line for line in lines if line["event"] == "node_awaited")
    assert (line["instance_id"], line["seconds"]) == (stage.instance(7), 60)


async def test_a_message_whose_drain_is_cancelled_goes_back_and_is_not_deleted(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.cluster.add_pod("slow", node="node-0", spec=manifests.PodSpec(exit_seconds=25))
    await world.start()

    with structlog.testing.capture_logs() as lines:
        message_id = world.send_spot(0)
        await world.until(lambda: world.is_cordoned("node-0"))
        (drain,) = (task for task in asyncio.all_tasks() if task.get_name() == "drain node-0")
        drain.cancel()
        await world.until_settled()

    first, second = (line for line in lines if line["event"] == "outcome")
    assert (first["message_id"], first["outcome"]) == (message_id, "retry")
    assert (second["message_id"], second["outcome"]) == (message_id, "done")
    assert not world.pods_on("node-0")
