"""`imds send`: announcements in simulated instance metadata, and never on a protected node."""

import datetime as dt
import json
import socket
import urllib.request
from collections.abc import Callable, Sequence

import pytest

from queue_processor.domain.identifiers import NodeName
from queue_processor.simulator.imds.fleet import MetadataFleet
from tests.imds import conftest
from tests.messages.conftest import Result, Screen, Terminal, ThreadedCluster
from tests.simulator.imds import conftest as simulators
from tests.simulator.imds.conftest import RunningSimulator

SPOT = "spot_interruption"
ACTION = "spot/instance-action"


class Sender:
    """Sends to the simulator, and looks at what it has."""

    def __init__(self, terminal: Terminal, simulator: RunningSimulator) -> None:
        self._terminal = terminal
        self._simulator = simulator

    def run(self, *arguments: str, **variables: str) -> Result:
        """Run the command."""
        return self._terminal("send", *arguments, "--server", self._simulator.url, **variables)

    def value(self, node: int, path: str) -> str | None:
        """Return the value that a node has."""
        return self._simulator.fleet.bodies_of(NodeName(f"node-{node}")).get(path)

    def interrupted(self) -> list[int]:
        """The nodes with a Spot interruption."""
        return [node for node in range(6) if self.value(node, ACTION) is not None]


@pytest.fixture
def sender(terminal: Terminal, simulator: RunningSimulator) -> Sender:
    return Sender(terminal, simulator)


class TestWhatIsAnnounced:
    def test_a_spot_interruption_in_two_minutes(self, sender: Sender) -> None:
        began = dt.datetime.now(dt.UTC)
        result = sender.run(SPOT, "--node", "node-0", "--yes", "-o", "json")

        body = json.loads(sender.value(0, ACTION) or "")
        at = dt.datetime.fromisoformat(body["time"])
        assert result.code == 0
        assert body["action"] == "terminate"
        assert dt.timedelta(seconds=119) <= at - began <= dt.timedelta(seconds=180)
        assert result.data() == {
            "server": result.data()["server"],
            "kind": SPOT,
            "sent": [
                {
                    "instance": conftest.instance(0),
                    "node": "node-0",
                    "announced": body["time"],
                }
            ],
            "refused": [],
            "unconfirmed": [],
            "left": [],
        }

    def test_a_stop_at_another_time(self, sender: Sender) -> None:
        sender.run(SPOT, "--node", "node-0", "--action", "stop", "--in", "1h", "--yes")

        body = json.loads(sender.value(0, ACTION) or "")
        at = dt.datetime.fromisoformat(body["time"])
        assert body["action"] == "stop"
        assert at > dt.datetime.now(dt.UTC) + dt.timedelta(minutes=50)

    def test_a_rebalance_recommendation_and_a_termination(self, sender: Sender) -> None:
        sender.run("rebalance_recommendation", "--node", "node-0", "--yes")
        sender.run("autoscaling_termination", "--node", "node-0", "--yes")

        assert '"noticeTime"' in (sender.value(0, "events/recommendations/rebalance") or "")
        assert sender.value(0, "autoscaling/target-lifecycle-state") == "Terminated"

    def test_a_scheduled_change_that_is_cancelled(self, sender: Sender) -> None:
        announced = sender.run("scheduled_change", "--node", "node-0", "--in", "2h", "--yes")
        listed = json.loads(sender.value(0, "events/maintenance/scheduled") or "")
        cancelled = sender.run("scheduled_change", "--node", "node-0", "--cancel", "--yes")

        assert (announced.code, cancelled.code) == (0, 0)
        assert sender.value(0, "events/maintenance/scheduled") == "[]"
        (over,) = json.loads(sender.value(0, "events/maintenance/history") or "")
        assert (over["EventId"], over["State"]) == (listed[0]["EventId"], "canceled")
        assert "no pod moves, the action is uncordon" in cancelled.err

    def test_people_get_a_table(self, sender: Sender) -> None:
        result = sender.run(SPOT, "--node", "node-1", "--yes")

        rows = [line.split() for line in result.out.splitlines() if " node-1 " in line]
        assert [(row[0], row[-1]) for row in rows] == [("node-1", conftest.instance(1))]
        assert result.out.splitlines()[-1].startswith("1 spot_interruption events sent to http://")


