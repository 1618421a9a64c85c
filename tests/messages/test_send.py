"""`messages send`: the events of AWS for a drill, and never about a protected node."""

import copy
import dataclasses
import datetime as dt
import json
import re
import time
from collections.abc import Sequence

import pytest
import yaml

from queue_processor.domain import parsing
from queue_processor.domain.events import EventKind, InstanceState, InterruptionEvent
from queue_processor.domain.plan import InstanceResult
from queue_processor.simulator.kube import api
from queue_processor.simulator.kube.cluster import SimulatedCluster
from tests.messages.conftest import CliHarness, Running, Terminal, ThreadedCluster
from tests.messages.held import hold, mark

MARK = "queue-processor.sent"
PROTECTED = "queue-processor/protected"
NOT_A_NODE = "i-0fedcba9876543210"
LIFECYCLE = ("--group", "web", "--hook", "drain")
# What each kind needs to be expected.
OPTIONS = {
    EventKind.STATE_CHANGE: ("--state", "stopping"),
    EventKind.AUTOSCALING_TERMINATION: LIFECYCLE,
    EventKind.AUTOSCALING_LAUNCH: LIFECYCLE,
}
SPOT = EventKind.SPOT_INTERRUPTION.value


def instance(number: int) -> str:
    return f"i-{number:017x}"


def build(made: SimulatedCluster) -> None:
    """Six nodes of two pools, the last one protected, and pods of every sort on the first."""
    for number in range(6):
        labels = {"pool": "spot" if number % 2 else "on-demand"}
        if number == 5:
            labels[PROTECTED] = "true"
        made.add_node(f"node-{number}", instance_id=instance(number), labels=labels)
    made.add_replica_set("web", replicas=2, labels={"app": "web"}, nodes=["node-0", "node-1"])
    made.add_pod("bare", node="node-0")
    made.add_pod("static", namespace="kube-system", node="node-0", mirror=True)
    made.add_pod("job", node="node-0", phase="Succeeded")


@pytest.fixture
def drill(harness: CliHarness, cluster: ThreadedCluster) -> CliHarness:
    """A harness in a cluster."""
    cluster.do(build)
    harness.run.environment |= cluster.environment()
    return harness


def parse(body: str) -> InterruptionEvent:
    event = parsing.parse(body, message_id="m", sent_at=dt.datetime.now(dt.UTC))
    assert isinstance(event, InterruptionEvent)
    return event


def instances_sent(harness: CliHarness) -> list[str]:
    """The instances that the messages in the queue are about, in their order."""
    return [instance_id for body in harness.bodies() for instance_id in parse(body).instance_ids]


