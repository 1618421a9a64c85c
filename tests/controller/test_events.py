"""A drain in `kubectl describe`: Events on nodes and pods, and conditions of nodes."""

import asyncio
import dataclasses
import functools
from collections.abc import Iterable

import pytest
import structlog.testing

from queue_processor.domain import aws_events
from queue_processor.simulator.aws import events
from queue_processor.simulator.kube import faults, manifests, objects, resources
from tests.controller import stage

pytestmark = pytest.mark.looptime


def _recorded(world: stage.World, kind: str) -> list[tuple[str, str, str]]:
    """Type, reason and note of the Events about nodes, or about pods, in their order."""
    kept = sorted(
        (event.body for event in world.cluster.store.every(resources.EVENTS)),
        key=lambda body: body["eventTime"],
    )
    return [
        (body["type"], body["reason"], body["note"])
        for body in kept
        if body["regarding"]["kind"] == kind
    ]


def _condition(world: stage.World, kind: str) -> objects.JsonObject:
    conditions = world.node("node-0").status["conditions"]
    return next(condition for condition in conditions if condition["type"] == kind)


async def test_a_drain_is_told_at_its_beginning_and_at_its_end(world: stage.World) -> None:
    world.add_nodes(3)
    world.cluster.add_replica_set("web", replicas=3, labels={"app": "web"}, nodes=["node-0"])
    await world.start()

    origin = world.origin(event_id="e-1")
    world.queue.send(aws_events.spot_interruption(stage.instance(0), origin=origin))
    await world.until_settled()
    await asyncio.sleep(1)

    assert _recorded(world, "Node") == [
        (
            "Normal",
            "SpotInterruption",
            "cordon-and-drain, the instance goes at 2026-05-01 12:02:00 UTC (event e-1)",
        ),
        ("Normal", "Drained", "0 of 3 pods left"),
    ]
    assert not _recorded(world, "Pod")


def _pods_on_nodes(world: stage.World, count: int) -> int:
    return sum(len(world.pods_on(f"node-{number}")) for number in range(count))


async def test_a_storm_writes_events_after_evictions_and_one_for_each_node(
    world: stage.World,
) -> None:
    world.add_nodes(51)
    for number in range(50):
        world.cluster.add_replica_set(
            f"web-{number}",
            replicas=4,
            labels={"app": f"web-{number}"},
            nodes=[f"node-{number}"],
            exit_seconds=0.1,
        )
    world.server.faults.add(faults.Fault(faults.Delay(0.1), path=".*/eviction"))
    await world.start(kubernetes={"requests_in_flight": 4})

    for number in range(50):
        world.send_spot(number)
    left = functools.partial(_pods_on_nodes, world, 50)
    await world.until(lambda: left() < 10, step=0.01)
    assert len(_recorded(world, "Node")) <= 10
    await world.until_settled()
    await asyncio.sleep(6)

    events_on_nodes = _recorded(world, "Node")
    drained = [note for _, reason, note in events_on_nodes if reason == "Drained"]
    assert len(drained) == 50
    assert len(events_on_nodes) <= 60
    beginning = "0 of 4 pods left; before: SpotInterruption, cordon-and-drain, "
    assert len([note for note in drained if note.startswith(beginning)]) >= 40


def _in_progress(world: stage.World, names: Iterable[str]) -> set[str]:
    """The nodes whose conditions show a drain."""
    return {name for name in names if world.condition(name, "DrainInProgress") == "True"}


async def test_a_storm_longer_than_an_interval_writes_no_progress_while_evictions_wait(
    world: stage.World,
) -> None:
    names = world.add_nodes(51)[:50]
    for name in names:
        world.cluster.add_replica_set(
            f"of-{name}", replicas=4, labels={"app": name}, nodes=[name], exit_seconds=0.1
        )
    # 5 evictions in a second: 40 s for all of them.
    world.server.faults.add(faults.Fault(faults.Delay(0.8), path=".*/eviction"))
    await world.start(kubernetes={"requests_in_flight": 4})

    with structlog.testing.capture_logs() as lines:
        for number in range(50):
            world.send_spot(number)
        storm = asyncio.create_task(world.until_settled())
        shown: set[str] = set()
        while not storm.done():
            shown |= _in_progress(world, names)
            await asyncio.sleep(0.1)
        lasted = await storm

    assert lasted > 38
    assert not shown
    assert {world.condition(name, "Drained") for name in names} == {"True"}
    assert "node_conditions_update_failed" not in {line["event"] for line in lines}