class TestWhichNodes:
    def test_a_selector_leaves_the_protected_node_out(self, sender: Sender) -> None:
        result = sender.run(SPOT, "-l", "pool=spot", "--yes")

        assert sender.interrupted() == [1, 3]
        assert "left out, by the label queue-processor/protected: node-5" in result.err

    def test_a_storm_is_spread_over_the_nodes(self, sender: Sender) -> None:
        sender.run(SPOT, "-l", "pool", "--storm", "2", "--spread", "0.2s", "--yes")

        assert sender.interrupted() == [0, 2]

    def test_a_protected_node_that_is_named_is_refused(self, sender: Sender) -> None:
        result = sender.run(SPOT, "--node", "node-0", "--node", "node-5", "--yes")

        assert result.code == 2
        assert "node-5: protected by the label queue-processor/protected" in result.line
        assert sender.interrupted() == []

    def test_the_server_refuses_a_protected_node_too(
        self, simulator: RunningSimulator, nowhere: Terminal
    ) -> None:
        """A sender that looks at no cluster does not see the label."""
        result = nowhere(
            "send", SPOT, "--node", "node-5", "--offline", "--yes", "--server", simulator.url
        )

        assert result.code == 1
        assert "node-5 was refused: protected by the label queue-processor/protected" in result.err
        assert simulator.lines == []

    def test_a_server_of_another_cluster_is_noticed(self, terminal: Terminal) -> None:
        with simulators.running() as other:
            result = terminal("send", SPOT, "--node", "node-0", "--yes", "--server", other.url)

        assert result.code == 1
        assert "the cluster of `imds serve` has no such node" in result.err
        assert other.lines == []


class TestQuestion:
    def test_the_pods_that_move_are_named(self, sender: Sender) -> None:
        result = sender.run(SPOT, "--node", "node-0")

        assert result.code == 2
        assert result.err.splitlines()[2].startswith(f"node-0 ({conftest.instance(0)}): ")
        assert "Send 1 spot_interruption events to http://127.0.0.1:" in result.err
        assert result.err.splitlines()[-1].endswith("stdin is not a terminal: confirm with --yes")
        assert sender.interrupted() == []

    @pytest.mark.parametrize(("key", "interrupted"), [("y", [0]), ("n", [])])
    def test_a_person_at_a_terminal_decides(
        self,
        start_on_terminal: Callable[..., Screen],
        sender: Sender,
        cluster: ThreadedCluster,
        simulator: RunningSimulator,
        key: str,
        interrupted: list[int],
    ) -> None:
        screen = start_on_terminal(
            "send", SPOT, "--node", "node-0", "--server", simulator.url, **cluster.environment()
        )
        screen.until("[y/N]")
        screen.type(f"{key}\n")

        assert screen.code == (0 if interrupted else 1)
        assert sender.interrupted() == interrupted

    def test_a_dry_run_prints_what_would_be_answered(self, sender: Sender) -> None:
        result = sender.run(SPOT, "--node", "node-0", "--dry-run")

        assert result.code == 0
        assert json.loads(result.out)["action"] == "terminate"
        assert result.err.splitlines()[-1].startswith("1 would be sent to http://")
        assert sender.interrupted() == []

    def test_a_kind_that_the_settings_ignore(self, sender: Sender) -> None:
        result = sender.run(
            SPOT,
            "--node",
            "node-0",
            "--dry-run",
            QUEUE_PROCESSOR_ACTIONS__SPOT_INTERRUPTION="ignore",
        )

        assert "no pod moves, the action is ignore" in result.err