class TestWhatIsSent:
    @pytest.mark.parametrize("kind", EventKind)
    def test_an_event_of_any_kind_is_what_the_operator_understands(
        self, drill: CliHarness, kind: EventKind
    ) -> None:
        result = drill.run("send", kind, *OPTIONS.get(kind, ()), "--node", "node-0", "--yes")

        assert result.code == 0
        (message,) = drill.contents()
        event = parse(message.body)
        assert (event.kind, event.instance_ids) == (kind, (instance(0),))
        assert dt.datetime.now(dt.UTC) - event.occurred_at < dt.timedelta(seconds=10)
        assert json.loads(message.body)["account"] == drill.aws.account
        assert MARK in message.attributes
        assert MARK not in message.body

    @pytest.mark.parametrize("state", InstanceState)
    def test_a_state_change_says_which_state(self, drill: CliHarness, state: InstanceState) -> None:
        drill.run("send", "state_change", "--state", state, "--node", "node-0", "--yes")

        assert parse(drill.bodies()[0]).instance_state is state

    def test_a_lifecycle_action_names_its_hook(self, drill: CliHarness) -> None:
        drill.run("send", "autoscaling_launch", *LIFECYCLE, "--node", "node-0", "--yes")

        action = parse(drill.bodies()[0]).lifecycle_action
        assert action is not None
        assert (action.hook.group, action.hook.name) == ("web", "drain")

    def test_a_scheduled_change_says_when_and_can_be_cancelled(self, drill: CliHarness) -> None:
        order = ("send", "scheduled_change", "--node", "node-0", "--yes")

        drill.run(*order, "--starts-in", "2h")
        drill.run(*order, "--status", "closed")

        change, cancelled = (parse(body) for body in drill.bodies())
        assert change.scheduled_at == change.occurred_at + dt.timedelta(hours=2)
        assert (change.is_cancelled, cancelled.is_cancelled) == (False, True)

    def test_programs_get_the_ids_of_what_was_sent(self, drill: CliHarness) -> None:
        result = drill.run(
            "send", SPOT, "--instance", instance(0), "--instance", instance(1), "-y", "-o", "json"
        )

        ids = [json.loads(body)["id"] for body in drill.bodies()]
        assert len(set(ids)) == 2
        assert result.data() == {
            "queue": drill.url,
            "event_bus": None,
            "kind": SPOT,
            "sent": [
                {"instance": instance(0), "node": "node-0", "event_id": ids[0]},
                {"instance": instance(1), "node": "node-1", "event_id": ids[1]},
            ],
            "refused": [],
            "unconfirmed": [],
            "left": [],
        }

    def test_people_get_a_table(self, drill: CliHarness) -> None:
        result = drill.run("send", SPOT, "--node", "node-1", "--yes")

        event_id = json.loads(drill.bodies()[0])["id"]
        assert [line.split() for line in result.out.splitlines() if event_id in line] == [
            ["node-1", event_id, instance(1)]
        ]
        assert result.out.splitlines()[-1].startswith("1 spot_interruption events sent to ")

    def test_another_queue_can_be_named(self, drill: CliHarness) -> None:
        drill.run("send", SPOT, "--node", "node-0", "--yes", "--queue", drill.dead_letters_url)

        assert (len(drill.bodies()), len(drill.dead_bodies())) == (0, 1)


class TestWhoIsNamed:
    def test_an_instance_named_twice_is_sent_one_event(self, drill: CliHarness) -> None:
        drill.run("send", SPOT, *["--node", "node-1"] * 2, "--yes")

        assert instances_sent(drill) == [instance(1)]

    def test_a_selector_names_every_node_that_it_selects(self, drill: CliHarness) -> None:
        drill.run("send", SPOT, "--selector", "pool=on-demand", "--yes")

        assert instances_sent(drill) == [instance(0), instance(2), instance(4)]

    def test_a_storm_is_spread_over_the_nodes(self, drill: CliHarness) -> None:
        result = drill.run("send", SPOT, "-l", "pool", "--storm", "2", "--spread", "0.2s", "--yes")

        assert result.code == 0
        assert instances_sent(drill) == [instance(0), instance(2)]

    def test_a_storm_about_more_nodes_than_there_are_is_refused(self, drill: CliHarness) -> None:
        result = drill.run("send", SPOT, "-l", "pool=spot", "--storm", "3", "--yes")

        assert result.code == 2
        assert result.line == (
            "send: a storm about 3 nodes needs as many, and there are 2; those with the label"
            " queue-processor/protected do not count"
        )
        assert drill.contents() == ()

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            (["--node", "node-9"], "the cluster has no node node-9 on an EC2 instance"),
            (["-l", "pool=none"], "the selector selects no node that is on EC2 and without"),
        ],
    )
    def test_a_node_that_is_not_there_is_wrong_usage(
        self, drill: CliHarness, arguments: list[str], expected: str
    ) -> None:
        result = drill.run("send", SPOT, *arguments, "--yes")

        assert result.code == 2
        assert expected in result.line
        assert drill.contents() == ()


