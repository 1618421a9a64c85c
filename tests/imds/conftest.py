"""A cluster, the metadata of its nodes, and a terminal."""

import pathlib
from collections.abc import Callable, Iterator

import pytest

from queue_processor.imds import nodes
from queue_processor.simulator.imds.fleet import MetadataFleet
from queue_processor.simulator.kube.cluster import SimulatedCluster
from tests.messages.conftest import Running, Screen, Terminal, ThreadedCluster
from tests.simulator.imds import conftest as simulators
from tests.simulator.imds.conftest import RunningSimulator

GROUP = "imds"
PROTECTED = "queue-processor/protected"


def instance(number: int) -> str:
    return f"i-{number:017x}"


def build(made: SimulatedCluster) -> None:
    """Six nodes of two pools, the last one protected, and pods on the first two."""
    for number in range(6):
        labels = {"pool": "spot" if number % 2 else "on-demand"}
        if number % 2:
            labels["eks.amazonaws.com/capacityType"] = "SPOT"
        if number == 5:
            labels[PROTECTED] = "true"
        made.add_node(f"node-{number}", instance_id=instance(number), labels=labels)
    made.add_replica_set("web", replicas=2, labels={"app": "web"}, nodes=["node-0", "node-1"])


def fleet_of(made: SimulatedCluster) -> MetadataFleet:
    """The metadata of the nodes as they are now."""
    bodies = [made.store.node(f"node-{number}") for number in range(6)]
    return MetadataFleet(nodes.instance_on(node.body) for node in bodies if node is not None)


@pytest.fixture
def cluster(tmp_path: pathlib.Path) -> Iterator[ThreadedCluster]:
    with ThreadedCluster.running(tmp_path, build) as made:
        yield made


@pytest.fixture
def simulator(cluster: ThreadedCluster) -> Iterator[RunningSimulator]:
    """The metadata of the nodes of the cluster."""
    with simulators.running(cluster.do(fleet_of)) as made:
        yield made


@pytest.fixture
def nowhere() -> Terminal:
    """A terminal on a machine where nothing is set up."""
    return Terminal({}, group=GROUP)


@pytest.fixture
def terminal(nowhere: Terminal, cluster: ThreadedCluster) -> Terminal:
    """A terminal of somebody who works with the cluster."""
    nowhere.environment |= cluster.environment()
    return nowhere


@pytest.fixture
def start() -> Iterator[Callable[..., Running]]:
    """Start a command as a process, which ends with the test."""
    started: list[Running] = []

    def starting(*arguments: str, **environment: str) -> Running:
        started.append(Running(arguments, environment, group=GROUP))
        return started[-1]

    yield starting
    for process in started:
        process.close()


@pytest.fixture
def start_on_terminal() -> Iterator[Callable[..., Screen]]:
    """The same on a terminal, on which a person types."""
    started: list[Screen] = []

    def starting(*arguments: str, **environment: str) -> Screen:
        started.append(Screen(arguments, environment, group=GROUP))
        return started[-1]

    yield starting
    for screen in started:
        screen.close()
