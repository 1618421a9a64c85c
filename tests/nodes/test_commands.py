"""`nodes list` and `nodes uncordon`, on nodes that the operator has drained."""

import pathlib
import uuid
from collections.abc import Iterator

import pytest

from queue_processor.domain import drill_ids, nodes
from queue_processor.domain.plan import InstanceResult
from queue_processor.simulator.kube.cluster import SimulatedCluster
from tests.messages.conftest import Screen, Terminal, ThreadedCluster
from tests.messages.held import hold, mark


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

    assert [(row[0], row[1], row[3]) for row in rows] == [
        ("node-0", "spot_interruption", "0"),
        ("node-1", "spot_interruption", "2"),
        ("node-2", "spot_interruption", "0"),
    ]
    assert [row[2] for row in rows] == ["drained", "draining", "drained"]
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


LONG_NAME = "ip-10-0-123-234.eu-central-1.compute.internal"


@pytest.mark.parametrize(("columns", "shown"), [(80, {"drained"}), (50, set[str]())])
def test_the_name_of_a_node_is_whole_in_a_terminal_that_is_narrow(
    cluster: ThreadedCluster, columns: int, shown: set[str]
) -> None:
    def add(made: SimulatedCluster) -> None:
        made.add_node(LONG_NAME, instance_id=f"i-{9:017x}")
        mark(made, LONG_NAME, hold(InstanceResult.DRAINED))

    cluster.do(add)
    screen = Screen(["list"], cluster.environment(), group="nodes", size=(24, columns))
    try:
        assert screen.code == 0
        (row,) = (line for line in screen.text.splitlines() if LONG_NAME in line)
    finally:
        screen.close()
    assert {"drained"} & set(row.split()) == shown
    assert "not shown, because the terminal is too narrow: " in screen.text


def test_names_are_what_other_commands_take(terminal: Terminal) -> None:
    assert terminal("list", "-o", "name").out.splitlines() == ["node-0", "node-1", "node-2"]


def drill_id() -> str:
    return drill_ids.from_random(uuid.uuid4())


def test_all_nodes_that_drills_alone_hold_are_taken_back_once_they_are_drained(
    cluster: ThreadedCluster, terminal: Terminal
) -> None:
    def add_drills(made: SimulatedCluster) -> None:
        drained = InstanceResult.DRAINED
        mark(made, "node-3", hold(drained, seconds=3600, event_id=drill_id()))
        mark(made, "node-4", hold(drained, event_id=drill_id()), hold(drained))
        made.add_node("node-5", instance_id=f"i-{5:017x}")
        mark(made, "node-5", hold(None, seconds=600, event_id=drill_id()))

    cluster.do(add_drills)
    shown = terminal("uncordon", "--all-drills", "--yes")

    assert shown.code == 0
    assert "left out: node-5: being drained until" in shown.err
    assert "its instance may go" not in shown.err
    assert not state_of(cluster, "node-3")[0]
    left = terminal("list", "-o", "json").data()
    assert [node["node"] for node in left] == ["node-0", "node-1", "node-2", "node-4", "node-5"]
    assert [[event["is_drill"] for event in node["events"]] for node in left[3:]] == [
        [True, False],
        [True],
    ]


def test_without_nodes_of_drills_nothing_is_asked(terminal: Terminal) -> None:
    shown = terminal("uncordon", "--all-drills")

    assert shown.code == 0
    assert shown.err.splitlines()[-1] == "no node is held by drills alone"


@pytest.mark.parametrize("arguments", [[], ["node-0", "--all-drills"]])
def test_the_nodes_are_named_or_those_of_drills(terminal: Terminal, arguments: list[str]) -> None:
    shown = terminal("uncordon", *arguments)

    assert shown.code == 2
    assert "name the nodes, or use --all-drills" in shown.line


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


def test_an_event_that_comes_while_the_question_is_open_keeps_its_node(
    cluster: ThreadedCluster,
) -> None:
    drained = InstanceResult.DRAINED
    screen = Screen(["uncordon", "node-0"], cluster.environment(), group="nodes")
    try:
        screen.until("Uncordon 1 nodes?")
        cluster.do(lambda made: mark(made, "node-0", hold(drained), hold(drained, event_id="new")))
        screen.type("y\n")
        assert screen.code == 2
    finally:
        screen.close()
    assert "node-0: another event holds it by now" in screen.text
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