class TestProtection:
    @pytest.mark.parametrize("way", [("--node", "node-5"), ("--instance", instance(5))])
    def test_a_protected_node_that_is_named_is_refused_with_all_others(
        self, drill: CliHarness, way: tuple[str, str]
    ) -> None:
        result = drill.run("send", SPOT, *way, way[0], way[1].replace("5", "1"), "--yes")

        assert result.code == 2
        assert result.line.startswith(
            "send: node-5: protected by the label queue-processor/protected, so nothing is sent"
        )
        assert drill.contents() == ()

    def test_a_selector_leaves_it_out_and_says_so(self, drill: CliHarness) -> None:
        result = drill.run("send", SPOT, "-l", "pool=spot", "--yes")

        assert result.code == 0
        assert instances_sent(drill) == [instance(1), instance(3)]
        assert "left out, by the label queue-processor/protected: node-5" in result.err

    def test_a_node_that_is_protected_while_a_person_is_asked_is_left_out(
        self, drill: CliHarness, cluster: ThreadedCluster
    ) -> None:
        screen = drill.start_on_terminal("send", SPOT, "-l", "pool=spot")
        screen.until("[y/N]")
        cluster.do(lambda made: protect(made, "node-3"))
        screen.type("y\n")

        assert screen.code == 0
        assert instances_sent(drill) == [instance(1)]
        assert "left out, protected in the meantime: node-3" in screen.text

    def test_a_named_node_that_is_protected_while_a_person_is_asked_is_refused(
        self, drill: CliHarness, cluster: ThreadedCluster
    ) -> None:
        screen = drill.start_on_terminal("send", SPOT, "--node", "node-1", "--node", "node-3")
        screen.until("[y/N]")
        cluster.do(lambda made: protect(made, "node-3"))
        screen.type("y\n")

        assert screen.code == 2
        assert drill.contents() == ()


def protect(made: SimulatedCluster, name: str) -> None:
    node = made.store.node(name)
    assert node is not None
    labelled = copy.deepcopy(node.body)
    labelled["metadata"]["labels"][PROTECTED] = ""
    made.store.update(node, labelled)


class TestQuestion:
    """Nobody's pods move without a word."""

    def test_the_pods_that_move_and_those_that_stay_are_named(self, drill: CliHarness) -> None:
        result = drill.run("send", SPOT, "--node", "node-0")

        assert result.code == 2
        assert drill.contents() == ()
        cluster, queue, first, move, stay, question = result.err.splitlines()
        assert re.fullmatch(r"cluster: http://127.0.0.1:\d+ \(context simulator\)", cluster)
        assert re.fullmatch(r"queue: http://.*/\d{12}/\S+", queue)
        assert first == f"node-0 ({instance(0)}): 2 pods move, 2 stay"
        assert re.fullmatch(r"  move: (default/bare default/web-\w+|default/web-\w+ \S+)", move)
        assert "kube-system/static (mirror of a static pod)" in stay
        assert "default/job (finished)" in stay
        assert question.startswith("send: 2 pods move. Send 1 spot_interruption events to ")
        assert question.endswith("stdin is not a terminal: confirm with --yes")

    @pytest.mark.parametrize(("key", "sent"), [("y", 1), ("n", 0)])
    def test_a_person_at_a_terminal_decides(self, drill: CliHarness, key: str, sent: int) -> None:
        screen = drill.start_on_terminal("send", SPOT, "--node", "node-0")
        screen.until("2 pods move. Send 1 spot_interruption events to")
        screen.until("[y/N]")
        screen.type(f"{key}\n")

        assert screen.code == (0 if sent else 1)
        assert len(drill.bodies()) == sent
        assert ("nothing was changed" in screen.text) == (not sent)

    @pytest.mark.parametrize(("key", "sent"), [("y", [NOT_A_NODE]), ("n", [])])
    def test_an_instance_that_is_no_node_is_asked_about(
        self, drill: CliHarness, key: str, sent: list[str]
    ) -> None:
        screen = drill.start_on_terminal("send", SPOT, "--instance", NOT_A_NODE)
        screen.until(f"{NOT_A_NODE}: not a node of this cluster. 0 pods move. Send 1")
        screen.until("[y/N]")
        screen.type(f"{key}\n")

        assert screen.code == (0 if sent else 1)
        assert instances_sent(drill) == sent

    def test_hundreds_of_pods_are_counted(
        self, drill: CliHarness, cluster: ThreadedCluster
    ) -> None:
        def crowd(made: SimulatedCluster) -> None:
            for number in range(110):
                made.add_pod(f"a{number}", namespace="team" if number % 2 else "b", node="node-2")

        cluster.do(crowd)

        result = drill.run("send", SPOT, "--node", "node-2", "--dry-run")

        assert result.err.splitlines()[2:5] == [
            f"node-2 ({instance(2)}): 110 pods move, 0 stay",
            "  move: 55 in b, 55 in team",
            "--dry-run --output json names every pod",
        ]

    def test_hundreds_of_nodes_are_summed_up(
        self, drill: CliHarness, cluster: ThreadedCluster
    ) -> None:
        def crowd(made: SimulatedCluster) -> None:
            for number in range(100, 150):
                made.add_node(
                    f"node-{number}", instance_id=instance(number), labels={"pool": "large"}
                )
                made.add_pod(f"b{number}", node=f"node-{number}")

        cluster.do(crowd)

        result = drill.run("send", SPOT, "-l", "pool=large", "--dry-run")

        assert "and 10 more, where 10 pods move and 0 stay" in result.err.splitlines()
        assert "node-149" not in result.err
        assert len(result.out.splitlines()) == 50


