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
from tests.cli.messages.conftest import Desk, Terminal, ThreadedCluster
from tests.cli.messages.test_record import BODIES, GIVEN

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


def record(desk: Desk, file: pathlib.Path, *bodies: str) -> list[str]:
    """A recording of messages that are in no queue any more; their ids."""
    sent = desk.send(*bodies)
    assert desk.run("record", "--to", str(file)).code == 0
    desk.sqs.purge_queue(QueueUrl=desk.url)
    return sent


def received(desk: Desk) -> "dict[str, MessageTypeDef]":
    """Everything in the queue by its body, as a consumer gets it."""
    answer = desk.sqs.receive_message(
        QueueUrl=desk.url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
    )
    return {message["Body"]: message for message in answer["Messages"]}


def origins(desk: Desk) -> collections.Counter[str]:
    """How often each recorded message is in the queue, by the id that it had."""
    return collections.Counter(message.attributes[MARK] for message in desk.contents())


def parse(body: str) -> InterruptionEvent:
    event = parsing.parse(body, message_id="m", sent_at=dt.datetime.now(dt.UTC))
    assert isinstance(event, InterruptionEvent)
    return event


class TestWhatIsSent:
    @pytest.mark.parametrize("name", ["recorded.jsonl", "folder"])
    def test_record_and_replay_are_a_round_trip_byte_for_byte(
        self, desk: Desk, tmp_path: pathlib.Path, name: str
    ) -> None:
        desk.sqs.send_message(QueueUrl=desk.url, MessageBody="given", MessageAttributes=GIVEN)
        record(desk, tmp_path / name, *BODIES)

        told = desk.run("replay", str(tmp_path / name), "--rate", "100/s", "--yes")

        assert told.code == 0
        found = received(desk)
        assert sorted(found) == sorted([*BODIES, "given"])
        attributes = found["given"]["MessageAttributes"]
        del attributes[MARK]
        assert attributes == GIVEN

    def test_each_message_is_marked_with_the_id_that_it_had(
        self, desk: Desk, file: pathlib.Path
    ) -> None:
        (sent,) = record(desk, file, "one")

        desk.run("replay", str(file), "--yes")

        assert origins(desk) == {sent: 1}

    def test_dead_letters_go_back_with_their_reason(self, desk: Desk, file: pathlib.Path) -> None:
        reason: Any = {"DataType": "String", "StringValue": "why"}
        desk.sqs.send_message(
            QueueUrl=desk.dead_letters_url,
            MessageBody="nonsense",
            MessageAttributes={"queue-processor.reason": reason},
        )
        desk.run("record", "--dead-letters", "--to", str(file))

        desk.run("replay", str(file), "--yes")

        (message,) = desk.contents()
        assert message.body == "nonsense"
        assert message.attributes["queue-processor.reason"] == "why"

    def test_times_are_moved_to_now_and_instances_replaced_on_demand(
        self, desk: Desk, file: pathlib.Path
    ) -> None:
        record(desk, file, SPOT)

        desk.run("replay", str(file), "--retime", "--instance", f"{INSTANCE}={OTHER}", "--yes")

        event = parse(desk.bodies()[0])
        assert event.instance_ids == (OTHER,)
        assert dt.datetime.now(dt.UTC) - event.occurred_at < dt.timedelta(seconds=10)
        assert INSTANCE not in desk.bodies()[0]

    def test_another_queue_can_be_named(self, desk: Desk, file: pathlib.Path) -> None:
        record(desk, file, "one")

        told = desk.run(
            "replay", str(file), "--to", desk.dead_letters_url, "--yes", "--output", "json"
        )

        assert told.data()["queue"] == desk.dead_letters_url
        assert (desk.bodies(), desk.dead_bodies()) == ([], ["one"])

    def test_large_messages_go_in_batches_that_the_queue_takes(
        self, desk: Desk, file: pathlib.Path
    ) -> None:
        bodies = [letter * 400_000 for letter in "abcde"]
        record(desk, file, *bodies)

        told = desk.run("replay", str(file), "--rate", "500/s", "--yes")

        assert told.code == 0
        assert sorted(desk.bodies()) == bodies

    def test_a_message_without_room_for_the_mark_goes_without(
        self, desk: Desk, file: pathlib.Path
    ) -> None:
        given: Any = {
            f"a{number}": {"DataType": "String", "StringValue": "x"} for number in range(10)
        }
        desk.sqs.send_message(QueueUrl=desk.url, MessageBody="full", MessageAttributes=given)
        record(desk, file, "x" * 1024 * 1024)

        told = desk.run("replay", str(file), "--yes")

        assert told.code == 0
        assert "2 had no room for queue-processor.replayed" in told.err
        assert not any(MARK in message.attributes for message in desk.contents())
        assert len(desk.contents()) == 2

    def test_what_the_queue_does_not_take_is_told_and_tried_again(
        self, desk: Desk, file: pathlib.Path
    ) -> None:
        small = desk.sqs.create_queue(QueueName="small", Attributes={"MaximumMessageSize": "1024"})[
            "QueueUrl"
        ]
        (large, _) = record(desk, file, "x" * 2000, "one")
        order = ("replay", str(file), "--to", small, "--yes", "--output", "json")

        told = desk.run(*order)
        second = desk.run(*order)

        assert (told.code, told.data()["sent"], told.data()["refused"]) == (1, 1, 1)
        assert f"{large} was not taken: send: " in told.err
        assert (second.code, second.data()["sent"], second.data()["refused"]) == (1, 0, 1)
        assert [message.body for message in desk.aws.contents(small)] == ["one"]


