import collections

import pytest

from queue_processor.simulator.demo import scenario, scenarios
from queue_processor.simulator.demo.scenario import Budget, Kind
from queue_processor.simulator.demo.scenarios import Name, Size


def test_the_storm_is_of_the_size_that_is_promised() -> None:
    storm = scenarios.compose(Name.STORM, Size(), seed=0)
    placed = collections.Counter(node for work in storm.workloads for node in work.nodes)
    late = [node.name for node in storm.nodes if node.joins_after]
    kinds = collections.Counter(sending.kind for sending in storm.sendings)
    assert (len(storm.nodes), storm.events, storm.messages, storm.malformed) == (50, 20, 21, 1)
    assert set(placed.values()) == {10}
    assert len(placed) == 49
    assert len(late) == 1
    assert late[0] in storm.interrupted
    assert len(storm.interrupted) == 21
    assert kinds[Kind.SPOT] > 6
    assert set(kinds) >= {
        *(Kind.REBALANCE, Kind.STOPPING, Kind.SHUTTING_DOWN, Kind.CAPACITY),
        *(Kind.SCHEDULED_CHANGE, Kind.TERMINATION, Kind.MALFORMED),
    }
    assert not storm.blocked_pods
    assert {work.budget is None for work in storm.workloads} == {True, False}


def test_mixed_has_every_kind_every_route_and_one_pod_that_is_never_let_go() -> None:
    mixed = scenarios.compose(Name.MIXED, Size(), seed=0)
    assert {sending.kind for sending in mixed.sendings} == set(Kind)
    assert {sending.route for sending in mixed.sendings} == set(scenario.Route)
    assert mixed.blocked_pods == {"licence-server": 1}
    assert mixed.events == 12


def test_single_is_one_spot_interruption() -> None:
    single = scenarios.compose(Name.SINGLE, Size(), seed=0)
    assert [sending.kind for sending in single.sendings] == [Kind.SPOT]
    assert (len(single.nodes), single.pods) == (3, 30)


@pytest.mark.parametrize("name", Name)
def test_the_same_seed_makes_the_same_scenario(name: Name) -> None:
    first, second, other = (scenarios.compose(name, Size(), seed=seed) for seed in (1, 1, 2))
    assert first == second
    assert first != other


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("name", [Name.SINGLE, Name.STORM])
def test_no_budget_blocks_for_ever_where_nothing_is_to_be_deleted(name: Name, seed: int) -> None:
    made = scenarios.compose(name, Size(pods_per_node=1 + seed), seed=seed)
    assert not any(work.is_blocked for work in made.workloads)


@pytest.mark.parametrize("events", range(1, 30))
def test_a_storm_has_as_many_events_as_are_asked_for(events: int) -> None:
    storm = scenarios.compose(Name.STORM, Size(events=events), seed=events)
    assert storm.events == events
    assert storm.messages == events + 1


@pytest.mark.parametrize(
    ("name", "size", "complaint"),
    [
        (Name.SINGLE, Size(nodes=3, events=3), "only 3 are there"),
        (Name.STORM, Size(nodes=10, events=20), "only 9 are there"),
        (Name.STORM, Size(nodes=21), "only 20 are there"),
        (Name.STORM, Size(nodes=25, pods_per_node=100), "2400 pods need 23"),
        (Name.MIXED, Size(events=11), "12 or more"),
        (Name.MIXED, Size(nodes=2), "only 0 are there"),
        (Name.MIXED, Size(nodes=12), "only 10 are there"),
    ],
)
def test_what_cannot_come_out_right_is_refused(name: Name, size: Size, complaint: str) -> None:
    with pytest.raises(scenario.ImpossibleScenarioError, match=complaint):
        scenarios.compose(name, size, seed=0)


@pytest.mark.parametrize(
    ("budget", "replicas", "least"),
    [
        (Budget(max_unavailable=1), 3, 2),
        (Budget(max_unavailable="25%"), 10, 7),
        (Budget(max_unavailable="100%"), 3, 0),
        (Budget(max_unavailable=5), 3, 0),
        (Budget(min_available="80%"), 11, 9),
        (Budget(min_available=2), 3, 2),
    ],
)
def test_a_budget_needs_what_kubernetes_says(budget: Budget, replicas: int, least: int) -> None:
    assert budget.least(replicas) == least