class TestCautions:
    def test_a_kind_that_the_settings_ignore(self, drill: CliHarness) -> None:
        result = drill.run(
            "send",
            SPOT,
            "--node",
            "node-0",
            "--yes",
            QUEUE_PROCESSOR_ACTIONS__SPOT_INTERRUPTION="ignore",
        )

        assert result.code == 0
        assert "no pod moves, the action is ignore" in result.err
        assert "the operator would ignore it: actions.spot_interruption is ignore" in result.err

    def test_a_node_outside_of_the_node_selector(self, drill: CliHarness) -> None:
        result = drill.run(
            "send", SPOT, "--node", "node-0", "--yes", QUEUE_PROCESSOR_NODE_SELECTOR="pool=spot"
        )

        assert result.code == 0
        assert "no pod moves" in result.err
        assert (
            f"the operator would ignore it: {instance(0)}: node_selector does not select its node"
            in result.err
        )

    def test_an_instance_without_the_managed_tag(
        self, drill: CliHarness, cluster: ThreadedCluster
    ) -> None:
        (untagged,) = drill.aws.launch(1)
        cluster.do(lambda made: made.add_node("untagged", instance_id=untagged))

        result = drill.run(
            "send", SPOT, "--node", "untagged", "--yes", QUEUE_PROCESSOR_MANAGED_TAG="managed"
        )

        assert f"ignore it: {untagged}: it does not carry the managed_tag" in result.err

    def test_a_state_that_frees_pods_by_force(self, drill: CliHarness) -> None:
        order = ("send", "state_change", "--state", "terminated", "--node", "node-0", "--yes")

        result = drill.run(*order)
        spared = drill.run(*order, QUEUE_PROCESSOR_DRAIN__OUT_OF_SERVICE_TAINT="false")

        assert "pods that still run there are deleted by force" in result.err
        assert "by force" not in spared.err

    def test_a_lifecycle_action_that_no_group_waits_for(self, drill: CliHarness) -> None:
        result = drill.run(
            "send", "autoscaling_termination", *LIFECYCLE, "--node", "node-0", "--yes"
        )

        assert "no group waits for this lifecycle action" in result.err