class TestOffline:
    def test_the_machine_itself_can_be_interrupted(self, nowhere: Terminal) -> None:
        """A script on a laptop polls the server without the name of a node."""
        with simulators.running(MetadataFleet()) as simulator:
            order = ("send", SPOT, "--node", "127.0.0.1", "--offline", "--server", simulator.url)
            result = nowhere(*order, "--yes", "-o", "json")

            path = f"{simulator.url}/latest/meta-data/{ACTION}"
            with urllib.request.urlopen(path, timeout=60) as response:  # noqa: S310 - our server
                body = json.load(response)
        assert result.data() == {
            "server": simulator.url,
            "kind": SPOT,
            "sent": [{"node": "127.0.0.1", "announced": body["time"]}],
            "refused": [],
        }

    def test_it_asks_and_a_dry_run_does_nothing(self, nowhere: Terminal) -> None:
        with simulators.running(MetadataFleet()) as simulator:
            order = ("send", SPOT, "--node", "a", "--offline", "--server", simulator.url)
            unanswered = nowhere(*order)
            dry = nowhere(*order, "--dry-run")

        assert unanswered.code == 2
        assert f"Announce {SPOT} to 1 nodes of {simulator.url}?" in unanswered.line
        assert dry.line == f"{SPOT} would be announced to 1 nodes of {simulator.url}: a"
        assert simulator.lines == []

    def test_what_is_refused_has_a_line(self, nowhere: Terminal) -> None:
        with simulators.running(MetadataFleet()) as simulator:
            result = nowhere(
                "send", "scheduled_change", "--cancel", "--node", "a", "--node", "b", "--offline",
                "--yes", "--server", simulator.url,
            )  # fmt: skip

        assert result.code == 1
        assert result.err.splitlines() == [
            f"{name} was refused: no scheduled change to cancel" for name in "ab"
        ]


class TestWrongUsage:
    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            ([SPOT], "name the nodes in one way: --instance, --node or --selector"),
            ([SPOT, "--node", "a", "-l", "b"], "name the nodes in one way"),
            ([SPOT, "-l", "a b"], "'a b' is not a label requirement"),
            ([SPOT, "--offline"], "--offline looks at no cluster: name the nodes with --node"),
            ([SPOT, "--offline", "-l", "a"], "--offline looks at no cluster: name the nodes"),
            ([SPOT, "--offline", "--node", "a/b"], "--node: 'a/b' is not the name of a node"),
            ([SPOT, "--node", "a", "--in", "soon"], "'soon' is not a time such as 30s"),
            ([SPOT, "--node", "a", "--spread", "4 weeks"], "'4 weeks' is not a time"),
            ([SPOT, "--node", "a", "--cancel"], "EC2 never cancels a spot_interruption"),
            (
                ["state_change", "--node", "a"],
                "instance metadata announces no state_change; it has",
            ),
            (["rebalance_recommendation", "--node", "a", "--in", "1s"], "a time is for a spot_"),
            (["scheduled_change", "--node", "a", "--action", "stop"], "scheduled_change has no"),
            (
                [SPOT, "--node", "a", "--server", "https://a"],
                "--server: 'https://a' is not the URL",
            ),
            ([SPOT, "--node", "a", "--server", "http://a:70000"], "is not the URL of a simulator"),
        ],
    )
    def test_a_wrong_argument_is_one_line(
        self, nowhere: Terminal, arguments: Sequence[str], expected: str
    ) -> None:
        result = nowhere("send", *arguments)

        assert result.code == 2
        assert expected in result.line

    def test_a_server_that_does_not_run_is_one_line(self, nowhere: Terminal) -> None:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        result = nowhere("send", SPOT, "--node", "a", "--offline", "--yes", "--server", url)

        assert result.code == 1
        assert result.line.startswith(
            f"send: nothing listens on {url}: start `queue-processor imds"
        )

    def test_another_server_is_one_line(self, nowhere: Terminal, cluster: ThreadedCluster) -> None:
        url = json.loads(cluster.kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
        result = nowhere("send", SPOT, "--node", "a", "--offline", "--yes", "--server", url)

        assert result.code == 1
        assert result.line.startswith(f"send: {url} is no `queue-processor imds serve` of this")

    def test_without_a_cluster_nothing_is_sent(self, nowhere: Terminal) -> None:
        result = nowhere("send", SPOT, "--node", "a", "--yes")

        assert result.code == 1
        assert result.line.startswith("send: no Kubernetes cluster: ")

    def test_the_help_has_examples(self, nowhere: Terminal) -> None:
        text = nowhere("send", "--help").out

        assert "send spot_interruption -l pool=spot --storm 20 --spread 30s" in text
