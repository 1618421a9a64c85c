"""`mode: observe`: everything is read, planned and logged, and nothing is written."""

import asyncio
import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import prometheus_client
import pytest
import structlog

from queue_processor.domain import aws_events, imds_bodies, notices
from queue_processor.domain.events import EventKind
from queue_processor.domain.imds_bodies import InterruptionAction
from queue_processor.domain.notices import Notice
from queue_processor.simulator.aws import events
from queue_processor.simulator.kube import faults, manifests
from tests.controller import stage
from tests.fakes.autoscaling import HOOK, FakeLifecycle

pytestmark = pytest.mark.looptime

Line: TypeAlias = Mapping[str, Any]

OBSERVER = "observer"
READS = {"get", "list", "watch"}
QUEUE_CALLS = {
    "ChangeMessageVisibility",
    "ChangeMessageVisibilityBatch",
    "DeleteMessage",
    "DeleteMessageBatch",
    "GetQueueAttributes",
    "GetQueueUrl",
    "ReceiveMessage",
    "SendMessage",
    "SendMessageBatch",
}


@pytest.fixture(autouse=True)
def nothing_is_written(world: stage.World) -> Iterator[None]:
    """Whatever a test does, its observers change nothing but their queue."""
    yield
    requests = world.cluster.history.requests
    made = {each for each in requests if each.user_agent.startswith(OBSERVER)}
    assert made
    assert {each for each in made if each.verb not in READS} == set()
    assert {call for call, _ in world.queue.calls} <= QUEUE_CALLS
    for record in world.lifecycle.records.values():
        assert (record.completions, record.heartbeats) == (0, [])


async def observing(world: stage.World, name: str = OBSERVER, **chosen: object) -> stage.Process:
    return await world.start(name, mode="observe", **chosen)


def named(lines: Sequence[Line], event: str) -> list[Line]:
    return [line for line in lines if line["event"] == event]


async def observed(world: stage.World) -> tuple[Line, Line]:
    """Wait until the queue is empty; the lines about the one plan and the one outcome."""
    with structlog.testing.capture_logs() as lines:
        await world.until_settled(limit=120)
        # The outcome is logged right after.
        await asyncio.sleep(0.1)
    (plan,) = named(lines, "plan_observed")
    (outcome,) = named(lines, "outcome")
    return plan, outcome


async def test_the_plan_line_says_what_a_drain_would_do(world: stage.World) -> None:
    world.add_nodes(2)
    world.cluster.add_replica_set("web", replicas=2, labels={"app": "web"}, nodes=["node-0"])
    await observing(world)

    message_id = world.send_spot(0)
    plan, outcome = await observed(world)

    assert (plan["node"], plan["instance_id"]) == ("node-0", stage.instance(0))
    assert (plan["kind"], plan["action"]) == ("spot_interruption", "cordon-and-drain")
    assert plan["deadline"] == "2026-05-01T12:02:00+00:00"
    assert plan["evicted"] == sorted(f"default/{name}" for name in world.pods_on("node-0"))
    assert (plan["blocked"], plan["deleted_at_deadline"]) == ([], [])
    assert plan["lifecycle_hook"] is None
    assert (outcome["outcome"], outcome["message_id"]) == ("observed", message_id)
    assert [each["result"] for each in outcome["instances"]] == ["observed"]
    assert world.queue.deleted == [message_id]
    assert len(world.pods_on("node-0")) == 2


async def test_a_pod_that_a_budget_blocks_now_is_named_with_the_budget(world: stage.World) -> None:
    world.add_nodes(2)
    world.add_blocked_pod("node-0")
    (pod,) = world.pods_on("node-0")
    await observing(world)

    world.send_spot(0)
    plan, _ = await observed(world)

    assert plan["evicted"] == [f"default/{pod}"]
    assert plan["blocked"] == [
        {
            "pod": f"default/{pod}",
            "budgets": ("db",),
            "deleted_at": "2026-05-01T12:01:29+00:00",
        }
    ]
    assert plan["deleted_at_deadline"] == []


