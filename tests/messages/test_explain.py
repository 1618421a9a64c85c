"""`messages explain`: one verdict for each body, and where its nodes are."""

import dataclasses
import datetime as dt
import json
import pathlib

import pytest
import yaml

from queue_processor.domain import aws_events
from queue_processor.simulator.aws import events
from queue_processor.simulator.kube import api
from tests.messages.conftest import CliHarness, Terminal, ThreadedCluster

SAMPLES = pathlib.Path(__file__).parents[1] / "data" / "events"
INSTANCE = "i-0123456789abcdef0"
OTHER = "i-0123456789abcdef1"
KEYS = [
    "verdict",
    "shape",
    "kind",
    "event_id",
    "instances",
    "occurred_at",
    "deadline",
    "action",
    "lifecycle_hook",
    "nodes",
    "reason",
]
LONG_AGO = events.new_origin(time=dt.datetime(2026, 8, 27, 12, tzinfo=dt.UTC), event_id="event-1")
STEP = events.new_step(group="workers", hook="drain")
TERMINATING = "autoscaling:EC2_INSTANCE_TERMINATING"


def spot(instance_id: str = INSTANCE) -> str:
    return json.dumps(aws_events.spot_interruption(instance_id, origin=LONG_AGO))


class TestOffline:
    """Nobody is asked: no AWS, no cluster, no queue."""

    def test_an_event_is_explained_from_a_file(
        self, terminal: Terminal, tmp_path: pathlib.Path
    ) -> None:
        file = tmp_path / "event.json"
        file.write_text(spot(), encoding="utf-8")

        result = terminal("explain", str(file), "--offline", "--output", "json")

        assert (result.code, result.err) == (0, "")
        assert list(result.data()) == KEYS
        assert result.data() == {
            "verdict": "interruption",
            "shape": "eventbridge",
            "kind": "spot_interruption",
            "event_id": "event-1",
            "instances": [INSTANCE],
            "occurred_at": "2026-08-27T12:00:00Z",
            "deadline": "2026-08-27T12:02:00Z",
            "action": "cordon-and-drain",
            "lifecycle_hook": None,
            "nodes": None,
            "reason": None,
        }

    def test_an_event_is_explained_from_stdin(self, terminal: Terminal) -> None:
        result = terminal("explain", "-", "--offline", "--output", "json", stdin=spot())

        assert result.code == 0
        assert result.data()["event_id"] == "event-1"

    def test_yaml_says_the_same_as_json(self, terminal: Terminal) -> None:
        result = terminal("explain", "-", "--offline", "--output", "yaml", stdin=spot())

        assert list(yaml.safe_load(result.out)) == KEYS
        assert yaml.safe_load(result.out)["occurred_at"] == "2026-08-27T12:00:00Z"

    def test_a_notification_of_a_group_names_its_lifecycle_hook(self, terminal: Terminal) -> None:
        body = events.lifecycle_notification(INSTANCE, STEP, TERMINATING)
        result = terminal("explain", "-", "--offline", "-o", "json", stdin=json.dumps(body)).data()

        assert result["shape"] == "autoscaling"
        assert result["kind"] == "autoscaling_termination"
        assert result["lifecycle_hook"] == {"group": "workers", "name": "drain"}
        assert result["deadline"] is not None

    def test_an_event_inside_an_sns_notification_has_that_shape(self, terminal: Terminal) -> None:
        body = json.dumps({"Type": "Notification", "Message": spot()})
        result = terminal("explain", "-", "--offline", "-o", "json", stdin=body).data()

        assert (result["shape"], result["kind"]) == ("sns", "spot_interruption")

    def test_an_event_without_a_deadline_has_none(self, terminal: Terminal) -> None:
        body = json.dumps(aws_events.rebalance_recommendation(INSTANCE, origin=events.new_origin()))
        result = terminal("explain", "-", "--offline", "-o", "json", stdin=body).data()

        assert result["deadline"] is None
        assert result["action"] == "cordon-and-drain"

    def test_an_ignored_event_says_why(self, terminal: Terminal) -> None:
        body = json.dumps(aws_events.state_change(INSTANCE, "pending", origin=events.new_origin()))
        result = terminal("explain", "-", "--offline", "-o", "json", stdin=body)

        assert result.code == 0
        assert result.data()["verdict"] == "ignored"
        assert result.data()["shape"] == "eventbridge"
        assert "'pending'" in result.data()["reason"]
        assert result.data()["kind"] is None

    @pytest.mark.parametrize(
        ("body", "expected"),
        [
            (b"", "not JSON"),
            (b"[]", "not a JSON object"),
            (b'{"a": 1', "not JSON"),
            (b"\xff\xfe{}", "not UTF-8: invalid start byte, byte 0"),
            (
                json.dumps(
                    aws_events.spot_interruption("i-xyz", origin=events.new_origin())
                ).encode(),
                "instance-id: 'i-xyz' is no",
            ),
        ],
    )
    def test_a_malformed_body_says_where_and_why(
        self, terminal: Terminal, body: bytes, expected: str
    ) -> None:
        result = terminal("explain", "-", "--offline", "-o", "json", stdin=body)

        assert result.code == 0
        assert result.data()["verdict"] == "malformed"
        assert expected in result.data()["reason"]
        others = {key: result.data()[key] for key in KEYS if key not in {"verdict", "reason"}}
        assert set(others.values()) == {None}

    @pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.*")), ids=lambda path: path.name)
    def test_every_sample_has_a_verdict(self, terminal: Terminal, path: pathlib.Path) -> None:
        result = terminal("explain", str(path), "--offline", "-o", "json")

        assert result.code == 0
        assert list(result.data()) == KEYS

    def test_the_settings_count_as_they_count_for_run(self, terminal: Terminal) -> None:
        result = terminal(
            "explain",
            "-",
            "--offline",
            "-o",
            "json",
            stdin=spot(),
            QUEUE_PROCESSOR_ACTIONS__SPOT_INTERRUPTION="ignore",
        ).data()

        assert (result["verdict"], result["action"]) == ("ignored", "ignore")
        assert result["kind"] == "spot_interruption"
        assert result["reason"] == "actions.spot_interruption is ignore"
        assert result["deadline"] is None

    def test_a_settings_file_counts_as_well(
        self, terminal: Terminal, tmp_path: pathlib.Path
    ) -> None:
        file = tmp_path / "settings.yaml"
        file.write_text("actions: {spot_interruption: cordon}\n", encoding="utf-8")

        result = terminal(
            "explain", "-", "--offline", "-o", "json", "--config", str(file), stdin=spot()
        ).data()

        assert result["action"] == "cordon"

    def test_a_change_that_is_called_off_uncordons_and_has_no_deadline(
        self, terminal: Terminal
    ) -> None:
        change = events.new_change(dt.datetime(2099, 1, 1, tzinfo=dt.UTC), status="closed")
        body = json.dumps(
            aws_events.scheduled_change([INSTANCE, OTHER], change, origin=events.new_origin())
        )
        result = terminal("explain", "-", "--offline", "-o", "json", stdin=body).data()

        assert result["action"] == "uncordon"
        assert result["instances"] == [INSTANCE, OTHER]
        assert result["deadline"] is None

    def test_an_instance_that_is_resolved_in_an_open_change_is_the_reason(
        self, terminal: Terminal
    ) -> None:
        change = dataclasses.replace(
            events.new_change(dt.datetime(2099, 1, 1, tzinfo=dt.UTC)), resolved=frozenset({OTHER})
        )
        body = json.dumps(
            aws_events.scheduled_change([INSTANCE, OTHER], change, origin=events.new_origin())
        )
        result = terminal("explain", "-", "--offline", "-o", "json", stdin=body).data()

        assert result["action"] == "cordon-and-drain"
        assert result["reason"] == f"{OTHER}: resolved, so its node is uncordoned"

    def test_people_read_the_same_and_the_outcome_of_the_message(self, terminal: Terminal) -> None:
        result = terminal("explain", "-", "--offline", stdin=spot())

        lines = dict(line.strip().split(maxsplit=1) for line in result.out.splitlines())
        assert lines["verdict"] == "interruption"
        assert lines["instances"] == INSTANCE
        assert lines["deadline"].startswith("2026-08-27 12:02:00 UTC (")
        assert "a node that is still there is drained until" in lines["deadline"]
        assert lines["the"] == "message     is deleted when every node is done"

    def test_with_the_mode_observe_nothing_is_done(
        self, terminal: Terminal, tmp_path: pathlib.Path
    ) -> None:
        config = tmp_path / "settings.yaml"
        config.write_text("mode: observe\n", encoding="utf-8")

        result = terminal("explain", "-", "--offline", "--config", str(config), stdin=spot())

        assert "is deleted when its plans are logged; nothing is done" in result.out

    def test_a_body_cannot_command_the_terminal(self, terminal: Terminal) -> None:
        step = events.new_step(group="work\x1b[2Jers", hook="[red]drain")
        body = json.dumps(
            aws_events.autoscaling_termination(INSTANCE, step, origin=events.new_origin())
        )

        result = terminal("explain", "-", "--offline", stdin=body)

        assert "\x1b" not in result.out
        assert "[red]drain of group work" in result.out


