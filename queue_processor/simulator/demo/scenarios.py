"""The scenarios there are, made to measure and the same for the same seed."""

import dataclasses
import enum
import itertools
import random
from collections.abc import Callable, Iterator, Mapping

from queue_processor.simulator.demo import layout, scenario
from queue_processor.simulator.demo.scenario import Kind, Route, Sending


class Name(enum.StrEnum):
    """The names of the scenarios."""

    SINGLE = "single"
    STORM = "storm"
    MIXED = "mixed"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How large a scenario is to be; None is as large as it is by itself."""

    nodes: int | None = None
    pods_per_node: int | None = None
    events: int | None = None


# In the order in which a storm takes them up when it has fewer events than these.
_STORM_KINDS = (
    Kind.SPOT,
    Kind.SPOT,  # of the node that joins late
    Kind.TERMINATION,
    Kind.REBALANCE,
    Kind.STOPPING,
    Kind.CAPACITY,
    Kind.SCHEDULED_CHANGE,
    Kind.SHUTTING_DOWN,
)
_LATE_EVENT = 1
_STORM_LATE_SECONDS = 5.0
_FURTHER_KINDS = (*[Kind.SPOT] * 5, Kind.REBALANCE, Kind.STOPPING, Kind.SHUTTING_DOWN)

_MIXED_EVENTS = 12
_MIXED_PRESENT_NODES = 10
# So long ago that a blocked pod with 30 seconds of grace is deleted after five more.
_NEAR_DEADLINE_AGE = 85.0


def compose(name: Name, size: Size, *, seed: int) -> scenario.Scenario:
    """Make a scenario.

    Raises:
        ImpossibleScenarioError: It cannot be played in this size.
    """
    compose_it, usual = _SCENARIOS[name]
    measure = layout.Measure(
        nodes=usual.nodes if size.nodes is None else size.nodes,
        pods_per_node=usual.pods_per_node if size.pods_per_node is None else size.pods_per_node,
        events=usual.events if size.events is None else size.events,
    )
    made = compose_it(measure, random.Random(seed))  # noqa: S311 - the same again, not a secret
    layout.check_room(made)
    return made


def _single(measure: layout.Measure, rng: random.Random) -> scenario.Scenario:
    """Spot interruptions, one unless more are asked for, and nothing else."""
    nodes = layout.nodes(measure.nodes)
    names = [node.name for node in nodes]
    struck = layout.choose(names, measure.events, rng)
    return scenario.Scenario(
        name=Name.SINGLE,
        nodes=nodes,
        workloads=layout.workloads(names, measure.pods_per_node, rng),
        sendings=tuple(Sending(kind=Kind.SPOT, nodes=(name,)) for name in struck),
    )


def _storm(measure: layout.Measure, rng: random.Random) -> scenario.Scenario:
    """Events of all kinds at once, and one malformed message on top of them."""
    kinds = [*_STORM_KINDS[: measure.events]]
    kinds += rng.choices(_FURTHER_KINDS, k=measure.events - len(kinds))
    nodes = layout.nodes(measure.nodes)
    late = nodes[-1:] if measure.events > _LATE_EVENT else ()
    present = [node.name for node in nodes if node not in late]
    counts = [2 if kind is Kind.SCHEDULED_CHANGE else 1 for kind in kinds]
    struck = list(layout.choose(present, sum(counts) - len(late), rng))
    for node in late:
        struck.insert(_LATE_EVENT, node.name)
    named = iter(struck)
    events = (
        Sending(kind=kind, nodes=tuple(itertools.islice(named, count)))
        for kind, count in zip(kinds, counts, strict=True)
    )
    return scenario.Scenario(
        name=Name.STORM,
        nodes=tuple(
            dataclasses.replace(node, joins_after=_STORM_LATE_SECONDS) if node in late else node
            for node in nodes
        ),
        workloads=layout.workloads(present, measure.pods_per_node, rng),
        sendings=(*events, Sending(kind=Kind.MALFORMED, route=Route.QUEUE)),
    )


def _mixed(measure: layout.Measure, rng: random.Random) -> scenario.Scenario:
    """Every kind of event on every route; further events are spot interruptions."""
    further = measure.events - _MIXED_EVENTS
    if further < 0:
        raise scenario.ImpossibleScenarioError(
            f"mixed plays every kind of event: --events has to be {_MIXED_EVENTS} or more"
        )
    *first, launched, late = layout.nodes(max(measure.nodes, 2))
    present = [node.name for node in first]
    struck = layout.choose(present, _MIXED_PRESENT_NODES + further, rng)
    blocked = next(struck)
    # One pod that its budget never lets go, on an instance that goes in half a minute.
    licence_server = scenario.Workload(
        name="licence-server",
        nodes=(blocked,),
        budget=scenario.Budget(max_unavailable=0),
        exit_seconds=1.5,
    )
    return scenario.Scenario(
        name=Name.MIXED,
        nodes=(
            *first,
            dataclasses.replace(launched, joins_after=1.0, ready_after=4.0),
            dataclasses.replace(late, joins_after=3.0),
        ),
        workloads=(
            licence_server,
            *layout.workloads(present, measure.pods_per_node, rng),
        ),
        sendings=(
            Sending(kind=Kind.SPOT, nodes=(blocked,), age=_NEAR_DEADLINE_AGE),
            Sending(kind=Kind.LAUNCH, nodes=(launched.name,)),
            Sending(kind=Kind.SPOT, nodes=(late.name,)),
            *_one_of_each(struck),
            *(Sending(kind=Kind.SPOT, nodes=(name,)) for name in struck),
        ),
    )


def _one_of_each(struck: Iterator[str]) -> Iterator[Sending]:
    joined, terminated = next(struck), next(struck)
    yield Sending(kind=Kind.REBALANCE, nodes=(joined,))
    yield Sending(kind=Kind.SPOT, nodes=(joined,), after=0.5)
    yield Sending(kind=Kind.TERMINATION, nodes=(terminated,))
    # The hook has a notification target of its own, as it had before there were rules.
    yield Sending(kind=Kind.TERMINATION, nodes=(terminated,), route=Route.QUEUE)
    yield Sending(kind=Kind.SPOT, nodes=(next(struck),), copies=2)
    yield Sending(kind=Kind.SPOT, nodes=(next(struck),), route=Route.SNS)
    yield Sending(kind=Kind.CAPACITY, nodes=(next(struck),))
    yield Sending(kind=Kind.SCHEDULED_CHANGE, nodes=(next(struck), next(struck)))
    yield Sending(kind=Kind.STOPPING, nodes=(next(struck),))
    yield Sending(kind=Kind.SHUTTING_DOWN, nodes=(next(struck),))
    yield Sending(kind=Kind.PENDING, route=Route.QUEUE)
    yield Sending(kind=Kind.HOOK_TEST, route=Route.QUEUE)
    yield Sending(kind=Kind.MALFORMED, route=Route.QUEUE)


_Compose = Callable[[layout.Measure, random.Random], scenario.Scenario]
_SCENARIOS: Mapping[Name, tuple[_Compose, layout.Measure]] = {
    Name.SINGLE: (_single, layout.Measure(nodes=3, pods_per_node=10, events=1)),
    Name.STORM: (_storm, layout.Measure(nodes=50, pods_per_node=10, events=20)),
    Name.MIXED: (_mixed, layout.Measure(nodes=16, pods_per_node=6, events=_MIXED_EVENTS)),
}
