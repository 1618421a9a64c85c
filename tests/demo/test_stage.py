"""The stage without an operator: everything is there, and nothing is right."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator

import pytest

from queue_processor.simulator.demo import checks, evidence, scenario, scenarios, stage
from queue_processor.simulator.demo.scenario import Kind
from queue_processor.simulator.kube import objects, resources, store

PLAN = scenario.Scenario(
    name="small",
    nodes=(
        scenario.NodePart(name="a", zone="us-east-1a"),
        scenario.NodePart(name="b", zone="us-east-1b"),
        scenario.NodePart(name="c", zone="us-east-1b", joins_after=0.1, ready_after=0.2),
    ),
    workloads=(
        scenario.Workload(
            name="web", nodes=("a", "a", "b"), budget=scenario.Budget(min_available=1)
        ),
    ),
    sendings=(
        scenario.Sending(kind=Kind.LAUNCH, nodes=("c",)),
        scenario.Sending(kind=Kind.SPOT, nodes=("a",), after=0.1),
    ),
)


def late_launch(plan: scenario.Scenario) -> scenario.Scenario:
    """The same, but that a node is due before its instance is launched."""
    return dataclasses.replace(
        plan,
        sendings=(
            scenario.Sending(kind=Kind.LAUNCH, nodes=("c",), after=0.3),
            *(sending for sending in plan.sendings if sending.kind is not Kind.LAUNCH),
        ),
    )


@pytest.fixture
async def place(request: pytest.FixtureRequest) -> AsyncIterator[stage.Stage]:
    made = stage.Stage(getattr(request, "param", PLAN))
    try:
        await made.start_aws()
        await made.start_cluster()
        yield made
    finally:
        await made.stop()


async def test_what_is_planned_is_there(place: stage.Stage) -> None:
    known = place.evidence()
    assert known.ready == {"web": 3}
    assert sorted(pod.node for pod in known.pods) == ["a", "a", "b"]
    assert sorted(pod.node for pod in known.agents) == ["a", "b"]
    assert set(known.joined) == {"a", "b"}
    assert len(place.cluster.store.every(resources.BUDGETS)) == 1


async def test_where_nobody_drains_nothing_comes_out_right(place: stage.Stage) -> None:
    await place.play()
    known = place.evidence()
    (story,) = evidence.stories(known)
    assert (story.node, story.pods_left, story.drained_at) == ("a", 2, None)
    assert not evidence.is_at_rest(known)
    failed = {check.name for check in checks.of_the_work(known) if not check.passed}
    assert failed == {
        "the queue is empty",
        "every message was settled",
        "the interrupted nodes were cordoned, and no others",
        "they stay cordoned",
        "they are drained",
        "nodes are cordoned at once (p99)",
        "nodes are drained before their deadlines",
        "every pod that moved had its SIGTERM and the time to exit",
        "every lifecycle action was completed with CONTINUE",
    }


async def test_a_node_that_is_launched_is_at_no_moment_ready_before_its_time(
    place: stage.Stage,
) -> None:
    seen: list[bool] = []

    def look(change: store.Change) -> None:
        if change.resource is resources.NODES and change.after.name == "c":
            seen.append(objects.is_ready(change.after))

    place.cluster.subscribe(look)
    await place.play()
    assert seen[0] is False
    assert seen == sorted(seen)
    assert place.evidence().ready_at.keys() == {"c"}


@pytest.mark.parametrize("place", [late_launch(PLAN)], indirect=True)
async def test_a_node_joins_when_its_instance_was_launched_late(place: stage.Stage) -> None:
    await place.play()
    assert place.evidence().joined.keys() == {"a", "b", "c"}


async def test_a_knock_counts_as_answered_when_it_was_received_and_deleted(
    place: stage.Stage,
) -> None:
    await place.knock()
    assert not place.is_answered()
    client = place.aws.session.client("sqs", endpoint_url=place.aws.endpoint_url)

    def read() -> None:
        answer = client.receive_message(QueueUrl=place.queue_url)
        handle = answer["Messages"][0]["ReceiptHandle"]
        client.delete_message(QueueUrl=place.queue_url, ReceiptHandle=handle)
        client.close()

    await asyncio.to_thread(read)
    assert place.is_answered()
    assert place.evidence().messages == []


async def test_only_one_stage_can_be_set_up_at_a_time(place: stage.Stage) -> None:
    other = stage.Stage(scenarios.compose(scenarios.Name.SINGLE, scenarios.Size(), seed=0))
    with pytest.raises(RuntimeError, match="runs in this process"):
        await other.start_aws()
    assert place.evidence().ready == {"web": 3}