async def test_the_progress_of_a_storm_is_written_a_few_nodes_at_a_time(
    world: stage.World,
) -> None:
    """Many pods of one storm stop for long, and their kubelets have enough to do."""
    names = world.add_nodes(51)[:50]
    for name in names:
        spec = manifests.PodSpec(exit_seconds=60, grace_seconds=90)
        world.cluster.add_pod(f"of-{name}", node=name, spec=spec)
    await world.start(kubernetes={"requests_in_flight": 24})
    for number in range(50):
        world.send_spot(number)
    await world.until(lambda: all(world.is_cordoned(name) for name in names))
    world.server.faults.add(faults.Fault(faults.Delay(0.5), method="PATCH", path=".*/status"))

    await world.until(lambda: bool(_in_progress(world, names)), limit=20)
    await asyncio.sleep(1)
    assert len(_in_progress(world, names)) <= 8
    await world.until(lambda: _in_progress(world, names) == set(names), limit=20)


async def test_the_conditions_follow_the_drain(world: stage.World) -> None:
    world.add_nodes(2)
    for name, seconds in (("quick", 20), ("slow", 40)):
        spec = manifests.PodSpec(exit_seconds=seconds, grace_seconds=60)
        world.cluster.add_pod(name, node="node-0", spec=spec)
    await world.start()
    began = world.clock()

    world.send_spot(0)
    await asyncio.sleep(15.2)
    first = _condition(world, "DrainInProgress")
    assert (first["status"], first["message"]) == ("True", "2 of 2 pods left")
    assert _condition(world, "Drained")["status"] == "False"
    await asyncio.sleep(15)
    second = _condition(world, "DrainInProgress")
    assert (second["status"], second["message"]) == ("True", "1 of 2 pods left")
    assert second["lastTransitionTime"] == first["lastTransitionTime"]
    assert first["lastTransitionTime"] == began.strftime("%Y-%m-%dT%H:%M:%SZ")
    await world.until_settled()

    assert _condition(world, "DrainInProgress")["status"] == "False"
    done = _condition(world, "Drained")
    assert (done["status"], done["message"]) == ("True", "0 of 2 pods left")
    assert done["lastTransitionTime"] > first["lastTransitionTime"]


async def test_a_pod_that_had_to_be_deleted_is_named_on_itself_and_on_its_node(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.add_blocked_pod("node-0")
    (pod,) = world.pods_on("node-0")
    await world.start()

    world.send_spot(0)
    await world.until_settled(limit=130)
    await asyncio.sleep(1)

    ((kind, reason, note),) = _recorded(world, "Pod")
    assert (kind, reason) == ("Warning", "DeletedAtDeadline")
    assert "taken away at 12:02:00 UTC" in note
    assert "disruption budget" in note
    assert _recorded(world, "Node")[-1] == (
        "Normal",
        "Drained",
        f"0 of 1 pods left; 1 deleted at the deadline: default/{pod}",
    )


async def test_pods_that_are_left_are_named_on_their_node(world: stage.World) -> None:
    world.add_nodes(2)
    world.add_blocked_pod("node-0")
    (pod,) = world.pods_on("node-0")
    await world.start(drain={"on_deadline": "leave"})

    world.send_spot(0)
    await world.until_settled(limit=130)
    await asyncio.sleep(1)

    assert _recorded(world, "Node")[-1] == (
        "Warning",
        "DrainStopped",
        f"1 of 1 pods left: default/{pod}",
    )
    for condition in ("DrainInProgress", "Drained"):
        assert _condition(world, condition)["status"] == "False"
        assert _condition(world, condition)["message"] == f"1 of 1 pods left: default/{pod}"


async def test_a_dead_node_is_told_to_be_out_of_service(world: stage.World) -> None:
    world.add_nodes(2)
    world.cluster.add_pod("stuck", node="node-0")
    await world.start()
    world.cluster.kill_kubelet("node-0")

    world.send_state(0, "stopped")
    await world.until_settled()
    await asyncio.sleep(1)

    assert ("Warning", "OutOfService") in [
        (kind, reason) for kind, reason, _ in _recorded(world, "Node")
    ]


async def test_a_change_that_is_cancelled_takes_back_what_was_recorded(world: stage.World) -> None:
    world.add_nodes(2)
    await world.start()
    change = events.new_change(world.clock(), status="open")
    world.queue.send(
        aws_events.scheduled_change([stage.instance(0)], change, origin=world.origin())
    )
    await world.until_settled()
    assert _condition(world, "Drained")["status"] == "True"

    change = dataclasses.replace(change, status="closed")
    world.queue.send(
        aws_events.scheduled_change([stage.instance(0)], change, origin=world.origin())
    )
    await world.until_settled()
    await asyncio.sleep(1)

    assert _recorded(world, "Node")[-1] == (
        "Normal",
        "Uncordoned",
        "no event holds the node any more",
    )
    for condition in ("DrainInProgress", "Drained"):
        assert _condition(world, condition)["status"] == "False"
