"""The environment without an operator: everything is there, and nothing is right."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator

import pytest

from queue_processor.domain.events import EventKind
from queue_processor.simulator.demo import checks, scenarios
from queue_processor.simulator.demo.environment import Environment
from queue_processor.simulator.demo.scenario import (
    Budget,
    PlannedMessage,
    PlannedNode,
    Scenario,
    Workload,
)
from queue_processor.simulator.kube import objects, resources, store

PLAN = Scenario(
    name="small",
    nodes=(
        PlannedNode(name="a", zone="us-east-1a"),
        PlannedNode(name="b", zone="us-east-1b"),
        PlannedNode(name="c", zone="us-east-1b", joins_after=0.1, ready_after=0.2),
    ),
    workloads=(Workload(name="web", nodes=("a", "a", "b"), budget=Budget(min_available=1)),),
    messages=(
        PlannedMessage(EventKind.AUTOSCALING_LAUNCH, ("c",)),
        PlannedMessage(EventKind.SPOT_INTERRUPTION, ("a",), after=0.1),
    ),
)


def late_launch(plan: Scenario) -> Scenario:
    """The same, but that a node is due before its instance is launched."""
    return dataclasses.replace(
        plan,
        messages=(
            PlannedMessage(EventKind.AUTOSCALING_LAUNCH, ("c",), after=0.3),
            *(message for message in plan.messages if not message.is_launch),
        ),
    )


@pytest.fixture
async def environment(request: pytest.FixtureRequest) -> AsyncIterator[Environment]:
    made = Environment(getattr(request, "param", PLAN))
    try:
        await made.start_aws()
        await made.start_cluster()
        yield made
    finally:
        await made.stop()


async def test_what_is_planned_is_there(environment: Environment) -> None:
    observed = environment.observe()
    assert observed.ready == {"web": 3}
    assert sorted(pod.node for pod in observed.pods) == ["a", "a", "b"]
    assert sorted(pod.node for pod in observed.agents) == ["a", "b"]
    assert set(observed.joined) == {"a", "b"}
    assert len(environment.cluster.store.every(resources.BUDGETS)) == 1


async def test_where_nobody_drains_nothing_comes_out_right(environment: Environment) -> None:
    await environment.play()
    observed = environment.observe()
    (line,) = observed.timelines
    assert (line.node, line.pods_left, line.drained_at) == ("a", 2, None)
    assert not observed.is_at_rest
    failed = {check.name for check in checks.assess(observed).failed}
    assert failed == {
        "no message is left there",
        "every message was settled",
        "the interrupted nodes were cordoned, and no others",
        "they stay cordoned",
        "they are drained",
        "nodes are cordoned at once (p99)",
        "nodes are drained before their deadlines",
        "every pod that moved got its SIGTERM and the time to exit",
        "every lifecycle action was completed with CONTINUE",
        "the operator stops on SIGTERM",
    }


async def test_a_node_that_is_launched_is_at_no_moment_ready_before_its_time(
    environment: Environment,
) -> None:
    seen: list[bool] = []

    def look(change: store.Change) -> None:
        if change.resource is resources.NODES and change.after.name == "c":
            seen.append(objects.is_ready(change.after))

    environment.cluster.subscribe(look)
    await environment.play()
    assert seen[0] is False
    assert seen == sorted(seen)
    assert environment.observe().ready_at.keys() == {"c"}


@pytest.mark.parametrize("environment", [late_launch(PLAN)], indirect=True)
async def test_a_node_joins_when_its_instance_was_launched_late(environment: Environment) -> None:
    await environment.play()
    assert environment.observe().joined.keys() == {"a", "b", "c"}


async def test_the_probe_is_consumed_when_it_was_received_and_deleted(
    environment: Environment,
) -> None:
    await environment.send_probe()
    assert not environment.is_operator_at_work()
    assert environment.aws is not None
    client = environment.aws.session.client("sqs", endpoint_url=environment.aws.endpoint_url)

    def read() -> None:
        answer = client.receive_message(QueueUrl=environment.queue_url)
        handle = answer["Messages"][0]["ReceiptHandle"]
        client.delete_message(QueueUrl=environment.queue_url, ReceiptHandle=handle)
        client.close()

    await asyncio.to_thread(read)
    assert environment.is_operator_at_work()
    assert environment.observe().messages == []


async def test_only_one_environment_can_run_at_a_time(environment: Environment) -> None:
    other = Environment(scenarios.compose("single", seed=0))
    with pytest.raises(RuntimeError, match="runs in this process"):
        await other.start_aws()
    assert environment.observe().ready == {"web": 3}
