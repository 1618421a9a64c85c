"""The scenarios, built to size; the same seed builds the same scenario again."""

import dataclasses
import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence

from queue_processor.domain.events import EventKind, InstanceState
from queue_processor.simulator.demo.scenario import (
    Budget,
    DeliveryRoute,
    ImpossibleScenarioError,
    Noise,
    PlannedMessage,
    PlannedNode,
    Scenario,
    Workload,
)

# The kubelet's default.
PODS_PER_NODE = 110
# One pod of the DaemonSet runs on every node.
_PLACES_PER_NODE = PODS_PER_NODE - 1
_ZONES = ("us-east-1a", "us-east-1b", "us-east-1c")
_PURPOSES = ("api", "web", "worker", "search", "billing", "cache", "mail", "auth")

# Budgets in turn, with the range of replicas of the workloads that get them. Small workloads
# allow one eviction at a time, so that evictions are refused; large ones allow a share.
_BUDGETS: Sequence[tuple[Budget | None, int, int]] = (
    (Budget(max_unavailable=1), 3, 5),
    (Budget(min_available="80%"), 15, 30),
    (None, 10, 25),
    (Budget(max_unavailable=1), 3, 5),
    (Budget(max_unavailable="25%"), 12, 40),
    (Budget(min_available="75%"), 8, 24),
)

_SPOT = PlannedMessage(EventKind.SPOT_INTERRUPTION)
_REBALANCE = PlannedMessage(EventKind.REBALANCE_RECOMMENDATION)
_CAPACITY = PlannedMessage(EventKind.CAPACITY_RESERVATION_INTERRUPTION)
_SCHEDULED_CHANGE = PlannedMessage(EventKind.SCHEDULED_CHANGE)
_TERMINATION = PlannedMessage(EventKind.AUTOSCALING_TERMINATION)
_LAUNCH = PlannedMessage(EventKind.AUTOSCALING_LAUNCH)
_STOPPING = PlannedMessage(EventKind.STATE_CHANGE, state=InstanceState.STOPPING)
_SHUTTING_DOWN = PlannedMessage(EventKind.STATE_CHANGE, state=InstanceState.SHUTTING_DOWN)

# In the order in which a storm of fewer events takes them.
_STORM = (
    _SPOT,
    _SPOT,  # of the node that joins late
    _TERMINATION,
    _REBALANCE,
    _STOPPING,
    _CAPACITY,
    _SCHEDULED_CHANGE,
    _SHUTTING_DOWN,
)
_LATE_EVENT = 1
_STORM_LATE_SECONDS = 5.0
_FURTHER = (*[_SPOT] * 5, _REBALANCE, _STOPPING, _SHUTTING_DOWN)

# A rebalance recommendation and a Spot interruption name the same node.
_IMDS = (_REBALANCE, _SPOT, _SPOT, _SCHEDULED_CHANGE, _TERMINATION)
_BOTH_WAYS_SECONDS = 0.3

_MIXED_EVENTS = 12
_MIXED_PRESENT_NODES = 10
# So long ago that a blocked pod with 30 seconds of grace is deleted after five more.
_NEAR_DEADLINE_AGE = 85.0


def compose(
    name: str,
    *,
    seed: int,
    nodes: int | None = None,
    pods_per_node: int | None = None,
    events: int | None = None,
) -> Scenario:
    """Build a scenario, in its default size where none is requested.

    Raises:
        ImpossibleScenarioError: It cannot be played in this size.
    """
    build, default_nodes, default_pods, default_events = _SCENARIOS[name]
    scenario = build(
        nodes or default_nodes,
        pods_per_node or default_pods,
        events or default_events,
        random.Random(seed),  # noqa: S311 - reproducible, not a secret
    )
    _check_room(scenario)
    return dataclasses.replace(scenario, seed=seed)


def make_nodes(count: int) -> tuple[PlannedNode, ...]:
    """Make nodes, spread over three zones."""
    return tuple(
        PlannedNode(name=f"node-{number:03}", zone=zone)
        for number, zone in zip(range(1, count + 1), itertools.cycle(_ZONES), strict=False)
    )


def interrupt(names: Sequence[str]) -> tuple[PlannedMessage, ...]:
    """Plan a Spot interruption for each of the nodes, all at once."""
    return tuple(dataclasses.replace(_SPOT, nodes=(name,)) for name in names)


