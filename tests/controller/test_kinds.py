"""Each kind of event: what it does to its node and its message."""

import asyncio
import datetime as dt

import pytest

from queue_processor.domain import aws_events, errors, nodes
from queue_processor.simulator.aws import events
from tests.controller import stage

pytestmark = pytest.mark.looptime


def _deadline(world: stage.World) -> dt.timedelta:
    """The time until its deadline, as node-0 shows it."""
    written = world.node("node-0").metadata["annotations"][nodes.DEADLINE_ANNOTATION]
    return dt.datetime.fromisoformat(written) - world.clock()


async def test_a_capacity_reservation_interruption_ends_at_its_termination_time(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.cluster.add_replica_set("web", replicas=2, labels={"app": "web"}, nodes=["node-0"])
    await world.start()

    world.queue.send(
        aws_events.capacity_reservation_interruption(
            stage.instance(0),
            terminates_at=world.clock() + dt.timedelta(minutes=10),
            origin=world.origin(),
        )
    )
    await world.until_settled()

    assert 590 < _deadline(world).total_seconds() <= 600
    assert not world.pods_on("node-0")
    assert "queue-processor/capacity-reservation-interruption" in world.taints("node-0")


async def test_a_capacity_block_interruption_is_one_of_a_capacity_reservation(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    await world.start()

    world.queue.send(
        events.capacity_block_interruption(
            stage.instance(0),
            terminates_at=world.clock() + dt.timedelta(minutes=40),
            origin=world.origin(),
        )
    )
    await world.until_settled()

    assert "queue-processor/capacity-reservation-interruption" in world.taints("node-0")


async def test_a_scheduled_change_that_lies_ahead_has_its_start_as_the_deadline(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.add_blocked_pod("node-0")
    await world.start()

    change = events.new_change(world.clock() + dt.timedelta(minutes=5))
    world.queue.send(
        aws_events.scheduled_change([stage.instance(0)], change, origin=world.origin())
    )
    took = await world.until_settled(limit=320)

    assert 265 < took < 301
    assert len(world.cluster.history.budget_overrides) == 1


async def test_a_scheduled_change_that_has_begun_is_soft(world: stage.World) -> None:
    world.add_nodes(2)
    world.add_blocked_pod("node-0")
    await world.start(drain={"soft_drain_timeout_seconds": 100})

    change = events.new_change(world.clock() - dt.timedelta(minutes=5), status="open")
    world.queue.send(
        aws_events.scheduled_change([stage.instance(0)], change, origin=world.origin())
    )
    await world.until_settled(limit=120)

    assert len(world.pods_on("node-0")) == 1
    assert not world.cluster.history.budget_overrides


async def test_every_page_of_a_health_event_is_handled(world: stage.World) -> None:
    world.add_nodes(3)
    await world.start()

    for page in (1, 2):
        change = events.new_change(world.clock(), status="open", page=page, total_pages=2)
        world.queue.send(
            aws_events.scheduled_change([stage.instance(page)], change, origin=world.origin())
        )
    await world.until_settled()

    assert world.is_cordoned("node-1")
    assert world.is_cordoned("node-2")


async def test_the_backup_copy_of_a_health_event_changes_nothing(world: stage.World) -> None:
    world.add_nodes(1)
    await world.start()

    change = events.new_change(world.clock(), status="open", backup=True)
    world.queue.send(
        aws_events.scheduled_change([stage.instance(0)], change, origin=world.origin())
    )
    await world.until_settled(limit=1)

    assert not world.is_cordoned("node-0")


@pytest.mark.parametrize("state", ["stopping", "shutting-down"])
async def test_an_instance_on_its_way_out_is_drained_in_two_minutes(
    world: stage.World, state: str
) -> None:
    world.add_nodes(2)
    world.cluster.add_replica_set("web", replicas=2, labels={"app": "web"}, nodes=["node-0"])
    await world.start()

    world.send_state(0, state)
    await world.until_settled()

    assert 115 < _deadline(world).total_seconds() <= 120
    assert not world.pods_on("node-0")


async def test_an_event_wrapped_by_sns_is_understood(world: stage.World) -> None:
    world.add_nodes(2)
    await world.start()

    event = aws_events.spot_interruption(stage.instance(0), origin=world.origin())
    world.queue.send(stage.sns(event))
    await world.until_settled()

    assert world.is_cordoned("node-0")


async def test_a_notification_that_auto_scaling_sends_itself_is_completed(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    await world.start()
    world.lifecycle.begin(stage.instance(0))

    step = events.new_step(group="workers", hook="drain")
    world.queue.send(
        events.lifecycle_notification(
            stage.instance(0),
            step,
            transition="autoscaling:EC2_INSTANCE_TERMINATING",
            origin=world.origin(),
        )
    )
    await world.until_settled()

    assert world.is_cordoned("node-0")
    assert world.lifecycle.records[stage.instance(0)].completions == 1


async def test_a_test_notification_is_deleted(world: stage.World) -> None:
    await world.start()

    world.queue.send(events.hook_test_notification("workers", origin=world.origin()))
    await world.until_settled(limit=1)

    assert not world.queue.dead_letters


async def test_an_instance_that_goes_back_to_its_warm_pool_is_drained_before_it_continues(
    world: stage.World,
) -> None:
    world.add_nodes(1)
    await world.start()

    world.send_termination(0, origin="AutoScalingGroup", destination="WarmPool")
    await world.until_settled()

    assert world.is_cordoned("node-0")
    assert not world.pods_on("node-0")
    assert world.lifecycle.records[stage.instance(0)].completions == 1


async def test_an_instance_that_is_terminated_in_its_warm_pool_is_left_alone(
    world: stage.World,
) -> None:
    world.add_nodes(1)
    await world.start()

    world.send_termination(0, origin="WarmPool", destination="EC2")
    await world.until_settled(limit=1)

    assert not world.is_cordoned("node-0")
    assert world.lifecycle.records[stage.instance(0)].completions == 0


async def test_a_launch_that_is_never_ready_is_left_to_the_hooks_own_timeout(
    world: stage.World,
) -> None:
    world.lifecycle = type(world.lifecycle)(clock=world.clock, heartbeat_timeout=30)
    await world.start(leader_election={"enabled": False})
    world.lifecycle.begin(stage.instance(7))
    world.cluster.add_node("node-7", instance_id=stage.instance(7), ready=False)

    step = events.new_step(group="workers", hook="join")
    world.queue.send(aws_events.autoscaling_launch(stage.instance(7), step, origin=world.origin()))
    took = await world.until_settled(limit=3100, step=1)

    record = world.lifecycle.records[stage.instance(7)]
    assert 2990 < took < 3010
    assert record.completions == 0
    beats = len(record.heartbeats)
    await asyncio.sleep(100)
    assert len(record.heartbeats) == beats


async def test_a_launch_whose_instance_never_joins_gets_no_heartbeats_and_ends_with_its_hook(
    world: stage.World,
) -> None:
    world.lifecycle = type(world.lifecycle)(clock=world.clock, heartbeat_timeout=300)
    await world.start()
    world.lifecycle.begin(stage.instance(7))

    step = events.new_step(group="workers", hook="drain")
    world.queue.send(aws_events.autoscaling_launch(stage.instance(7), step, origin=world.origin()))
    took = await world.until_settled(limit=320, step=1)

    record = world.lifecycle.records[stage.instance(7)]
    assert 299 < took < 305
    assert record.heartbeats == []
    assert record.completions == 0


async def test_a_launch_gets_heartbeats_from_the_moment_its_node_joins(world: stage.World) -> None:
    world.lifecycle = type(world.lifecycle)(clock=world.clock, heartbeat_timeout=300)
    await world.start()
    world.lifecycle.begin(stage.instance(7))

    step = events.new_step(group="workers", hook="drain")
    world.queue.send(aws_events.autoscaling_launch(stage.instance(7), step, origin=world.origin()))
    await asyncio.sleep(290)
    world.cluster.add_node("node-7", instance_id=stage.instance(7), ready=False)
    await asyncio.sleep(600)
    world.cluster.set_ready("node-7", ready=True)
    await world.until_settled(limit=2)

    record = world.lifecycle.records[stage.instance(7)]
    assert len(record.heartbeats) == 5
    assert record.completed_at is not None


async def test_a_launch_whose_hook_cannot_be_read_waits_as_long_as_a_hook_does_by_default(
    world: stage.World,
) -> None:
    world.lifecycle.fail("heartbeat_timeout", errors.PermanentError("not authorized"))
    await world.start()
    world.lifecycle.begin(stage.instance(7))

    step = events.new_step(group="workers", hook="join")
    world.queue.send(aws_events.autoscaling_launch(stage.instance(7), step, origin=world.origin()))
    await asyncio.sleep(600)
    world.cluster.add_node("node-7", instance_id=stage.instance(7))
    await world.until_settled(limit=2)

    assert world.lifecycle.records[stage.instance(7)].completions == 1


async def test_the_deadline_of_a_termination_is_the_drain_timeout_when_that_is_earlier(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.add_blocked_pod("node-0")
    await world.start(drain={"lifecycle_drain_timeout_seconds": 90})

    world.send_termination(0)
    took = await world.until_settled(limit=100)

    assert 55 < took < 91
    assert world.lifecycle.records[stage.instance(0)].completions == 1
