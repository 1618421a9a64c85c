"""`messages record`: on the disk as it was, and still in the queue."""

import json
import pathlib
from typing import TYPE_CHECKING

import pytest

from queue_processor.domain.messages import Attribute, QueueMessage
from queue_processor.messages import recordings
from tests.messages.conftest import CliHarness, Terminal

if TYPE_CHECKING:
    from types_boto3_sqs.type_defs import MessageAttributeValueTypeDef

# What a text may hold that a file, a line or JSON could take for something else.
BODIES = [
    '{"a": 1}',
    "two\nlines\r\nand\ta tab",
    "\u2028 \u2029 \x85 \N{SNOWMAN} \N{PILE OF POO} \ufffd",
    ' "quoted" \\u0041 \\ ',
    "x" * 200_000,
]
ATTRIBUTES: "dict[str, MessageAttributeValueTypeDef]" = {
    "text": {"DataType": "String", "StringValue": "two\nlines"},
    "number": {"DataType": "Number.int", "StringValue": "007"},
    "bytes": {"DataType": "Binary", "BinaryValue": bytes(range(256))},
}


def lines(path: pathlib.Path) -> list[QueueMessage]:
    return [recordings.parse(line) for line in path.read_text(encoding="ascii").splitlines()]


@pytest.fixture
def file(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "recorded.jsonl"


def test_bodies_and_attributes_are_on_the_disk_as_they_were(
    harness: CliHarness, file: pathlib.Path
) -> None:
    harness.send(*BODIES)
    harness.sqs.send_message(
        QueueUrl=harness.url, MessageBody="with attributes", MessageAttributes=ATTRIBUTES
    )

    result = harness.run("record", "--to", str(file), "--output", "json")

    assert result.code == 0
    assert result.data() == {"queue": harness.url, "to": str(file), "recorded": 6, "skipped": 0}
    recorded = {message.body: message for message in lines(file)}
    assert set(recorded) == {*BODIES, "with attributes"}
    assert recorded["with attributes"].attributes == {
        "text": Attribute(data_type="String", value="two\nlines"),
        "number": Attribute(data_type="Number.int", value="007"),
        "bytes": Attribute(data_type="Binary", value=bytes(range(256))),
    }
    assert {"SentTimestamp", "ApproximateReceiveCount"} <= recorded["with attributes"].system.keys()


def test_the_messages_stay_in_the_queue(harness: CliHarness, file: pathlib.Path) -> None:
    harness.send(*["x"] * 130)

    result = harness.run("record", "--to", str(file))

    assert "130 messages of " in result.out
    assert len(lines(file)) == 130
    assert harness.aws.queue_state(harness.url).visible == 130


def test_the_recorded_message_can_be_explained(harness: CliHarness, file: pathlib.Path) -> None:
    harness.send("nonsense")
    harness.run("record", "--to", str(file))

    result = harness.run("explain", str(file), "--offline", "-o", "json")

    assert result.data()["reason"].startswith("body: not JSON")


def test_a_second_recording_adds_only_what_is_new(harness: CliHarness, file: pathlib.Path) -> None:
    harness.send("one", "two")
    harness.run("record", "--to", str(file))
    harness.send("three")

    result = harness.run("record", "--to", str(file), "--output", "json")

    assert (result.data()["recorded"], result.data()["skipped"]) == (1, 2)


def test_what_a_kill_left_of_a_line_is_replaced(harness: CliHarness, file: pathlib.Path) -> None:
    harness.send("one", "two")
    harness.run("record", "--to", str(file))
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])

    result = harness.run("record", "--to", str(file), "--output", "json")

    assert (result.data()["recorded"], result.data()["skipped"]) == (1, 1)
    assert sorted(message.body for message in lines(file)) == ["one", "two"]


def test_a_last_line_without_an_end_is_kept(harness: CliHarness, file: pathlib.Path) -> None:
    harness.send("one")
    harness.run("record", "--to", str(file))
    file.write_bytes(file.read_bytes().rstrip(b"\n"))
    harness.send("two")

    harness.run("record", "--to", str(file))

    assert sorted(message.body for message in lines(file)) == ["one", "two"]


def test_dead_letters_are_recorded_with_their_reason(
    harness: CliHarness, file: pathlib.Path
) -> None:
    harness.sqs.send_message(
        QueueUrl=harness.dead_letters_url,
        MessageBody="nonsense",
        MessageAttributes={"queue-processor.reason": {"DataType": "String", "StringValue": "why"}},
    )

    harness.run("record", "--dead-letters", "--to", str(file))

    (message,) = lines(file)
    assert message.attributes["queue-processor.reason"].value == "why"


def test_following_records_what_comes_until_ctrl_c(harness: CliHarness, file: pathlib.Path) -> None:
    harness.send("one")
    command = harness.start("record", "--to", str(file), "--follow", "--output", "json")
    command.until(lambda: file.exists() and len(lines(file)) == 1)
    harness.send("two", "three")
    command.until(lambda: len(lines(file)) == 3)

    command.interrupt()
    code, out, err = command.ended()

    assert (code, json.loads(out)["recorded"]) == (0, 3)
    assert "until Ctrl-C" in err
    assert harness.aws.queue_state(harness.url).visible == 3


def test_following_stops_before_it_wears_a_message_out(
    harness: CliHarness, file: pathlib.Path
) -> None:
    policy = {
        "deadLetterTargetArn": arn_of(harness, harness.dead_letters_url),
        "maxReceiveCount": 4,
    }
    harness.sqs.set_queue_attributes(
        QueueUrl=harness.url, Attributes={"RedrivePolicy": json.dumps(policy)}
    )
    (sent,) = harness.send("one")

    result = harness.run("record", "--to", str(file), "--follow")

    assert result.code == 1
    assert f"message {sent} stays in the queue and has been received 3 times" in result.err
    assert harness.bodies() == ["one"]
    assert len(lines(file)) == 1


def test_two_recordings_into_one_file_are_refused(harness: CliHarness, file: pathlib.Path) -> None:
    command = harness.start("record", "--to", str(file), "--follow")
    command.until(file.exists)
    harness.send("one")
    command.until(lambda: len(lines(file)) == 1)

    result = harness.run("record", "--to", str(file))

    assert result.code == 2
    assert result.line == f"record: {file}: another process is writing it; wait until it ends"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("missing/recorded.jsonl", "No such file or directory"),
        ("folder", "Is a directory"),
        ("other.jsonl", "line 1: not a recorded message: not JSON"),
        ("unfinished.txt", "line 1: not a recorded message: not JSON"),
    ],
)
def test_a_place_that_cannot_be_written_is_named(
    harness: CliHarness, tmp_path: pathlib.Path, name: str, expected: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "other.jsonl").write_text("x\n", encoding="utf-8")
    (tmp_path / "unfinished.txt").write_text("x", encoding="utf-8")

    result = harness.run("record", "--to", str(tmp_path / name))

    assert result.code == 2
    assert name in result.line
    assert expected in result.line
    assert (tmp_path / "unfinished.txt").read_text(encoding="utf-8") == "x"


def test_the_help_has_an_example(terminal: Terminal) -> None:
    assert "messages record --to storm.jsonl --follow" in terminal("record", "--help").out


def arn_of(harness: CliHarness, url: str) -> str:
    answer = harness.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    return answer["Attributes"]["QueueArn"]