def _single(node_count: int, pods_per_node: int, event_count: int, rng: random.Random) -> Scenario:
    """Plan Spot interruptions, one by default, and nothing else."""
    nodes = make_nodes(node_count)
    names = [node.name for node in nodes]
    struck = _choose(names, event_count, rng)
    return Scenario(
        name="single",
        nodes=nodes,
        workloads=_workloads(names, pods_per_node, rng),
        messages=interrupt(list(struck)),
    )


def _storm(node_count: int, pods_per_node: int, event_count: int, rng: random.Random) -> Scenario:
    """Plan events of many kinds at once, and one malformed message."""
    events = [*_STORM[:event_count]]
    events += rng.choices(_FURTHER, k=event_count - len(events))
    nodes = make_nodes(node_count)
    late = nodes[-1:] if event_count > _LATE_EVENT else ()
    present = [node.name for node in nodes if node not in late]
    counts = [2 if event == _SCHEDULED_CHANGE else 1 for event in events]
    struck = list(_choose(present, sum(counts) - len(late), rng))
    for node in late:
        struck.insert(_LATE_EVENT, node.name)
    remaining = iter(struck)
    return Scenario(
        name="storm",
        nodes=tuple(
            dataclasses.replace(node, joins_after=_STORM_LATE_SECONDS) if node in late else node
            for node in nodes
        ),
        workloads=_workloads(present, pods_per_node, rng),
        messages=(
            *(
                dataclasses.replace(event, nodes=tuple(itertools.islice(remaining, count)))
                for event, count in zip(events, counts, strict=True)
            ),
            PlannedMessage(Noise.MALFORMED, route=DeliveryRoute.QUEUE),
        ),
    )


def _mixed(node_count: int, pods_per_node: int, event_count: int, rng: random.Random) -> Scenario:
    """Plan every kind of event on every route; further events are Spot interruptions."""
    further = event_count - _MIXED_EVENTS
    if further < 0:
        raise ImpossibleScenarioError(
            f"mixed plays every kind of event: --events has to be {_MIXED_EVENTS} or more"
        )
    *first, launched, late = make_nodes(max(node_count, 2))
    present = [node.name for node in first]
    struck = _choose(present, _MIXED_PRESENT_NODES + further, rng)
    blocked = next(struck)
    # One pod that its budget never lets go, on an instance that goes in half a minute.
    licence_server = Workload(
        name="licence-server",
        nodes=(blocked,),
        budget=Budget(max_unavailable=0),
        exit_seconds=1.5,
    )
    return Scenario(
        name="mixed",
        nodes=(
            *first,
            dataclasses.replace(launched, joins_after=1.0, ready_after=4.0),
            dataclasses.replace(late, joins_after=3.0),
        ),
        workloads=(licence_server, *_workloads(present, pods_per_node, rng)),
        messages=(
            dataclasses.replace(_SPOT, nodes=(blocked,), age=_NEAR_DEADLINE_AGE),
            dataclasses.replace(_LAUNCH, nodes=(launched.name,)),
            dataclasses.replace(_SPOT, nodes=(late.name,)),
            *_one_of_each(struck),
            *interrupt(list(struck)),
        ),
    )


def _imds(node_count: int, pods_per_node: int, event_count: int, rng: random.Random) -> Scenario:
    """Plan what instance metadata announces, without a queue."""
    names = [node.name for node in make_nodes(node_count)]
    events = [*_IMDS[:event_count], *[_SPOT] * (event_count - len(_IMDS))]
    struck = list(_choose(names, max(event_count - 1, 1), rng))
    return Scenario(
        name="imds",
        nodes=make_nodes(node_count),
        workloads=_workloads(names, pods_per_node, rng),
        messages=tuple(
            dataclasses.replace(
                event,
                nodes=(struck[max(number - 1, 0)],),
                after=_BOTH_WAYS_SECONDS if number == 1 else 0.0,
                route=DeliveryRoute.METADATA,
            )
            for number, event in enumerate(events)
        ),
    )


