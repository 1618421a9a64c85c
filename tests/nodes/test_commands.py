"""`nodes list` and `nodes uncordon`, on nodes that the operator has drained."""

import datetime as dt
import pathlib
from collections.abc import Iterator

import pytest

from queue_processor.adapters.kube import marks
from queue_processor.domain import nodes
from queue_processor.domain.deadlines import Deadline
from queue_processor.domain.events import EventKind
from queue_processor.domain.holds import Hold
from queue_processor.domain.plan import Action, InstanceResult
from queue_processor.simulator.kube.cluster import SimulatedCluster
from tests.messages.conftest import Terminal, ThreadedCluster


def hold(result: InstanceResult | None, *, seconds: int = -60) -> Hold:
    """A Spot interruption whose deadline is so many seconds from now."""
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    return Hold(
        id="hold-1",
        event_id="event-1",
        kind=EventKind.SPOT_INTERRUPTION,
        action=Action.CORDON_AND_DRAIN,
        occurred_at=now - dt.timedelta(seconds=120),
        since=now - dt.timedelta(seconds=119),
        deadline=Deadline(at=now + dt.timedelta(seconds=seconds), is_hard=True),
        result=result,
    )


def mark(made: SimulatedCluster, name: str, held: Hold, *, was_cordoned: bool = False) -> None:
    """Put on a node what the operator puts there."""
    node = made.store.node(name)
    assert node is not None
    ours = {} if was_cordoned else {nodes.CORDONED_ANNOTATION: "true"}
    annotations = {
        **marks.holds_annotation([held]),
        nodes.EXCLUDED_ANNOTATION: "true",
        nodes.KIND_ANNOTATION: held.kind.value,
        **ours,
    }
    metadata = {
        **node.metadata,
        "annotations": {**node.metadata.get("annotations", {}), **annotations},
        "labels": {
            **node.metadata.get("labels", {}),
            nodes.EXCLUDE_FROM_LOAD_BALANCERS_LABEL: "true",
            "team": "a",
        },
    }
    taints = [
        {"key": "team", "value": "a", "effect": "NoSchedule"},
        {"key": nodes.taint_key(held.kind), "effect": "NoSchedule"},
    ]
    spec = {**node.spec, "unschedulable": True, "taints": taints}
    made.store.update(node, node.body | {"metadata": metadata, "spec": spec})


def build(made: SimulatedCluster) -> None:
    for number in range(5):
        made.add_node(f"node-{number}", instance_id=f"i-{number:017x}")
    made.add_replica_set("web", replicas=2, labels={"app": "web"}, nodes=["node-1", "node-1"])
    mark(made, "node-0", hold(InstanceResult.DRAINED))
    mark(made, "node-1", hold(None, seconds=600))
    mark(made, "node-2", hold(InstanceResult.DRAINED, seconds=3600), was_cordoned=True)


@pytest.fixture
def cluster(tmp_path: pathlib.Path) -> Iterator[ThreadedCluster]:
    with ThreadedCluster.running(tmp_path, build) as made:
        yield made


@pytest.fixture
def terminal(cluster: ThreadedCluster) -> Terminal:
    return Terminal(cluster.environment(), group="nodes")


def state_of(
    cluster: ThreadedCluster, name: str
) -> tuple[bool, list[str], dict[str, str], list[str]]:
    """Return whether a node is cordoned, its taints, and what of ours is in its metadata."""

    def read(made: SimulatedCluster) -> tuple[bool, list[str], dict[str, str], list[str]]:
        node = made.store.node(name)
        assert node is not None
        ours = [key for key in node.metadata.get("annotations", {}) if "queue-processor" in key]
        return (
            bool(node.spec.get("unschedulable")),
            # That of a cordon comes and goes with it, by the control plane.
            [
                taint["key"]
                for taint in node.spec.get("taints") or []
                if taint["key"] != "node.kubernetes.io/unschedulable"
            ],
            node.metadata.get("labels", {}),
            ours,
        )

    return cluster.do(read)


def test_held_nodes_are_listed_with_event_times_state_and_pods(terminal: Terminal) -> None:
    shown = terminal("list")
    rows = [line.split() for line in shown.out.splitlines() if line.strip().startswith("node-")]

    assert [(row[0], row[1], row[-1]) for row in rows] == [
        ("node-0", "spot_interruption", "0"),
        ("node-1", "spot_interruption", "2"),
        ("node-2", "spot_interruption", "0"),
    ]
    assert [row[6] for row in rows] == ["drained", "draining", "drained"]
    data = terminal("list", "--output", "json").data()
    assert [node["node"] for node in data] == ["node-0", "node-1", "node-2"]
    assert [node["was_cordoned_before"] for node in data] == [False, False, True]
    assert data[0]["events"][0]["event_id"] == "event-1"


def test_a_node_is_taken_back_with_exactly_what_was_not_ours(
    cluster: ThreadedCluster, terminal: Terminal
) -> None:
    shown = terminal("uncordon", "node-0", "node-2", "--yes")

    assert shown.code == 0
    for name, is_cordoned in (("node-0", False), ("node-2", True)):
        unschedulable, taints, labels, annotations = state_of(cluster, name)
        assert (unschedulable, taints, annotations) == (is_cordoned, ["team"], [])
        assert labels["team"] == "a"
        assert nodes.EXCLUDE_FROM_LOAD_BALANCERS_LABEL not in labels
    assert "it was cordoned before, and stays so" in shown.err
    assert "its instance may go at" in shown.err
    assert [node["node"] for node in terminal("list", "--output", "json").data()] == ["node-1"]


@pytest.mark.parametrize("arguments", [["--dry-run"], []], ids=["dry run", "no terminal"])
def test_nothing_is_changed_without_a_yes(
    cluster: ThreadedCluster, terminal: Terminal, arguments: list[str]
) -> None:
    before = state_of(cluster, "node-0")
    shown = terminal("uncordon", "node-0", *arguments)

    assert shown.err.startswith("cluster: http://127.0.0.1:")
    assert "node-0: takes off the cordon, the taint of spot_interruption" in shown.err
    assert shown.code == (0 if arguments else 2)
    assert state_of(cluster, "node-0") == before


@pytest.mark.parametrize(
    ("name", "problem"),
    [("node-1", "being drained until"), ("node-3", "not held"), ("node-9", "not held")],
)
def test_a_node_that_cannot_be_taken_back_stops_the_command(
    cluster: ThreadedCluster, terminal: Terminal, name: str, problem: str
) -> None:
    shown = terminal("uncordon", "node-0", name, "--yes")

    assert shown.code == 2
    assert problem in shown.line
    assert state_of(cluster, "node-0")[0]


def test_a_cluster_without_held_nodes_says_so(cluster: ThreadedCluster, terminal: Terminal) -> None:
    for name in ("node-0", "node-1", "node-2"):
        cluster.do(lambda made, name=name: made.remove_node(name))  # type: ignore[misc]
    assert terminal("list").line == "no node is held"


def test_without_a_cluster_the_error_is_a_line() -> None:
    nowhere = Terminal({}, group="nodes")
    shown = nowhere("list")

    assert shown.code == 1
    assert "KUBECONFIG" in shown.line
