import collections

import pytest

from queue_processor.cli.demo import ScenarioName
from queue_processor.domain.events import EventKind, InstanceState
from queue_processor.simulator.demo import scenarios
from queue_processor.simulator.demo.scenario import (
    Budget,
    DeliveryRoute,
    ImpossibleScenarioError,
    Noise,
)


def test_the_storm_is_of_the_size_that_is_promised() -> None:
    storm = scenarios.compose("storm", seed=0)
    placed = collections.Counter(node for work in storm.workloads for node in work.nodes)
    late = [node.name for node in storm.nodes if node.joins_after]
    labels = collections.Counter(message.label for message in storm.messages)
    assert (len(storm.nodes), storm.event_count) == (50, 20)
    assert (storm.message_count, storm.malformed_count) == (21, 1)
    assert set(placed.values()) == {10}
    assert len(placed) == 49
    assert len(late) == 1
    assert late[0] in storm.interrupted
    assert len(storm.interrupted) == 21
    assert labels["spot_interruption"] > 6
    assert set(labels) >= {
        *("rebalance_recommendation", "capacity_reservation_interruption", "scheduled_change"),
        *("state_change: stopping", "state_change: shutting-down", "autoscaling_termination"),
        "malformed",
    }
    assert not storm.blocked_pods
    assert {work.budget is None for work in storm.workloads} == {True, False}


def test_mixed_has_every_kind_every_route_and_one_pod_that_is_never_let_go() -> None:
    mixed = scenarios.compose("mixed", seed=0)
    assert {message.kind for message in mixed.messages} == {*EventKind, *Noise}
    states = {message.state for message in mixed.messages if message.state}
    assert states == {InstanceState.STOPPING, InstanceState.SHUTTING_DOWN}
    routes = {message.route for message in mixed.messages}
    assert routes == set(DeliveryRoute) - {DeliveryRoute.METADATA}
    assert mixed.blocked_pods == {"licence-server": 1}
    assert mixed.event_count == 12


def test_imds_has_every_kind_that_instance_metadata_announces_and_no_queue() -> None:
    imds = scenarios.compose("imds", seed=0)
    assert {message.kind for message in imds.messages} == {
        EventKind.AUTOSCALING_TERMINATION,
        EventKind.REBALANCE_RECOMMENDATION,
        EventKind.SCHEDULED_CHANGE,
        EventKind.SPOT_INTERRUPTION,
    }
    assert imds.has_watchers
    assert not imds.has_queue
    assert not imds.held_up
    # A rebalance recommendation and a Spot interruption name one node.
    assert (imds.event_count, len(imds.interrupted)) == (10, 9)


def test_mixed_sources_names_each_node_by_both_and_either_is_first() -> None:
    mixed = scenarios.compose("mixed-sources", seed=0)
    for node in mixed.interrupted:
        assert {each.route for each in mixed.messages if node in each.nodes} == {
            DeliveryRoute.RULES,
            DeliveryRoute.METADATA,
        }
    first = {message.route for message in mixed.messages if not message.after}
    assert first == {DeliveryRoute.RULES, DeliveryRoute.METADATA}
    assert (mixed.event_count, len(mixed.interrupted)) == (16, 8)


def test_single_is_one_spot_interruption() -> None:
    single = scenarios.compose("single", seed=0)
    assert [message.kind for message in single.messages] == [EventKind.SPOT_INTERRUPTION]
    assert (len(single.nodes), single.pod_count) == (3, 30)


@pytest.mark.parametrize("name", ScenarioName)
def test_the_same_seed_makes_the_same_scenario(name: ScenarioName) -> None:
    first, second, other = (scenarios.compose(name, seed=seed) for seed in (1, 1, 2))
    assert first == second
    assert first != other


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("name", ["single", "storm", "imds", "mixed-sources"])
def test_no_budget_blocks_for_ever_where_nothing_is_to_be_deleted(name: str, seed: int) -> None:
    made = scenarios.compose(name, seed=seed, pods_per_node=1 + seed)
    assert not any(work.is_blocked for work in made.workloads)


@pytest.mark.parametrize("events", range(1, 30))
def test_a_storm_has_as_many_events_as_are_requested(events: int) -> None:
    storm = scenarios.compose("storm", seed=events, events=events)
    assert storm.event_count == events
    assert storm.message_count == events + 1


@pytest.mark.parametrize(
    ("name", "nodes", "pods_per_node", "events", "complaint"),
    [
        ("single", 3, None, 3, "only 3 are there"),
        ("storm", 10, None, 20, "only 9 are there"),
        ("storm", 21, None, None, "only 20 are there"),
        ("storm", 25, 100, None, "2400 pods need 23"),
        ("mixed", None, None, 11, "12 or more"),
        ("mixed", 2, None, None, "only 0 are there"),
        ("mixed", 12, None, None, "only 10 are there"),
    ],
)
def test_what_cannot_come_out_right_is_refused(
    name: str, nodes: int | None, pods_per_node: int | None, events: int | None, complaint: str
) -> None:
    with pytest.raises(ImpossibleScenarioError, match=complaint):
        scenarios.compose(name, seed=0, nodes=nodes, pods_per_node=pods_per_node, events=events)


@pytest.mark.parametrize(
    ("budget", "replicas", "min_ready"),
    [
        (Budget(max_unavailable=1), 3, 2),
        (Budget(max_unavailable="25%"), 10, 7),
        (Budget(max_unavailable="100%"), 3, 0),
        (Budget(max_unavailable=5), 3, 0),
        (Budget(min_available="80%"), 11, 9),
        (Budget(min_available=2), 3, 2),
    ],
)
def test_a_budget_needs_what_kubernetes_says(budget: Budget, replicas: int, min_ready: int) -> None:
    assert budget.min_ready(replicas) == min_ready