class TestDryRun:
    def test_it_prints_the_bodies_and_sends_nothing(self, drill: CliHarness) -> None:
        result = drill.run("send", SPOT, "-l", "pool=spot", "--dry-run")

        assert result.code == 0
        events = [parse(line) for line in result.out.splitlines()]
        assert [event.instance_ids for event in events] == [(instance(1),), (instance(3),)]
        assert result.err.splitlines()[-1].startswith("2 would be sent to ")
        assert drill.contents() == ()

    def test_programs_get_every_pod(self, drill: CliHarness) -> None:
        result = drill.run("send", SPOT, "--node", "node-0", "--dry-run", "-o", "yaml")

        (shown,) = yaml.safe_load(result.out)
        assert (shown["instance"], shown["node"]) == (instance(0), "node-0")
        assert (shown["kind"], shown["action"]) == (SPOT, "cordon-and-drain")
        assert {
            pod["name"]: pod["verdict"] for pod in shown["pods"] if "web" not in pod["name"]
        } == {
            "bare": "evict",
            "job": "skip: finished",
            "static": "skip: mirror of a static pod",
        }
        assert parse(shown["body"]).event_id == shown["event_id"]


class TestUndo:
    """The operator is played: it marks the node for the event that was sent."""

    def started(self, drill: CliHarness, *options: str) -> Running:
        """Send an event about node-0, and return once it is in the queue."""
        running = drill.start("send", SPOT, "--node", "node-0", "-y", "--undo-after", *options)
        running.until(lambda: len(drill.bodies()) == 1)
        return running

    def test_a_node_is_taken_back_once_its_drain_is_over(
        self, drill: CliHarness, cluster: ThreadedCluster
    ) -> None:
        running = self.started(drill, "1s")
        event_id = parse(drill.bodies()[0]).event_id
        draining = hold(None, seconds=600, event_id=event_id)
        cluster.do(lambda made: mark(made, "node-0", draining))
        time.sleep(2)
        cordoned_meanwhile = cluster.do(is_cordoned)
        drained = dataclasses.replace(draining, result=InstanceResult.DRAINED)
        cluster.do(lambda made: mark(made, "node-0", drained))
        code, _, err = running.ended()

        assert (code, cordoned_meanwhile, cluster.do(is_cordoned)) == (0, True, False)
        assert err.splitlines()[-1] == "node-0: back in use"

    def test_a_node_that_aws_takes_as_well_stays_as_it_is(
        self, drill: CliHarness, cluster: ThreadedCluster
    ) -> None:
        running = self.started(drill, "1s")
        event_id = parse(drill.bodies()[0]).event_id
        both = [hold(InstanceResult.DRAINED, event_id=each) for each in (event_id, "of AWS")]
        cluster.do(lambda made: mark(made, "node-0", *both))
        code, _, err = running.ended()

        assert (code, cluster.do(is_cordoned)) == (1, True)
        kept = "node-0 stays as it is: it is also held by spot_interruption (event of AWS)"
        assert err.splitlines()[-1] == kept

    def test_a_node_that_the_operator_never_held_is_named(self, drill: CliHarness) -> None:
        code, _, err = self.started(drill, "0s").ended()

        assert code == 1
        assert err.splitlines()[-1] == "node-0 stays as it is: the operator does not hold it"

    def test_ctrl_c_leaves_the_nodes_and_says_how_to_undo_it_later(self, drill: CliHarness) -> None:
        running = self.started(drill, "1h")
        running.interrupt()
        code, out, err = running.ended()

        assert code == 130
        assert "1 spot_interruption events sent to " in out
        assert "1 nodes will be uncordoned in 1 hour; Ctrl-C leaves them as they are" in err
        assert err.splitlines()[-1].endswith("queue-processor nodes uncordon --all-drills")

    def test_a_time_that_is_none_is_refused_before_anything_is_sent(
        self, drill: CliHarness
    ) -> None:
        result = drill.run("send", SPOT, "--node", "node-0", "-y", "--undo-after", "soon")

        assert result.code == 2
        assert "soon" in result.line
        assert not drill.bodies()


def is_cordoned(made: SimulatedCluster) -> bool:
    node = made.store.node("node-0")
    return node is not None and bool(node.spec.get("unschedulable"))