class TestInACluster:
    """The nodes are looked for."""

    def test_the_node_of_the_instance_is_named(
        self, terminal: Terminal, cluster: ThreadedCluster
    ) -> None:
        cluster.do(lambda made: made.add_node("node-1", instance_id=INSTANCE))

        result = terminal(
            "explain", "-", "-o", "json", stdin=spot(), **cluster.environment()
        ).data()

        assert result["nodes"] == ["node-1"]
        assert result["reason"] is None

    def test_an_instance_without_a_node_is_the_reason(
        self, terminal: Terminal, cluster: ThreadedCluster
    ) -> None:
        change = events.new_change(dt.datetime(2099, 1, 1, tzinfo=dt.UTC))
        cluster.do(lambda made: made.add_node("node-1", instance_id=INSTANCE))
        body = json.dumps(
            aws_events.scheduled_change([INSTANCE, OTHER], change, origin=events.new_origin())
        )

        result = terminal("explain", "-", "-o", "json", stdin=body, **cluster.environment()).data()

        assert result["nodes"] == ["node-1"]
        assert result["reason"] == (
            f"{OTHER}: no node of this cluster runs on it,"
            " so the operator waits for one, 60 s at most"
        )

    def test_a_node_that_is_not_selected_is_the_reason_and_the_message_is_released(
        self, terminal: Terminal, cluster: ThreadedCluster
    ) -> None:
        cluster.do(lambda made: made.add_node("node-1", instance_id=INSTANCE))
        environment = {
            **cluster.environment(),
            "QUEUE_PROCESSOR_NODE_SELECTOR": "pool=spot",
            "QUEUE_PROCESSOR_DRAIN__UNKNOWN_INSTANCE_POLICY": "release",
        }

        result = terminal("explain", "-", "-o", "json", stdin=spot(), **environment).data()
        shown = terminal("explain", "-", stdin=spot(), **environment)

        assert result["nodes"] == []
        assert result["reason"] == f"{INSTANCE}: node_selector does not select its node"
        assert "goes back to the queue" in shown.out

    def test_nobody_asks_the_cluster_about_a_malformed_body(self, terminal: Terminal) -> None:
        result = terminal("explain", "-", "-o", "json", stdin="nonsense")

        assert result.code == 0
        assert result.data()["verdict"] == "malformed"

    def test_a_cluster_that_refuses_is_one_line_with_the_cure(
        self, terminal: Terminal, cluster: ThreadedCluster
    ) -> None:
        cluster.do(lambda _: cluster.server.denials.append(api.Denial("list", "nodes")))

        result = terminal("explain", "-", stdin=spot(), **cluster.environment())

        assert (result.code, result.out) == (1, "")
        assert result.line.startswith("explain: Kubernetes: ")
        assert result.line.endswith("--offline does without the cluster")