class TestDryRun:
    def test_it_shows_what_would_be_sent_and_leaves_no_trace(
        self, desk: Desk, file: pathlib.Path
    ) -> None:
        (sent,) = record(desk, file, SPOT)

        told = desk.run(
            "replay", str(file), "--dry-run", "--instance", f"{INSTANCE}={OTHER}", "-o", "json"
        )

        (shown,) = told.data()
        assert shown["message_id"] == sent
        assert (shown["kind"], shown["instances"]) == ("spot_interruption", [OTHER])
        assert shown["body"] == SPOT.replace(INSTANCE, OTHER)
        assert told.line.startswith("1 of 1 would be sent to ")
        assert desk.contents() == ()
        assert list(file.parent.glob("*.journal")) == []

    def test_people_see_a_table(self, desk: Desk, file: pathlib.Path) -> None:
        (sent,) = record(desk, file, SPOT)

        told = desk.run("replay", str(file), "--dry-run")

        assert [line.split()[:3] for line in told.out.splitlines() if sent in line] == [
            [sent, "spot_interruption", INSTANCE]
        ]


class TestOnce:
    def test_the_same_command_sends_nothing_twice(self, desk: Desk, file: pathlib.Path) -> None:
        record(desk, file, "one", "two")
        desk.run("replay", str(file), "--yes")

        told = desk.run("replay", str(file), "--yes", "--output", "json")

        assert told.code == 0
        assert (told.data()["sent"], told.data()["left"]) == (0, 0)
        assert "2 were sent before; --again sends them once more" in told.err
        assert len(desk.bodies()) == 2

    def test_again_sends_them_once_more(self, desk: Desk, file: pathlib.Path) -> None:
        record(desk, file, "one", "two")
        desk.run("replay", str(file), "--yes")

        desk.run("replay", str(file), "--yes", "--again")
        told = desk.run("replay", str(file), "--yes", "--output", "json")

        assert told.data()["sent"] == 0
        assert len(desk.bodies()) == 4

    def test_every_queue_has_an_account_of_its_own(self, desk: Desk, file: pathlib.Path) -> None:
        record(desk, file, "one")
        desk.run("replay", str(file), "--yes")

        desk.run("replay", str(file), "--to", desk.dead_letters_url, "--yes")

        assert (desk.bodies(), desk.dead_bodies()) == (["one"], ["one"])

    def test_what_may_have_been_sent_when_it_was_killed_is_told_and_sent(
        self, desk: Desk, file: pathlib.Path
    ) -> None:
        first, second = record(desk, file, "one", "two")
        desk.run("replay", str(file), "--yes")
        journal = file.with_name("recorded.jsonl.journal")
        lines = journal.read_bytes().splitlines(keepends=True)
        # The kill came when the second message was on its way, and tore a line.
        kept = [line for line in lines if json.loads(line)["ids"] == [first]]
        on_its_way = next(line for line in lines if json.loads(line)["ids"] == [second])
        journal.write_bytes(b"".join(kept) + on_its_way + lines[-1][:20])

        told = desk.run("replay", str(file), "--yes", "--output", "json")

        assert told.data()["sent"] == 1
        assert "1 were on their way when the last replay ended, and may be doubled" in told.err
        assert origins(desk) == {first: 1, second: 2}

    def test_five_hundred_are_sent_at_a_rate_interrupted_and_continued_without_a_double(
        self, desk: Desk, file: pathlib.Path
    ) -> None:
        sent = record(desk, file, *[f"body {number}" for number in range(500)])
        order = ("replay", str(file), "--rate", "200/s", "--yes", "--output", "json")
        began = dt.datetime.now(dt.UTC)

        first = desk.start(*order)
        first.until(lambda: len(desk.contents()) >= 250)
        first.interrupt()
        code, out, err = first.ended()

        half = json.loads(out)
        assert code == 130
        assert 250 <= half["sent"] < 500
        assert half["left"] == 500 - half["sent"]
        assert len(desk.contents()) == half["sent"]
        progress = re.findall(r"^(\d+) of 500 sent, \d+ s left$", err, re.MULTILINE)
        assert progress
        assert "the same command goes on with what is left" in err

        second = desk.start(*order)
        code, out, err = second.ended()

        assert code == 0
        assert json.loads(out)["sent"] == 500 - half["sent"]
        assert f"{half['sent']} were sent before" in err
        assert origins(desk) == dict.fromkeys(sent, 1)
        assert sorted(desk.bodies()) == sorted(f"body {number}" for number in range(500))
        # Each of the two begins with a batch of ten that waits for nothing.
        took = (dt.datetime.now(dt.UTC) - began).total_seconds()
        assert took >= (500 - 2 * 10) / 200

    def test_a_kill_loses_nothing_and_doubles_one_batch_at_most(
        self, desk: Desk, file: pathlib.Path
    ) -> None:
        sent = record(desk, file, *[f"body {number}" for number in range(100)])
        order = ("replay", str(file), "--rate", "100/s", "--yes")

        first = desk.start(*order)
        first.until(lambda: len(desk.contents()) >= 40)
        first.kill()
        first.ended()
        told = desk.run(*order)

        assert told.code == 0
        assert set(origins(desk)) == set(sent)
        assert sum(origins(desk).values()) <= 110

    def test_two_replays_of_one_recording_are_refused(self, desk: Desk, file: pathlib.Path) -> None:
        record(desk, file, "one", "two")
        first = desk.start("replay", str(file), "--rate", "1/min", "--yes")
        first.until(lambda: len(desk.contents()) == 1)

        told = desk.run("replay", str(file), "--yes")

        assert told.code == 2
        assert "another process is writing it; wait for its end" in told.line
        first.interrupt()
        assert first.ended()[0] == 130
        assert len(desk.contents()) == 1


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
        self, desk: Desk, file: pathlib.Path, cluster: ThreadedCluster
    ) -> None:
        record(desk, file, "one")
        cluster.do(hold_the_lease)

        told = desk.run("replay", str(file), **cluster.environment())

        assert told.code == 2
        assert told.line.startswith(
            "replay: queue-processor-0_1 leads in the cluster. Send 1 messages to "
        )
        assert told.line.endswith("Nobody can be asked here: --yes agrees beforehand")
        assert desk.contents() == ()

    def test_a_message_that_somebody_holds_is_asked_about(
        self, desk: Desk, file: pathlib.Path, cluster: ThreadedCluster
    ) -> None:
        record(desk, file, "one")
        desk.send("held")
        desk.sqs.receive_message(QueueUrl=desk.url)

        told = desk.run("replay", str(file), **cluster.environment())

        assert told.code == 2
        assert "somebody holds 1 of its messages now" in told.line

    def test_without_a_cluster_nobody_can_tell(self, desk: Desk, file: pathlib.Path) -> None:
        record(desk, file, "one")

        told = desk.run("replay", str(file))

        assert told.code == 2
        assert "an operator may wait at it; the Lease cannot be read" in told.line
        assert desk.contents() == ()

    def test_without_leader_election_nobody_can_tell(self, desk: Desk, file: pathlib.Path) -> None:
        record(desk, file, "one")

        told = desk.run("replay", str(file), QUEUE_PROCESSOR_LEADER_ELECTION__ENABLED="false")

        assert told.code == 2
        assert "cannot be seen without leader election" in told.line

    def test_where_nobody_reads_nobody_is_asked(
        self, desk: Desk, file: pathlib.Path, cluster: ThreadedCluster
    ) -> None:
        record(desk, file, "one")

        told = desk.run("replay", str(file), **cluster.environment())

        assert told.code == 0
        assert "no operator leads in the cluster" in told.err
        assert desk.bodies() == ["one"]

    @pytest.mark.parametrize(("key", "sent"), [("y", ["one"]), ("n", [])])
    def test_a_person_at_a_terminal_decides(
        self, desk: Desk, file: pathlib.Path, key: str, sent: list[str]
    ) -> None:
        record(desk, file, "one")

        screen = desk.sit_down("replay", str(file))
        screen.until("Send 1 messages to")
        screen.until("[y/N]")
        screen.type(f"{key}\n")

        assert screen.code == (0 if sent else 1)
        assert desk.bodies() == sent
        assert ("nothing was changed" in screen.text) == (not sent)
        assert ("1/1" in screen.text) == bool(sent)


