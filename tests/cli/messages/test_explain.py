"""`messages explain`: one verdict for each body, and where its nodes are."""

import datetime as dt
import json
import pathlib

import pytest
import yaml

from queue_processor.domain import aws_events
from queue_processor.simulator.aws import events
from queue_processor.simulator.kube import api
from tests.cli.messages.conftest import Desk, Terminal, ThreadedCluster

SAMPLES = pathlib.Path(__file__).parents[2] / "data" / "events"
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
        self, bare: Terminal, tmp_path: pathlib.Path
    ) -> None:
        file = tmp_path / "event.json"
        file.write_text(spot(), encoding="utf-8")

        told = bare("explain", str(file), "--offline", "--output", "json")

        assert (told.code, told.err) == (0, "")
        assert list(told.data()) == KEYS
        assert told.data() == {
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

    def test_an_event_is_explained_from_stdin(self, bare: Terminal) -> None:
        told = bare("explain", "-", "--offline", "--output", "json", stdin=spot())

        assert told.code == 0
        assert told.data()["event_id"] == "event-1"

    def test_yaml_says_the_same_as_json(self, bare: Terminal) -> None:
        told = bare("explain", "-", "--offline", "--output", "yaml", stdin=spot())

        assert list(yaml.safe_load(told.out)) == KEYS
        assert yaml.safe_load(told.out)["occurred_at"] == "2026-08-27T12:00:00Z"

    def test_a_notification_of_a_group_names_its_lifecycle_hook(self, bare: Terminal) -> None:
        body = events.lifecycle_notification(INSTANCE, STEP, TERMINATING)
        told = bare("explain", "-", "--offline", "-o", "json", stdin=json.dumps(body)).data()

        assert told["shape"] == "autoscaling"
        assert told["kind"] == "autoscaling_termination"
        assert told["lifecycle_hook"] == {"group": "workers", "name": "drain"}
        assert told["deadline"] is not None

    def test_an_event_inside_an_sns_notification_has_that_shape(self, bare: Terminal) -> None:
        body = json.dumps({"Type": "Notification", "Message": spot()})
        told = bare("explain", "-", "--offline", "-o", "json", stdin=body).data()

        assert (told["shape"], told["kind"]) == ("sns", "spot_interruption")

    def test_an_event_without_a_deadline_has_none(self, bare: Terminal) -> None:
        body = json.dumps(aws_events.rebalance_recommendation(INSTANCE, origin=events.new_origin()))
        told = bare("explain", "-", "--offline", "-o", "json", stdin=body).data()

        assert told["deadline"] is None
        assert told["action"] == "cordon-and-drain"

    def test_an_ignored_event_says_why(self, bare: Terminal) -> None:
        body = json.dumps(aws_events.state_change(INSTANCE, "running", origin=events.new_origin()))
        told = bare("explain", "-", "--offline", "-o", "json", stdin=body)

        assert told.code == 0
        assert told.data()["verdict"] == "ignored"
        assert told.data()["shape"] == "eventbridge"
        assert "'running'" in told.data()["reason"]
        assert told.data()["kind"] is None

    @pytest.mark.parametrize(
        ("body", "said"),
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
        self, bare: Terminal, body: bytes, said: str
    ) -> None:
        told = bare("explain", "-", "--offline", "-o", "json", stdin=body)

        assert told.code == 0
        assert told.data()["verdict"] == "malformed"
        assert said in told.data()["reason"]
        others = {key: told.data()[key] for key in KEYS if key not in {"verdict", "reason"}}
        assert set(others.values()) == {None}

    @pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.*")), ids=lambda path: path.name)
    def test_every_sample_has_a_verdict(self, bare: Terminal, path: pathlib.Path) -> None:
        told = bare("explain", str(path), "--offline", "-o", "json")

        assert told.code == 0
        assert list(told.data()) == KEYS

    def test_the_settings_count_as_they_count_for_run(self, bare: Terminal) -> None:
        told = bare(
            "explain",
            "-",
            "--offline",
            "-o",
            "json",
            stdin=spot(),
            QUEUE_PROCESSOR_ACTIONS__SPOT_INTERRUPTION="ignore",
        ).data()

        assert (told["verdict"], told["action"]) == ("ignored", "ignore")
        assert told["kind"] == "spot_interruption"
        assert told["reason"] == "actions.spot_interruption is ignore"
        assert told["deadline"] is None

    def test_a_settings_file_counts_as_well(self, bare: Terminal, tmp_path: pathlib.Path) -> None:
        file = tmp_path / "settings.yaml"
        file.write_text("actions: {spot_interruption: cordon}\n", encoding="utf-8")

        told = bare(
            "explain", "-", "--offline", "-o", "json", "--config", str(file), stdin=spot()
        ).data()

        assert told["action"] == "cordon"

    def test_a_change_that_is_called_off_uncordons_and_has_no_deadline(
        self, bare: Terminal
    ) -> None:
        change = events.new_change(dt.datetime(2099, 1, 1, tzinfo=dt.UTC), status="closed")
        body = json.dumps(
            aws_events.scheduled_change([INSTANCE, OTHER], change, origin=events.new_origin())
        )
        told = bare("explain", "-", "--offline", "-o", "json", stdin=body).data()

        assert told["action"] == "uncordon"
        assert told["instances"] == [INSTANCE, OTHER]
        assert told["deadline"] is None

    def test_people_are_told_the_same_and_what_becomes_of_the_message(self, bare: Terminal) -> None:
        told = bare("explain", "-", "--offline", stdin=spot())

        lines = dict(line.strip().split(maxsplit=1) for line in told.out.splitlines())
        assert lines["verdict"] == "interruption"
        assert lines["instances"] == INSTANCE
        assert lines["deadline"].startswith("2026-08-27 12:02:00 UTC (")
        assert "a node that still stands is drained until" in lines["deadline"]
        assert lines["the"] == "message     is deleted when every node is done"

    def test_a_body_cannot_command_the_terminal(self, bare: Terminal) -> None:
        step = events.new_step(group="work\x1b[2Jers", hook="[red]drain")
        body = json.dumps(
            aws_events.autoscaling_termination(INSTANCE, step, origin=events.new_origin())
        )

        told = bare("explain", "-", "--offline", stdin=body)

        assert "\x1b" not in told.out
        assert "[red]drain of group work" in told.out


class TestInACluster:
    """The nodes are looked for."""

    def test_the_node_of_the_instance_is_named(
        self, bare: Terminal, cluster: ThreadedCluster
    ) -> None:
        cluster.do(lambda made: made.add_node("node-1", instance_id=INSTANCE))

        told = bare("explain", "-", "-o", "json", stdin=spot(), **cluster.environment()).data()

        assert told["nodes"] == ["node-1"]
        assert told["reason"] is None

    def test_an_instance_without_a_node_is_the_reason(
        self, bare: Terminal, cluster: ThreadedCluster
    ) -> None:
        change = events.new_change(dt.datetime(2099, 1, 1, tzinfo=dt.UTC))
        cluster.do(lambda made: made.add_node("node-1", instance_id=INSTANCE))
        body = json.dumps(
            aws_events.scheduled_change([INSTANCE, OTHER], change, origin=events.new_origin())
        )

        told = bare("explain", "-", "-o", "json", stdin=body, **cluster.environment()).data()

        assert told["nodes"] == ["node-1"]
        assert told["reason"] == (
            f"{OTHER}: no node of this cluster runs on it, and it is waited for, 60 s at most"
        )

    def test_a_node_that_is_not_selected_is_the_reason_and_the_message_is_released(
        self, bare: Terminal, cluster: ThreadedCluster
    ) -> None:
        cluster.do(lambda made: made.add_node("node-1", instance_id=INSTANCE))
        chosen = {
            **cluster.environment(),
            "QUEUE_PROCESSOR_NODE_SELECTOR": "pool=spot",
            "QUEUE_PROCESSOR_DRAIN__UNKNOWN_INSTANCE_POLICY": "release",
        }

        told = bare("explain", "-", "-o", "json", stdin=spot(), **chosen).data()
        shown = bare("explain", "-", stdin=spot(), **chosen)

        assert told["nodes"] == []
        assert told["reason"] == f"{INSTANCE}: node_selector does not select its node"
        assert "goes back to the queue" in shown.out

    def test_nobody_asks_the_cluster_about_a_malformed_body(self, bare: Terminal) -> None:
        told = bare("explain", "-", "-o", "json", stdin="nonsense")

        assert told.code == 0
        assert told.data()["verdict"] == "malformed"

    def test_a_cluster_that_refuses_is_one_line_with_the_cure(
        self, bare: Terminal, cluster: ThreadedCluster
    ) -> None:
        cluster.do(lambda _: cluster.server.denials.append(api.Denial("list", "nodes")))

        told = bare("explain", "-", stdin=spot(), **cluster.environment())

        assert (told.code, told.out) == (1, "")
        assert told.line.startswith("explain: Kubernetes: ")
        assert told.line.endswith("--offline does without the cluster")


class TestInAQueue:
    """The message is named by its id."""

    def test_a_message_of_the_queue_is_explained(self, desk: Desk) -> None:
        desk.send(spot())
        (sent,) = desk.send("nonsense")

        told = desk.run("explain", sent, "-o", "json")

        assert told.code == 0
        assert told.data()["verdict"] == "malformed"
        assert told.line.startswith(f"found in {desk.url.rpartition('/')[2]}; the receive count")
        assert desk.aws.queue_state(desk.url).visible == 2

    def test_a_message_of_the_dead_letter_queue_is_explained(
        self, desk: Desk, cluster: ThreadedCluster
    ) -> None:
        cluster.do(lambda made: made.add_node("node-1", instance_id=INSTANCE))
        desk.send("nonsense")
        (buried,) = desk.bury(
            json.dumps(
                aws_events.autoscaling_termination(INSTANCE, STEP, origin=events.new_origin())
            )
        )

        told = desk.run("explain", buried, "-o", "json", **cluster.environment())

        assert told.data()["nodes"] == ["node-1"]
        assert "dead" in told.line.lower()
        assert desk.aws.queue_state(desk.dead_letters_url).visible == 1

    def test_a_tag_decides_which_instances_are_ours(
        self, desk: Desk, cluster: ThreadedCluster
    ) -> None:
        (ours,) = desk.aws.launch(1, tags={"managed": ""})
        (other,) = desk.aws.launch(1)
        cluster.do(lambda made: made.add_node("node-1", instance_id=ours))
        cluster.do(lambda made: made.add_node("node-2", instance_id=other))
        change = events.new_change(dt.datetime(2099, 1, 1, tzinfo=dt.UTC))
        body = json.dumps(
            aws_events.scheduled_change([ours, other], change, origin=events.new_origin())
        )

        told = desk.run(
            "explain",
            "-",
            "-o",
            "json",
            stdin=body,
            QUEUE_PROCESSOR_MANAGED_TAG="managed",
            **cluster.environment(),
        )

        assert told.data()["nodes"] == ["node-1"]
        assert told.data()["reason"] == f"{other}: it does not carry the managed_tag"

    def test_a_message_that_is_nowhere_is_wrong_usage(self, desk: Desk) -> None:
        told = desk.run("explain", "2c4b5a0e-7b0f-4c4e-9b0a-0d6c1d8f3a11")

        assert told.code == 2
        assert "is visible neither in" in told.line

    def test_a_message_id_cannot_be_explained_offline(self, bare: Terminal) -> None:
        told = bare("explain", "2c4b5a0e-7b0f-4c4e-9b0a-0d6c1d8f3a11", "--offline")

        assert told.code == 2
        assert "needs the queue" in told.line


class TestWrongUsage:
    def test_no_cluster_is_one_line_with_the_cure(self, bare: Terminal) -> None:
        told = bare("explain", "-", stdin=spot())

        assert told.code == 1
        assert told.line.startswith("explain: no Kubernetes cluster: ")
        assert told.line.endswith("--offline does without the cluster")

    def test_a_file_that_is_not_there_is_named(self, bare: Terminal) -> None:
        told = bare("explain", "/nonexistent/event.json", "--offline")

        assert told.code == 2
        assert told.line == (
            "explain: /nonexistent/event.json: cannot be read: No such file or directory"
        )

    def test_a_wrong_setting_is_named(self, bare: Terminal) -> None:
        told = bare("explain", "-", "--offline", stdin=spot(), QUEUE_PROCESSOR_LOG__LEVEL="loud")

        assert told.code == 2
        assert told.line.startswith("settings: log.level: 'loud' is not allowed")

    def test_the_help_has_an_example(self, bare: Terminal) -> None:
        told = bare("explain", "--help")

        assert "queue-processor messages explain event.json" in told.out
