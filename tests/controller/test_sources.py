"""The controller with a source that is not SQS, alone and beside SQS."""

import asyncio

import pytest
import structlog

from queue_processor.domain import errors
from queue_processor.domain.events import (
    EventKind,
    InterruptionEvent,
    LifecycleAction,
    LifecycleTransition,
)
from queue_processor.simulator.kube import manifests
from tests.controller import stage
from tests.fakes.autoscaling import HOOK
from tests.fakes.notices import NoticeBoard

pytestmark = pytest.mark.looptime


@pytest.fixture
def notices(world: stage.World) -> NoticeBoard:
    """A board of notices, which every operator of the world reads."""
    board = NoticeBoard(world.clock)
    world.more_sources.append(board)
    return board


@pytest.fixture
def without_queue(world: stage.World) -> None:
    """An operator that reads no queue."""
    world.has_queue = False


def spot(world: stage.World, *numbers: int) -> InterruptionEvent:
    """A spot interruption that happens now."""
    return InterruptionEvent(
        event_id=f"spot-{numbers}",
        kind=EventKind.SPOT_INTERRUPTION,
        instance_ids=tuple(stage.instance(number) for number in numbers),
        occurred_at=world.clock(),
    )


def termination(world: stage.World, number: int) -> InterruptionEvent:
    """The termination of an instance by its group, which waits."""
    world.lifecycle.begin(stage.instance(number))
    action = LifecycleAction(
        hook=HOOK,
        transition=LifecycleTransition.TERMINATING,
        instance_id=stage.instance(number),
        token=None,
    )
    return InterruptionEvent(
        event_id=f"termination-{number}",
        kind=EventKind.AUTOSCALING_TERMINATION,
        instance_ids=(stage.instance(number),),
        occurred_at=world.clock(),
        lifecycle_action=action,
    )


async def until_none_is_left(
    world: stage.World, notices: NoticeBoard, *, limit: float = 60.0
) -> float:
    return await world.until(lambda: not notices.notices, limit=limit)


@pytest.mark.usefixtures("without_queue")
async def test_a_notice_drains_its_node_and_is_taken_down_afterwards(
    world: stage.World, notices: NoticeBoard
) -> None:
    world.add_nodes(2)
    world.cluster.add_replica_set("web", replicas=3, labels={"app": "web"}, nodes=["node-0"])
    await world.start()

    with structlog.testing.capture_logs() as lines:
        notice = notices.put(spot(world, 0))
        await world.until(lambda: world.is_cordoned("node-0"))
        assert notices.notices
        await until_none_is_left(world, notices)

    assert not world.pods_on("node-0")
    (outcome,) = (line for line in lines if line["event"] == "outcome")
    assert (outcome["message_id"], outcome["outcome"]) == (notice.id, "done")
    assert (outcome["node"], outcome["receive_count"]) == ("node-0", 1)
    assert {call for call, _ in world.queue.calls} == {"GetQueueAttributes"}


@pytest.mark.usefixtures("without_queue")
async def test_a_notice_about_a_lifecycle_action_completes_it_before_it_is_taken_down(
    world: stage.World, notices: NoticeBoard
) -> None:
    world.lifecycle = type(world.lifecycle)(clock=world.clock, heartbeat_timeout=30)
    world.add_nodes(2)
    slow = manifests.PodSpec(grace_seconds=100, exit_seconds=80)
    world.cluster.add_pod("slow", node="node-0", spec=slow)
    await world.start()

    notices.put(termination(world, 0))
    await until_none_is_left(world, notices, limit=90)

    record = world.lifecycle.records[stage.instance(0)]
    assert record.completions == 1
    assert len(record.heartbeats) == 5
    assert not world.pods_on("node-0")


@pytest.mark.usefixtures("without_queue")
async def test_a_notice_whose_work_fails_is_delivered_again(
    world: stage.World, notices: NoticeBoard
) -> None:
    class Managed:
        def __init__(self) -> None:
            self.failures = [errors.TemporaryError("RequestLimitExceeded")]

        async def is_managed(self, _: str) -> bool:
            if self.failures:
                raise self.failures.pop()
            return True

    world.managed = Managed()
    world.add_nodes(2)
    await world.start()

    notice = notices.put(spot(world, 0))
    took = await until_none_is_left(world, notices)

    assert 2 <= took < 3
    assert notice.receive_count == 2
    assert world.is_cordoned("node-0")


@pytest.mark.usefixtures("without_queue")
async def test_a_notice_that_cannot_be_understood_is_rejected_and_taken_down(
    world: stage.World, notices: NoticeBoard
) -> None:
    await world.start()

    notice = notices.put(None)
    notices.failures["acknowledge"] = [errors.TemporaryError("503")]
    await until_none_is_left(world, notices)

    assert notices.rejected == [(notice.id, "the notice is empty")]


@pytest.mark.usefixtures("without_queue")
async def test_a_notice_goes_back_when_the_operator_stops_and_the_next_one_takes_it(
    world: stage.World, notices: NoticeBoard
) -> None:
    world.add_nodes(2)
    world.cluster.add_pod("slow", node="node-0", spec=manifests.PodSpec(exit_seconds=25))
    first = await world.start("first")

    notice = notices.put(spot(world, 0))
    await world.until(lambda: world.is_cordoned("node-0"))
    await first.stop()
    assert not notice.is_open
    await world.start("second")
    await until_none_is_left(world, notices)

    assert notice.receive_count == 2
    assert not world.pods_on("node-0")


async def test_the_same_interruption_from_two_sources_is_one_drain(
    world: stage.World, notices: NoticeBoard
) -> None:
    world.add_nodes(2)
    world.cluster.add_replica_set("web", replicas=3, labels={"app": "web"}, nodes=["node-0"])
    await world.start()

    notices.put(spot(world, 0))
    world.send_spot(0)
    await world.until_settled()
    await until_none_is_left(world, notices)

    assert world.cluster.history.count_requests("list", "pods") == 1
    assert world.cluster.history.count_requests("create", "pods/eviction") == 3


async def test_a_notice_does_not_wait_for_the_long_poll_of_the_queue(
    world: stage.World, notices: NoticeBoard
) -> None:
    world.add_nodes(2)
    await world.start()
    await asyncio.sleep(5)

    notices.put(spot(world, 0))
    took = await until_none_is_left(world, notices)

    assert took < 1


async def test_a_source_that_fails_does_not_keep_the_other_from_its_work(
    world: stage.World, notices: NoticeBoard
) -> None:
    world.add_nodes(2)
    notices.failures["receive"] = [errors.TemporaryError("503") for _ in range(100)]
    await world.start()

    world.send_spot(0)
    await world.until_settled(limit=5)

    assert world.is_cordoned("node-0")


async def test_the_bound_on_messages_in_flight_is_one_for_all_sources(
    world: stage.World, notices: NoticeBoard
) -> None:
    world.add_nodes(13)
    long = manifests.PodSpec(exit_seconds=60, grace_seconds=90)
    for number in range(12):
        world.cluster.add_pod(f"slow-{number}", node=f"node-{number}", spec=long)
    await world.start(sources={"max_in_flight": 10})
    for number in range(10):
        world.send_spot(number)
    await world.until(lambda: world.queue.visible == 0)
    # The receive that waits already takes what comes; the next one waits for room.
    first = notices.put(spot(world, 10))
    await world.until(lambda: first.is_open)
    second = notices.put(spot(world, 11))
    await asyncio.sleep(30)
    assert not second.is_open
    await world.until_settled(limit=90)
    await until_none_is_left(world, notices, limit=90)

    assert world.is_cordoned("node-11")