def _mixed_sources(
    node_count: int, pods_per_node: int, event_count: int, rng: random.Random
) -> Scenario:
    """Plan Spot interruptions, each by the queue and by a notice, and either of them first."""
    names = [node.name for node in make_nodes(node_count)]
    pairs = itertools.product(_choose(names, event_count, rng), ("queue", "notice"))
    messages = []
    for number, (name, source) in enumerate(pairs):
        is_notice = source == "notice"
        is_later = number % 4 in {1, 2}
        messages.append(
            dataclasses.replace(
                _SPOT,
                nodes=(name,),
                after=_BOTH_WAYS_SECONDS if is_later else 0.0,
                route=DeliveryRoute.METADATA if is_notice else DeliveryRoute.RULES,
            )
        )
    return Scenario(
        name="mixed-sources",
        nodes=make_nodes(node_count),
        workloads=_workloads(names, pods_per_node, rng),
        messages=tuple(messages),
    )


def _one_of_each(struck: Iterator[str]) -> Iterator[PlannedMessage]:
    joined, terminated = next(struck), next(struck)
    yield dataclasses.replace(_REBALANCE, nodes=(joined,))
    yield dataclasses.replace(_SPOT, nodes=(joined,), after=0.5)
    yield dataclasses.replace(_TERMINATION, nodes=(terminated,))
    # The hook has a notification target of its own, as it had before there were rules.
    yield dataclasses.replace(_TERMINATION, nodes=(terminated,), route=DeliveryRoute.QUEUE)
    yield dataclasses.replace(_SPOT, nodes=(next(struck),), copies=2)
    yield dataclasses.replace(_SPOT, nodes=(next(struck),), route=DeliveryRoute.SNS)
    yield dataclasses.replace(_CAPACITY, nodes=(next(struck),))
    yield dataclasses.replace(_SCHEDULED_CHANGE, nodes=(next(struck), next(struck)))
    yield dataclasses.replace(_STOPPING, nodes=(next(struck),))
    yield dataclasses.replace(_SHUTTING_DOWN, nodes=(next(struck),))
    for noise in Noise:
        yield PlannedMessage(noise, route=DeliveryRoute.QUEUE)


def _workloads(
    nodes: Sequence[str], pods_per_node: int, rng: random.Random
) -> tuple[Workload, ...]:
    """Fill the nodes; the replicas of a workload run on different nodes if they can."""
    places = [name for _ in range(pods_per_node) for name in rng.sample(nodes, len(nodes))]
    workloads = []
    for number, (budget, fewest, most) in enumerate(itertools.cycle(_BUDGETS)):
        if not places:
            break
        replicas = min(rng.randint(fewest, most), len(places))
        workload = Workload(
            name=f"{_PURPOSES[number % len(_PURPOSES)]}-{number // len(_PURPOSES) + 1}",
            nodes=tuple(places[:replicas]),
            budget=budget,
            startup_seconds=round(rng.uniform(0.5, 1.5), 2),
            exit_seconds=round(rng.uniform(0.5, 3.0), 2),
        )
        # The last one may be too small for a share of it to go.
        is_blocked = workload.is_blocked
        workloads.append(dataclasses.replace(workload, budget=None) if is_blocked else workload)
        del places[:replicas]
    return tuple(workloads)


def _choose(nodes: Sequence[str], count: int, rng: random.Random) -> Iterator[str]:
    """Choose the nodes that are interrupted, but not all of them."""
    if count >= len(nodes):
        raise ImpossibleScenarioError(
            f"the events interrupt {count} nodes, and only {len(nodes)} are there: ask for more"
            " --nodes or fewer --events"
        )
    return iter(rng.sample(nodes, count))


def _check_room(scenario: Scenario) -> None:
    """Check that the nodes that stay have room for every pod."""
    staying = len(scenario.nodes) - len(scenario.interrupted)
    needed = -(-scenario.pod_count // _PLACES_PER_NODE)
    if staying < needed:
        raise ImpossibleScenarioError(
            f"the events leave {staying} of {len(scenario.nodes)} nodes, and"
            f" {scenario.pod_count} pods need {needed}: ask for fewer --events or"
            " --pods-per-node, or more --nodes"
        )


_Builder = Callable[[int, int, int, random.Random], Scenario]
# How to build each, and how many nodes, pods on a node, and events it has by default.
_SCENARIOS: Mapping[str, tuple[_Builder, int, int, int]] = {
    "single": (_single, 3, 10, 1),
    "storm": (_storm, 50, 10, 20),
    "mixed": (_mixed, 16, 6, _MIXED_EVENTS),
    "imds": (_imds, 24, 8, 10),
    "mixed-sources": (_mixed_sources, 24, 8, 8),
}