class TestInAQueue:
    """The message is named by its id."""

    def test_a_message_of_the_queue_is_explained(self, harness: CliHarness) -> None:
        harness.send(spot())
        (sent,) = harness.send("nonsense")

        result = harness.run("explain", sent, "-o", "json")

        assert result.code == 0
        assert result.data()["verdict"] == "malformed"
        assert result.line.startswith(
            f"found in {harness.url.rpartition('/')[2]}; the receive count"
        )
        assert harness.aws.queue_state(harness.url).visible == 2

    def test_a_message_of_the_dead_letter_queue_is_explained(
        self, harness: CliHarness, cluster: ThreadedCluster
    ) -> None:
        cluster.do(lambda made: made.add_node("node-1", instance_id=INSTANCE))
        harness.send("nonsense")
        (dead_lettered,) = harness.dead_letter(
            json.dumps(
                aws_events.autoscaling_termination(INSTANCE, STEP, origin=events.new_origin())
            )
        )

        result = harness.run("explain", dead_lettered, "-o", "json", **cluster.environment())

        assert result.data()["nodes"] == ["node-1"]
        assert "dead" in result.line.lower()
        assert harness.aws.queue_state(harness.dead_letters_url).visible == 1

    def test_a_tag_decides_which_instances_are_ours(
        self, harness: CliHarness, cluster: ThreadedCluster
    ) -> None:
        (ours,) = harness.aws.launch(1, tags={"managed": ""})
        (other,) = harness.aws.launch(1)
        cluster.do(lambda made: made.add_node("node-1", instance_id=ours))
        cluster.do(lambda made: made.add_node("node-2", instance_id=other))
        change = events.new_change(dt.datetime(2099, 1, 1, tzinfo=dt.UTC))
        body = json.dumps(
            aws_events.scheduled_change([ours, other], change, origin=events.new_origin())
        )

        result = harness.run(
            "explain",
            "-",
            "-o",
            "json",
            stdin=body,
            QUEUE_PROCESSOR_MANAGED_TAG="managed",
            **cluster.environment(),
        )

        assert result.data()["nodes"] == ["node-1"]
        assert result.data()["reason"] == f"{other}: it does not carry the managed_tag"

    def test_a_message_that_is_nowhere_is_wrong_usage(self, harness: CliHarness) -> None:
        result = harness.run("explain", "2c4b5a0e-7b0f-4c4e-9b0a-0d6c1d8f3a11")

        assert result.code == 2
        assert "is visible neither in" in result.line

    def test_a_message_id_cannot_be_explained_offline(self, terminal: Terminal) -> None:
        result = terminal("explain", "2c4b5a0e-7b0f-4c4e-9b0a-0d6c1d8f3a11", "--offline")

        assert result.code == 2
        assert "needs the queue" in result.line


class TestWrongUsage:
    def test_no_cluster_is_one_line_with_the_cure(self, terminal: Terminal) -> None:
        result = terminal("explain", "-", stdin=spot())

        assert result.code == 1
        assert result.line.startswith("explain: no Kubernetes cluster: ")
        assert result.line.endswith("--offline does without the cluster")

    def test_a_file_that_is_not_there_is_named(self, terminal: Terminal) -> None:
        result = terminal("explain", "/nonexistent/event.json", "--offline")

        assert result.code == 2
        assert result.line == (
            "explain: /nonexistent/event.json: cannot be read: No such file or directory"
        )

    def test_a_wrong_setting_is_named(self, terminal: Terminal) -> None:
        result = terminal(
            "explain", "-", "--offline", stdin=spot(), QUEUE_PROCESSOR_LOG__LEVEL="loud"
        )

        assert result.code == 2
        assert result.line.startswith("settings: log.level: 'loud' is not allowed")

    def test_the_help_has_an_example(self, terminal: Terminal) -> None:
        result = terminal("explain", "--help")

        assert "queue-processor messages explain event.json" in result.out
