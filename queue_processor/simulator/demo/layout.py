"""The cluster of a scenario: nodes over zones, and workloads spread over the nodes."""

import dataclasses
import itertools
import random
from collections.abc import Iterator, Sequence

from queue_processor.simulator.demo import scenario

# What a kubelet takes unless it is told otherwise.
PODS_PER_NODE = 110
# One pod of the DaemonSet runs on every node.
_PLACES_PER_NODE = PODS_PER_NODE - 1
_ZONES = ("us-east-1a", "us-east-1b", "us-east-1c")
_PURPOSES = ("api", "web", "worker", "search", "billing", "cache", "mail", "auth")

# Budgets in turn, with the sizes of the workloads that have them. Small workloads let one pod go
# at a time, so that evictions are refused; large ones a share.
_BUDGETS: Sequence[tuple[scenario.Budget | None, int, int]] = (
    (scenario.Budget(max_unavailable=1), 3, 5),
    (scenario.Budget(min_available="80%"), 15, 30),
    (None, 10, 25),
    (scenario.Budget(max_unavailable=1), 3, 5),
    (scenario.Budget(max_unavailable="25%"), 12, 40),
    (scenario.Budget(min_available="75%"), 8, 24),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Measure:
    """How large a scenario is."""

    nodes: int
    pods_per_node: int
    events: int


def nodes(count: int) -> tuple[scenario.NodePart, ...]:
    """Make nodes, spread over three zones."""
    return tuple(
        scenario.NodePart(name=f"node-{number:03}", zone=zone)
        for number, zone in zip(range(1, count + 1), itertools.cycle(_ZONES), strict=False)
    )


def workloads(
    names: Sequence[str], pods_per_node: int, rng: random.Random
) -> tuple[scenario.Workload, ...]:
    """Fill the nodes with workloads; the replicas of each run on different nodes, if they can."""
    places = [name for _ in range(pods_per_node) for name in rng.sample(names, len(names))]
    made = []
    for number, (budget, least, most) in enumerate(itertools.cycle(_BUDGETS)):
        if not places:
            break
        size = min(rng.randint(least, most), len(places))
        made.append(_workload(number, tuple(places[:size]), budget, rng))
        del places[:size]
    return tuple(made)


def _workload(
    number: int, where: tuple[str, ...], budget: scenario.Budget | None, rng: random.Random
) -> scenario.Workload:
    made = scenario.Workload(
        name=f"{_PURPOSES[number % len(_PURPOSES)]}-{number // len(_PURPOSES) + 1}",
        nodes=where,
        budget=budget,
        startup_seconds=round(rng.uniform(0.5, 1.5), 2),
        exit_seconds=round(rng.uniform(0.5, 3.0), 2),
    )
    # What is left over at the end may be too small for a share of it to go.
    return dataclasses.replace(made, budget=None) if made.is_blocked else made


def choose(names: Sequence[str], count: int, rng: random.Random) -> Iterator[str]:
    """Choose the nodes that are interrupted.

    Raises:
        ImpossibleScenarioError: No node would be left.
    """
    if count >= len(names):
        raise scenario.ImpossibleScenarioError(
            f"the events interrupt {count} nodes, and only {len(names)} are there: ask for more"
            " --nodes or fewer --events"
        )
    return iter(rng.sample(names, count))


def check_room(made: scenario.Scenario) -> None:
    """Make sure that every pod finds a place on the nodes that stay.

    Raises:
        ImpossibleScenarioError: One does not.
    """
    staying = len(made.nodes) - len(made.interrupted)
    needed = -(-made.pods // _PLACES_PER_NODE)
    if staying < needed:
        raise scenario.ImpossibleScenarioError(
            f"the events leave {staying} of {len(made.nodes)} nodes, and {made.pods} pods need"
            f" {needed}: ask for fewer --events or --pods-per-node, or more --nodes"
        )
