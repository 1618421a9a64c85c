"""`messages replay`: sent again as it was, once, however often it is begun."""

import collections
import datetime as dt
import json
import pathlib
import re
from typing import TYPE_CHECKING, Any

import pytest

from queue_processor.domain import aws_events, parsing
from queue_processor.domain.events import InterruptionEvent
from queue_processor.simulator.aws import events
from queue_processor.simulator.kube import resources
from queue_processor.simulator.kube.cluster import SimulatedCluster
from tests.messages.conftest import CliHarness, Terminal, ThreadedCluster
from tests.messages.test_record import ATTRIBUTES, BODIES

if TYPE_CHECKING:
    from types_boto3_sqs.type_defs import MessageTypeDef

INSTANCE = "i-0123456789abcdef0"
OTHER = "i-0fedcba9876543210"
MARK = "queue-processor.replayed"
YESTERDAY = events.new_origin(
    time=dt.datetime.now(dt.UTC).replace(microsecond=0) - dt.timedelta(days=1)
)
SPOT = json.dumps(aws_events.spot_interruption(INSTANCE, origin=YESTERDAY))


@pytest.fixture
def file(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "recorded.jsonl"


def record(harness: CliHarness, file: pathlib.Path, *bodies: str) -> list[str]:
    """A recording of messages that are in no queue any more; their ids."""
    sent = harness.send(*bodies)
    assert harness.run("record", "--to", str(file)).code == 0
    harness.sqs.purge_queue(QueueUrl=harness.url)
    return sent


def received(harness: CliHarness) -> "dict[str, MessageTypeDef]":
    """Everything in the queue by its body, as a consumer gets it."""
    answer = harness.sqs.receive_message(
        QueueUrl=harness.url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
    )
    return {message["Body"]: message for message in answer["Messages"]}


def origins(harness: CliHarness) -> collections.Counter[str]:
    """Count each recorded message in the queue, by the id that it had."""
    return collections.Counter(message.attributes[MARK] for message in harness.contents())


def parse(body: str) -> InterruptionEvent:
    event = parsing.parse(body, message_id="m", sent_at=dt.datetime.now(dt.UTC))
    assert isinstance(event, InterruptionEvent)
    return event


class TestWhatIsSent:
    def test_record_and_replay_are_a_round_trip_byte_for_byte(
        self, harness: CliHarness, file: pathlib.Path
    ) -> None:
        harness.sqs.send_message(
            QueueUrl=harness.url, MessageBody="with attributes", MessageAttributes=ATTRIBUTES
        )
        record(harness, file, *BODIES)

        result = harness.run("replay", str(file), "--rate", "100/s", "--yes")

        assert result.code == 0
        messages = received(harness)
        assert sorted(messages) == sorted([*BODIES, "with attributes"])
        attributes = messages["with attributes"]["MessageAttributes"]
        del attributes[MARK]
        assert attributes == ATTRIBUTES

    def test_each_message_is_marked_with_the_id_that_it_had(
        self, harness: CliHarness, file: pathlib.Path
    ) -> None:
        (sent,) = record(harness, file, "one")

        harness.run("replay", str(file), "--yes")

        assert origins(harness) == {sent: 1}

    def test_dead_letters_go_back_with_their_reason(
        self, harness: CliHarness, file: pathlib.Path
    ) -> None:
        reason: Any = {"DataType": "String", "StringValue": "why"}
        harness.sqs.send_message(
            QueueUrl=harness.dead_letters_url,
            MessageBody="nonsense",
            MessageAttributes={"queue-processor.reason": reason},
        )
        harness.run("record", "--dead-letters", "--to", str(file))

        harness.run("replay", str(file), "--yes")

        (message,) = harness.contents()
        assert message.body == "nonsense"
        assert message.attributes["queue-processor.reason"] == "why"

    def test_times_are_moved_to_now_and_instances_replaced_on_demand(
        self, harness: CliHarness, file: pathlib.Path
    ) -> None:
        record(harness, file, SPOT)

        harness.run("replay", str(file), "--retime", "--instance", f"{INSTANCE}={OTHER}", "--yes")

        event = parse(harness.bodies()[0])
        assert event.instance_ids == (OTHER,)
        assert dt.datetime.now(dt.UTC) - event.occurred_at < dt.timedelta(seconds=10)
        assert INSTANCE not in harness.bodies()[0]

    def test_another_queue_can_be_named(self, harness: CliHarness, file: pathlib.Path) -> None:
        record(harness, file, "one")

        result = harness.run(
            "replay", str(file), "--to", harness.dead_letters_url, "--yes", "--output", "json"
        )

        assert result.data()["queue"] == harness.dead_letters_url
        assert (harness.bodies(), harness.dead_bodies()) == ([], ["one"])

    def test_large_messages_go_in_batches_that_the_queue_takes(
        self, harness: CliHarness, file: pathlib.Path
    ) -> None:
        bodies = [letter * 400_000 for letter in "abcde"]
        record(harness, file, *bodies)

        result = harness.run("replay", str(file), "--rate", "500/s", "--yes")

        assert result.code == 0
        assert sorted(harness.bodies()) == bodies

    def test_a_message_without_room_for_the_mark_goes_without(
        self, harness: CliHarness, file: pathlib.Path
    ) -> None:
        attributes: Any = {
            f"a{number}": {"DataType": "String", "StringValue": "x"} for number in range(10)
        }
        harness.sqs.send_message(
            QueueUrl=harness.url, MessageBody="full", MessageAttributes=attributes
        )
        record(harness, file, "x" * 1024 * 1024)

        result = harness.run("replay", str(file), "--yes")

        assert result.code == 0
        assert "2 had no room for queue-processor.replayed" in result.err
        assert not any(MARK in message.attributes for message in harness.contents())
        assert len(harness.contents()) == 2

    def test_what_the_queue_does_not_take_is_reported_and_tried_again(
        self, harness: CliHarness, file: pathlib.Path
    ) -> None:
        small = harness.sqs.create_queue(
            QueueName="small", Attributes={"MaximumMessageSize": "1024"}
        )["QueueUrl"]
        (large, _) = record(harness, file, "x" * 2000, "one")
        order = ("replay", str(file), "--to", small, "--yes", "--output", "json")

        result = harness.run(*order)
        second = harness.run(*order)

        assert (result.code, result.data()["sent"], result.data()["refused"]) == (1, 1, 1)
        assert f"{large} was refused: send: " in result.err
        assert (second.code, second.data()["sent"], second.data()["refused"]) == (1, 0, 1)
        assert [message.body for message in harness.aws.contents(small)] == ["one"]


class TestDryRun:
    def test_it_shows_what_would_be_sent_and_leaves_no_trace(
        self, harness: CliHarness, file: pathlib.Path
    ) -> None:
        (sent,) = record(harness, file, SPOT)

        result = harness.run(
            "replay", str(file), "--dry-run", "--instance", f"{INSTANCE}={OTHER}", "-o", "json"
        )

        (shown,) = result.data()
        assert shown["message_id"] == sent
        assert (shown["kind"], shown["instances"]) == ("spot_interruption", [OTHER])
        assert shown["body"] == SPOT.replace(INSTANCE, OTHER)
        assert result.line.startswith("1 of 1 would be sent to ")
        assert harness.contents() == ()
        assert list(file.parent.glob("*.journal")) == []

    def test_people_see_a_table(self, harness: CliHarness, file: pathlib.Path) -> None:
        (sent,) = record(harness, file, SPOT)

        result = harness.run("replay", str(file), "--dry-run")

        assert [line.split()[:3] for line in result.out.splitlines() if sent in line] == [
            [sent, "spot_interruption", "interruption"]
        ]
        assert INSTANCE in result.out


class TestOnce:
    def test_the_same_command_sends_nothing_twice(
        self, harness: CliHarness, file: pathlib.Path
    ) -> None:
        record(harness, file, "one", "two")
        harness.run("replay", str(file), "--yes")

        result = harness.run("replay", str(file), "--yes", "--output", "json")

        assert result.code == 0
        assert (result.data()["sent"], result.data()["left"]) == (0, 0)
        assert "2 were sent before; --again sends them once more" in result.err
        assert len(harness.bodies()) == 2

    def test_again_sends_them_once_more(self, harness: CliHarness, file: pathlib.Path) -> None:
        record(harness, file, "one", "two")
        harness.run("replay", str(file), "--yes")

        harness.run("replay", str(file), "--yes", "--again")
        result = harness.run("replay", str(file), "--yes", "--output", "json")

        assert result.data()["sent"] == 0
        assert len(harness.bodies()) == 4

    def test_every_queue_has_an_account_of_its_own(
        self, harness: CliHarness, file: pathlib.Path
    ) -> None:
        record(harness, file, "one")
        harness.run("replay", str(file), "--yes")

        harness.run("replay", str(file), "--to", harness.dead_letters_url, "--yes")

        assert (harness.bodies(), harness.dead_bodies()) == (["one"], ["one"])

    def test_what_may_have_been_sent_when_it_was_killed_is_reported_and_sent(
        self, harness: CliHarness, file: pathlib.Path
    ) -> None:
        first, second = record(harness, file, "one", "two")
        harness.run("replay", str(file), "--yes")
        journal = file.with_name("recorded.jsonl.journal")
        lines = journal.read_bytes().splitlines(keepends=True)
        # The kill came when the second message was on its way, and tore a line.
        kept = [line for line in lines if json.loads(line)["ids"] == [first]]
        on_its_way = next(line for line in lines if json.loads(line)["ids"] == [second])
        journal.write_bytes(b"".join(kept) + on_its_way + lines[-1][:20])

        result = harness.run("replay", str(file), "--yes", "--output", "json")

        assert result.data()["sent"] == 1
        assert "1 were being sent when the last replay ended, and may be sent twice" in result.err
        assert origins(harness) == {first: 1, second: 2}

    def test_five_hundred_are_sent_at_a_rate_interrupted_and_continued_without_a_double(
        self, harness: CliHarness, file: pathlib.Path
    ) -> None:
        sent = record(harness, file, *[f"body {number}" for number in range(500)])
        order = ("replay", str(file), "--rate", "200/s", "--yes", "--output", "json")
        began = dt.datetime.now(dt.UTC)

        first = harness.start(*order)
        first.until(lambda: len(harness.contents()) >= 250)
        first.interrupt()
        code, out, err = first.ended()

        half = json.loads(out)
        assert code == 130
        assert 250 <= half["sent"] < 500
        assert half["left"] == 500 - half["sent"]
        assert len(harness.contents()) == half["sent"]
        progress = re.findall(r"^(\d+) of 500 sent, .+ left$", err, re.MULTILINE)
        assert progress
        assert "the same command continues with what is left" in err

        second = harness.start(*order)
        code, out, err = second.ended()

        assert code == 0
        assert json.loads(out)["sent"] == 500 - half["sent"]
        assert f"{half['sent']} were sent before" in err
        assert origins(harness) == dict.fromkeys(sent, 1)
        assert sorted(harness.bodies()) == sorted(f"body {number}" for number in range(500))
        # Each of the two begins with a batch of ten that waits for nothing.
        took = (dt.datetime.now(dt.UTC) - began).total_seconds()
        assert took >= (500 - 2 * 10) / 200

    def test_a_kill_loses_nothing_and_doubles_one_batch_at_most(
        self, harness: CliHarness, file: pathlib.Path
    ) -> None:
        sent = record(harness, file, *[f"body {number}" for number in range(100)])
        order = ("replay", str(file), "--rate", "100/s", "--yes")

        first = harness.start(*order)
        first.until(lambda: len(harness.contents()) >= 40)
        first.kill()
        first.ended()
        result = harness.run(*order)

        assert result.code == 0
        assert set(origins(harness)) == set(sent)
        assert sum(origins(harness).values()) <= 110

    def test_two_replays_of_one_recording_are_refused(
        self, harness: CliHarness, file: pathlib.Path
    ) -> None:
        record(harness, file, "one", "two")
        first = harness.start("replay", str(file), "--rate", "1/min", "--yes")
        first.until(lambda: len(harness.contents()) == 1)

        result = harness.run("replay", str(file), "--yes")

        assert result.code == 2
        assert "another process is writing it; wait until it ends" in result.line
        first.interrupt()
        assert first.ended()[0] == 130
        assert len(harness.contents()) == 1


def hold_the_lease(made: SimulatedCluster) -> None:
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    spec = {
        "holderIdentity": "queue-processor-0_1",
        "leaseDurationSeconds": 15,
        "acquireTime": now,
        "renewTime": now,
    }
    made.store.create(
        resources.LEASES, ("default", "queue-processor"), {"metadata": {}, "spec": spec}
    )


class TestTheReader:
    """A queue that an operator reads is not filled without a word."""

    def test_a_leader_in_the_cluster_is_asked_about(
        self, harness: CliHarness, file: pathlib.Path, cluster: ThreadedCluster
    ) -> None:
        record(harness, file, "one")
        cluster.do(hold_the_lease)

        result = harness.run("replay", str(file), **cluster.environment())

        assert result.code == 2
        assert result.line.startswith(
            "replay: queue-processor-0_1 leads in the cluster. Send 1 messages to "
        )
        assert result.line.endswith("stdin is not a terminal: confirm with --yes")
        assert harness.contents() == ()

    def test_a_message_that_somebody_holds_is_asked_about(
        self, harness: CliHarness, file: pathlib.Path, cluster: ThreadedCluster
    ) -> None:
        record(harness, file, "one")
        harness.send("held")
        harness.sqs.receive_message(QueueUrl=harness.url)

        result = harness.run("replay", str(file), **cluster.environment())

        assert result.code == 2
        assert "1 of its messages are in flight" in result.line

    def test_without_a_cluster_nobody_knows(self, harness: CliHarness, file: pathlib.Path) -> None:
        record(harness, file, "one")

        result = harness.run("replay", str(file))

        assert result.code == 2
        assert "an operator may wait for messages; the Lease cannot be read" in result.line
        assert harness.contents() == ()

    def test_without_leader_election_nobody_knows(
        self, harness: CliHarness, file: pathlib.Path
    ) -> None:
        record(harness, file, "one")

        result = harness.run("replay", str(file), QUEUE_PROCESSOR_LEADER_ELECTION__ENABLED="false")

        assert result.code == 2
        assert "without leader election nothing shows" in result.line

    def test_where_nobody_reads_nobody_is_asked(
        self, harness: CliHarness, file: pathlib.Path, cluster: ThreadedCluster
    ) -> None:
        record(harness, file, "one")

        result = harness.run("replay", str(file), **cluster.environment())

        assert result.code == 0
        assert "no operator leads in the cluster" in result.err
        assert harness.bodies() == ["one"]

    @pytest.mark.parametrize(("key", "sent"), [("y", ["one"]), ("n", [])])
    def test_a_person_at_a_terminal_decides(
        self, harness: CliHarness, file: pathlib.Path, key: str, sent: list[str]
    ) -> None:
        record(harness, file, "one")

        screen = harness.start_on_terminal("replay", str(file))
        screen.until("Send 1 messages to")
        screen.until("[y/N]")
        screen.type(f"{key}\n")

        assert screen.code == (0 if sent else 1)
        assert harness.bodies() == sent
        assert ("nothing was changed" in screen.text) == (not sent)
        assert ("1/1" in screen.text) == bool(sent)


class TestWrongUsage:
    def test_a_missing_permission_is_named_and_nothing_is_in_doubt(
        self, harness: CliHarness, file: pathlib.Path
    ) -> None:
        record(harness, file, "one")
        harness.allow_only("sqs:GetQueueAttributes")

        result = harness.run("replay", str(file), "--yes")
        second = harness.run("replay", str(file), "--yes")

        assert result.code == 1
        assert "the permission sqs:SendMessage on " in result.err.splitlines()[-1]
        assert "0 messages sent to " in result.out
        assert "may be sent twice" not in second.err

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            ("", "there is no recorded message in it"),
            ("nonsense\n", "line 1: not a recorded message: not JSON"),
            ('{"MessageId": "1", "Body": "x"}\n{}\n', "line 2: not a recorded message: MessageId"),
        ],
    )
    def test_what_is_no_recording_is_reported(
        self, harness: CliHarness, file: pathlib.Path, content: str, expected: str
    ) -> None:
        file.write_text(content, encoding="utf-8")

        result = harness.run("replay", str(file), "--yes")

        assert result.code == 2
        assert result.line.startswith(f"replay: {file}")
        assert expected in result.line

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            (["/nonexistent/x"], "/nonexistent/x: No such file or directory"),
            (["x", "--rate", "fast"], "'fast' is not a rate such as 50/s or 90/min"),
            (["x", "--rate", "0/s"], "'0/s' is not a rate"),
            (["x", "--instance", "a=b"], "'a=b' is not OLD=NEW"),
        ],
    )
    def test_a_wrong_argument_is_one_line(
        self, terminal: Terminal, arguments: list[str], expected: str
    ) -> None:
        result = terminal("replay", *arguments)

        assert result.code == 2
        assert expected in result.line

    def test_a_file_that_is_no_journal_is_not_overwritten(
        self, harness: CliHarness, file: pathlib.Path, tmp_path: pathlib.Path
    ) -> None:
        record(harness, file, "one")
        other = tmp_path / "precious.txt"
        other.write_text("precious\n", encoding="utf-8")

        result = harness.run("replay", str(file), "--journal", str(other), "--yes")

        assert result.code == 2
        assert result.line == f"replay: {other}, line 1: not a journal of a replay"
        assert other.read_text(encoding="utf-8") == "precious\n"
        assert harness.contents() == ()

    def test_the_help_has_an_example(self, terminal: Terminal) -> None:
        assert "messages replay dead-letters.jsonl --dry-run" in terminal("replay", "--help").out