class TestStorm:
    def test_it_takes_its_time_and_shows_how_far_it_is(self, drill: CliHarness) -> None:
        began = dt.datetime.now(dt.UTC)

        result = drill.run("send", SPOT, "-l", "pool", "--storm", "4", "--spread", "2s", "--yes")

        assert result.code == 0
        assert "4 of 4 sent" in result.err
        # The first waits for nothing.
        assert dt.datetime.now(dt.UTC) - began >= dt.timedelta(seconds=1.5)
        assert instances_sent(drill) == [instance(number) for number in (0, 1, 2, 3)]

    def test_ctrl_c_says_how_many_were_sent_and_of_which(self, drill: CliHarness) -> None:
        running = drill.start(
            "send", SPOT, "-l", "pool", "--storm", "5", "--spread", "50s", "-y", "-o", "json"
        )
        running.until(lambda: len(drill.bodies()) == 1)
        running.interrupt()
        code, out, err = running.ended()

        result = json.loads(out)
        assert code == 130
        assert (
            [each["instance"] for each in result["sent"]] == instances_sent(drill) == [instance(0)]
        )
        assert [each["node"] for each in result["left"]] == ["node-1", "node-2", "node-3", "node-4"]
        assert "Traceback" not in err

    def test_ctrl_c_prints_the_same_for_people(self, drill: CliHarness) -> None:
        screen = drill.start_on_terminal(
            "send", SPOT, "-l", "pool", "--storm", "5", "--spread", "50s", "-y"
        )
        screen.until("1/5")
        screen.interrupt()

        assert screen.code == 130
        assert re.search(r"node-0\s+6472696c-6c00-8[0-9a-f-]{21}", screen.text)
        assert "1 spot_interruption events sent to " in screen.text
        assert ", 4 left" in screen.text

    def test_a_queue_that_goes_away_leaves_no_doubt_about_what_was_sent(
        self, drill: CliHarness
    ) -> None:
        running = drill.start(
            "send", SPOT, "-l", "pool", "--storm", "3", "--spread", "6s", "-y", "-o", "json"
        )
        running.until(lambda: len(drill.bodies()) == 1)
        drill.sqs.delete_queue(QueueUrl=drill.url)
        code, out, err = running.ended()

        result = json.loads(out)
        assert code == 2
        assert "send: there is no queue " in err.splitlines()[-1]
        assert [len(result[key]) for key in ("sent", "refused", "unconfirmed", "left")] == [
            1,
            0,
            0,
            2,
        ]

    def test_without_an_answer_it_says_what_may_have_been_sent(self, drill: CliHarness) -> None:
        running = drill.start(
            "send", SPOT, "-l", "pool", "--storm", "3", "--spread", "6s", "-y", "-o", "json"
        )
        running.until(lambda: len(drill.bodies()) == 1)
        drill.aws.stop()
        try:
            code, out, err = running.ended()
        finally:
            drill.aws.start()

        result = json.loads(out)
        assert code == 1
        assert f"no answer came, so these may have been sent: node-1 ({instance(1)})" in err
        assert [each["node"] for each in result["unconfirmed"]] == ["node-1"]
        assert [len(result[key]) for key in ("sent", "refused", "left")] == [1, 0, 1]


class TestEventBridge:
    """moto takes what AWS keeps to itself; tests/infra sends to a bus that refuses it."""

    def test_through_the_rules_of_the_template_the_event_reaches_the_queue(
        self, drill: CliHarness
    ) -> None:
        result = drill.run(
            "send", SPOT, "--node", "node-0", "--event-bus", "default", "--yes", "-o", "json"
        )

        assert result.code == 0
        (message,) = drill.contents()
        event = parse(message.body)
        assert (event.kind, event.instance_ids) == (EventKind.SPOT_INTERRUPTION, (instance(0),))
        assert [each["event_id"] for each in result.data()["sent"]] == [event.event_id]
        assert result.data()["event_bus"] == "default"
        assert "AWS refuses events on a bus whose source begins with aws." in result.err

    def test_an_event_of_another_source_is_for_other_rules(self, drill: CliHarness) -> None:
        result = drill.run(
            "send", SPOT, "--node", "node-0", "--event-bus", "default", "--source", "drill", "-y"
        )

        assert result.code == 0
        assert "AWS refuses" not in result.err
        assert drill.contents() == ()