async def test_a_pod_of_a_daemon_set_is_left_out(world: stage.World) -> None:
    world.add_nodes(2)
    world.cluster.add_daemon_set("agent", labels={"app": "agent"}, nodes=["node-0"])
    world.cluster.add_pod("web", node="node-0")
    await observing(world)

    world.send_spot(0)
    plan, _ = await observed(world)

    assert plan["evicted"] == ["default/web"]


async def test_a_pod_whose_grace_period_does_not_fit_is_deleted_at_the_deadline(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.cluster.add_pod("quick", node="node-0")
    world.cluster.add_pod("slow", node="node-0", spec=manifests.PodSpec(grace_seconds=300))
    await observing(world)

    world.send_spot(0)
    plan, _ = await observed(world)

    assert plan["evicted"] == ["default/quick", "default/slow"]
    assert plan["deleted_at_deadline"] == ["default/slow"]


async def test_where_blocked_pods_are_left_none_is_deleted(world: stage.World) -> None:
    world.add_nodes(2)
    world.add_blocked_pod("node-0")
    world.cluster.add_pod("slow", node="node-0", spec=manifests.PodSpec(grace_seconds=300))
    await observing(world, drain={"on_deadline": "leave"})

    world.send_spot(0)
    plan, _ = await observed(world)

    assert [each["deleted_at"] for each in plan["blocked"]] == [None]
    assert plan["deleted_at_deadline"] == []


async def test_a_lifecycle_action_is_named_and_stays_open(world: stage.World) -> None:
    world.add_nodes(2)
    await observing(world)

    world.send_termination(0)
    plan, outcome = await observed(world)

    hook = {"group": HOOK.group, "name": HOOK.name}
    assert plan["lifecycle_hook"] == outcome["lifecycle_hook"] == hook
    assert outcome["outcome"] == "observed"
    (record,) = world.lifecycle.records.values()
    assert not record.is_over


async def test_a_launch_is_observed_when_its_node_is_ready(world: stage.World) -> None:
    world.lifecycle = FakeLifecycle(clock=world.clock, heartbeat_timeout=60)
    await observing(world)
    step = events.new_step(group=HOOK.group, hook=HOOK.name)
    world.lifecycle.begin(stage.instance(5))

    with structlog.testing.capture_logs() as lines:
        world.queue.send(
            aws_events.autoscaling_launch(stage.instance(5), step, origin=world.origin())
        )
        await asyncio.sleep(45)
        assert world.queue.left == 1
        world.add_nodes(1, first=5)
        await world.until_settled()
        await asyncio.sleep(0.1)

    (outcome,) = named(lines, "outcome")
    assert (outcome["outcome"], outcome["node"]) == ("observed", "node-5")
    assert outcome["lifecycle_hook"] == {"group": HOOK.group, "name": HOOK.name}


async def test_an_unknown_instance_is_waited_for_and_ignored(world: stage.World) -> None:
    world.add_nodes(1)
    await observing(world)

    with structlog.testing.capture_logs() as lines:
        world.send_spot(7)
        took = await world.until_settled(limit=120)
        await asyncio.sleep(0.1)

    assert 60 <= took < 65
    assert named(lines, "plan_observed") == []
    (outcome,) = named(lines, "outcome")
    assert outcome["outcome"] == "ignored"
    assert [each["result"] for each in outcome["instances"]] == ["unknown_instance"]


async def test_the_action_of_an_instance_that_never_joined_is_named_and_stays_open(
    world: stage.World,
) -> None:
    world.add_nodes(1)
    world.lifecycle.add_group(HOOK.group, stage.instance(0), stage.instance(7))
    await observing(world)

    with structlog.testing.capture_logs() as lines:
        world.send_termination(7)
        await world.until_settled(limit=120)
        await asyncio.sleep(0.1)

    (outcome,) = named(lines, "outcome")
    assert outcome["outcome"] == "observed"
    assert outcome["lifecycle_hook"] == {"group": HOOK.group, "name": HOOK.name}


async def test_an_ignored_kind_has_no_plan(world: stage.World) -> None:
    world.add_nodes(1)
    await observing(world, actions={"spot_interruption": "ignore"})

    with structlog.testing.capture_logs() as lines:
        world.send_spot(0)
        await world.until_settled()
        await asyncio.sleep(0.1)

    assert named(lines, "plan_observed") == []
    (outcome,) = named(lines, "outcome")
    assert outcome["outcome"] == "ignored"
    assert "actions.spot_interruption is ignore" in outcome["reason"]


async def test_a_cordon_alone_lists_no_pods(world: stage.World) -> None:
    world.add_nodes(1)
    world.cluster.add_pod("web", node="node-0")
    await observing(world, actions={"spot_interruption": "cordon"})

    world.send_spot(0)
    plan, _ = await observed(world)

    assert (plan["action"], plan["evicted"]) == ("cordon", [])
    assert world.cluster.history.count_requests("list", "pods") == 0


async def results(world: stage.World) -> list[str]:
    """Wait until the queue is empty; the results of the one outcome, which has no plan line."""
    with structlog.testing.capture_logs() as lines:
        await world.until_settled()
        await asyncio.sleep(0.1)
    assert named(lines, "plan_observed") == []
    (outcome,) = named(lines, "outcome")
    return [each["result"] for each in outcome["instances"]]


async def test_a_cancellation_of_what_held_a_node_is_observed(world: stage.World) -> None:
    world.add_nodes(2)
    change = events.new_change(world.clock() + dt.timedelta(days=7))
    drainer = await world.start("drainer")
    world.send_change(0, change)
    await world.until_settled()
    await drainer.stop()

    await observing(world)
    world.send_change(0, change, status="closed")
    plan, _ = await observed(world)

    assert (plan["action"], plan["node"]) == ("uncordon", "node-0")
    assert world.is_cordoned("node-0")


async def test_a_cancellation_of_nothing_is_not_observed_nor_an_announcement_after_it(
    world: stage.World,
) -> None:
    world.add_nodes(1)
    await observing(world)
    change = events.new_change(world.clock() + dt.timedelta(days=7))
    announcement = aws_events.scheduled_change(
        [stage.instance(0)], change, origin=world.origin(age=5)
    )

    world.send_change(0, change, status="closed")
    assert await results(world) == ["held_by_another"]

    world.queue.send(announcement)
    assert await results(world) == ["cancelled"]


async def test_an_instance_that_starts_is_not_observed(world: stage.World) -> None:
    world.add_nodes(1)
    await observing(world)

    world.send_state(0, "running")
    assert await results(world) == ["held_by_another"]


async def test_an_end_that_the_node_refutes_is_not_observed(world: stage.World) -> None:
    world.add_nodes(1)
    await observing(world)

    world.send_state(0, "stopped", age=60)
    assert await results(world) == ["still_running"]


@pytest.mark.parametrize(
    "answer",
    [faults.ErrorResponse(500, "InternalError", "busy"), faults.ErrorResponse(410, "Expired")],
    ids=["an error", "a list that is too old"],
)
async def test_what_cannot_be_read_yet_is_observed_later(
    world: stage.World, answer: faults.ErrorResponse
) -> None:
    world.add_nodes(1)
    world.cluster.add_pod("web", node="node-0")
    path = "/apis/policy/v1/poddisruptionbudgets"
    world.server.faults.add(faults.Fault(answer, path=path, times=2))
    await observing(world)

    with structlog.testing.capture_logs() as lines:
        world.send_spot(0)
        await world.until_settled()
        await asyncio.sleep(0.1)

    outcomes = [line["outcome"] for line in named(lines, "outcome")]
    assert outcomes == ["retry", "retry", "observed"]
    assert named(lines, "message_failed") == []
    (plan,) = named(lines, "plan_observed")
    assert plan["evicted"] == ["default/web"]


async def test_a_malformed_message_becomes_a_dead_letter(world: stage.World) -> None:
    await observing(world)

    world.queue.send("not JSON")
    await world.until_settled()

    ((body, _),) = world.queue.dead_letters
    assert body == "not JSON"


async def test_every_replica_works_and_no_message_is_observed_twice(world: stage.World) -> None:
    world.add_nodes(20)
    for number in (1, 2):
        await observing(world, f"{OBSERVER}-{number}")

    with structlog.testing.capture_logs() as lines:
        for number in range(20):
            world.send_spot(number)
        await world.until_settled()
        await asyncio.sleep(0.1)

    nodes = sorted(line["node"] for line in named(lines, "plan_observed"))
    assert nodes == sorted(f"node-{number}" for number in range(20))
    count = world.cluster.history.count_requests
    assert count("list", "pods", f"{OBSERVER}-1")
    assert count("list", "pods", f"{OBSERVER}-2")


async def test_what_another_process_left_on_a_node_is_left_alone(world: stage.World) -> None:
    world.add_nodes(2)
    world.add_blocked_pod("node-0")
    drainer = await world.start("drainer")
    world.send_spot(0)
    await world.until(lambda: world.is_cordoned("node-0"))
    await drainer.kill()
    world.queue.lose_all()

    await observing(world)
    await asyncio.sleep(300)

    assert world.is_cordoned("node-0")
    assert len(world.pods_on("node-0")) == 1


async def test_a_notice_is_observed_once_and_stays_on_its_node(world: stage.World) -> None:
    world.add_nodes(1)
    world.cluster.add_pod("web", node="node-0")
    world.handles_notices = True
    ends_at = world.clock() + dt.timedelta(minutes=2)
    notice = Notice(
        annotation=notices.annotation_name(EventKind.SPOT_INTERRUPTION),
        instance_id=stage.instance(0),
        seen_at=world.clock(),
        body=imds_bodies.instance_action(InterruptionAction.TERMINATE, ends_at),
    )
    malformed = notices.annotation_name(EventKind.REBALANCE_RECOMMENDATION)
    written = {notice.annotation: notice.to_json(), malformed: "<html>"}
    await observing(world)

    with structlog.testing.capture_logs() as lines:
        world.change_node("node-0", annotations=written)
        await asyncio.sleep(30)
        world.change_node("node-0", labels={"team": "a"})
        await asyncio.sleep(60)

    (plan,) = named(lines, "plan_observed")
    assert (plan["node"], plan["evicted"]) == ("node-0", ["default/web"])
    outcomes = sorted(line["outcome"] for line in named(lines, "outcome"))
    assert outcomes == ["dead_letter", "observed"]
    assert written.items() <= world.node("node-0").metadata["annotations"].items()
    waiting = prometheus_client.REGISTRY.get_sample_value(
        "queue_processor_messages_waiting", {"source": "notices"}
    )
    assert waiting == 0


async def test_outcomes_and_results_are_counted_as_observed(world: stage.World) -> None:
    world.add_nodes(1)
    await observing(world)
    labels = {"kind": "spot_interruption"}
    series = {
        "queue_processor_messages_total": {**labels, "outcome": "observed"},
        "queue_processor_instances_total": {**labels, "result": "observed"},
    }

    def counted() -> list[float]:
        read = prometheus_client.REGISTRY.get_sample_value
        return [read(name, chosen) or 0.0 for name, chosen in series.items()]

    before = counted()
    world.send_spot(0)
    await world.until_settled()
    await asyncio.sleep(0.1)

    assert counted() == [value + 1 for value in before]