class TestWrongUsage:
    def test_a_missing_permission_is_named_and_nothing_is_in_doubt(
        self, desk: Desk, file: pathlib.Path
    ) -> None:
        record(desk, file, "one")
        desk.become("sqs:GetQueueAttributes")

        told = desk.run("replay", str(file), "--yes")
        second = desk.run("replay", str(file), "--yes")

        assert told.code == 1
        assert "the permission sqs:SendMessage on " in told.err.splitlines()[-1]
        assert "0 messages sent to " in told.out
        assert "may be doubled" not in second.err

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            ("", "no recorded message in it"),
            ("nonsense\n", "line 1: no recorded message: not JSON"),
            ('{"MessageId": "1", "Body": "x"}\n{}\n', "line 2: no recorded message: MessageId"),
        ],
    )
    def test_what_is_no_recording_is_told(
        self, desk: Desk, file: pathlib.Path, content: str, said: str
    ) -> None:
        file.write_text(content, encoding="utf-8")

        told = desk.run("replay", str(file), "--yes")

        assert told.code == 2
        assert told.line.startswith(f"replay: {file}")
        assert said in told.line

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["/nonexistent/x"], "/nonexistent/x: No such file or directory"),
            (["x", "--rate", "fast"], "'fast' is no rate such as 50/s or 90/min"),
            (["x", "--rate", "0/s"], "'0/s' is no rate"),
            (["x", "--instance", "a=b"], "'a=b' is no OLD=NEW"),
        ],
    )
    def test_a_wrong_argument_is_one_line(
        self, bare: Terminal, arguments: list[str], said: str
    ) -> None:
        told = bare("replay", *arguments)

        assert told.code == 2
        assert said in told.line

    def test_a_file_that_is_no_journal_is_not_overwritten(
        self, desk: Desk, file: pathlib.Path, tmp_path: pathlib.Path
    ) -> None:
        record(desk, file, "one")
        other = tmp_path / "precious.txt"
        other.write_text("precious\n", encoding="utf-8")

        told = desk.run("replay", str(file), "--journal", str(other), "--yes")

        assert told.code == 2
        assert told.line == f"replay: {other}, line 1: no journal of a replay"
        assert other.read_text(encoding="utf-8") == "precious\n"
        assert desk.contents() == ()

    def test_the_help_has_an_example(self, bare: Terminal) -> None:
        assert "messages replay dead-letters/ --dry-run" in bare("replay", "--help").out