class TestWrongUsage:
    def test_a_missing_permission_is_named(self, drill: CliHarness) -> None:
        drill.allow_only("sqs:GetQueueAttributes")

        result = drill.run("send", SPOT, "--node", "node-0", "--yes", "-o", "json")

        assert result.code == 1
        assert "the permission sqs:SendMessage on " in result.err.splitlines()[-1]
        assert (result.data()["sent"], result.data()["unconfirmed"]) == ([], [])

    def test_a_missing_permission_for_the_bus_is_named(self, drill: CliHarness) -> None:
        drill.allow_only("sqs:GetQueueAttributes")

        result = drill.run("send", SPOT, "--node", "node-0", "--yes", "--event-bus", "default")

        assert result.code == 1
        assert "the permission events:PutEvents on the event bus default" in result.err

    def test_a_tag_that_cannot_be_looked_up_is_no_fault_of_the_cluster(
        self, drill: CliHarness
    ) -> None:
        drill.allow_only("sqs:GetQueueAttributes")

        result = drill.run(
            "send", SPOT, "--node", "node-0", "--yes", QUEUE_PROCESSOR_MANAGED_TAG="managed"
        )

        assert result.code == 1
        assert result.line.startswith("send: describe instances: ")

    @pytest.mark.parametrize("denied", ["nodes", "pods"])
    def test_a_cluster_that_refuses_is_one_line_and_nothing_is_sent(
        self, drill: CliHarness, cluster: ThreadedCluster, denied: str
    ) -> None:
        cluster.do(lambda _: cluster.server.denials.append(api.Denial("list", denied)))

        result = drill.run("send", SPOT, "--node", "node-0", "--yes")

        assert result.code == 1
        assert result.line.startswith("send: Kubernetes: ")
        assert drill.contents() == ()

    def test_without_a_cluster_nothing_is_sent(self, harness: CliHarness) -> None:
        result = harness.run("send", SPOT, "--instance", instance(0), "--yes")

        assert result.code == 1
        assert result.line.startswith("send: no Kubernetes cluster: ")
        assert harness.contents() == ()

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            ([SPOT], "name the nodes in one way: --instance, --node or --selector"),
            ([SPOT, "--node", "a", "-l", "b"], "name the nodes in one way"),
            ([SPOT, "-l", " "], "the selector is empty; if every node is meant"),
            ([SPOT, "-l", "a b"], "'a b' is not a label requirement"),
            ([SPOT, "--instance", "i-1"], "'i-1' is not an instance id"),
            ([SPOT, "--node", "a", "--state", "stopping"], "--state does not apply to spot_"),
            (["state_change", "--node", "a"], "state_change needs --state"),
            (["autoscaling_launch", "--node", "a", "--group", "g"], "launch needs --hook"),
            (["autoscaling_termination", "--node", "a", "--hook", "h"], "needs --group"),
            (["scheduled_change", "--node", "a", "--starts-in", "soon"], "'soon' is not a time"),
            ([SPOT, "--node", "a", "--spread", "4 weeks"], "'4 weeks' is not a time such as 30s"),
            ([SPOT, "--node", "a", "--source", "drill"], "name it with --event-bus"),
            (
                [SPOT, "--node", "a", "--event-bus", "default", "--source", "aws.ec2"],
                "AWS refuses the source 'aws.ec2'",
            ),
        ],
    )
    def test_a_wrong_argument_is_one_line(
        self, terminal: Terminal, arguments: Sequence[str], expected: str
    ) -> None:
        result = terminal("send", *arguments)

        assert result.code == 2
        assert expected in result.line

    def test_the_help_has_examples(self, terminal: Terminal) -> None:
        assert "send spot_interruption -l pool=spot --storm 20" in terminal("send", "--help").out
