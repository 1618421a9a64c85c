"""`messages record`: on the disk as it was, and still in the queue."""

import json
import pathlib
from typing import TYPE_CHECKING

import pytest

from queue_processor.domain import recording
from queue_processor.domain.messages import Attribute, QueueMessage
from tests.cli.messages.conftest import Desk, Terminal

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
GIVEN: "dict[str, MessageAttributeValueTypeDef]" = {
    "text": {"DataType": "String", "StringValue": "two\nlines"},
    "number": {"DataType": "Number.int", "StringValue": "007"},
    "bytes": {"DataType": "Binary", "BinaryValue": bytes(range(256))},
}


def lines(path: pathlib.Path) -> list[QueueMessage]:
    return [recording.read(line) for line in path.read_text(encoding="ascii").splitlines()]


@pytest.fixture
def file(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "recorded.jsonl"


def test_bodies_and_attributes_are_on_the_disk_as_they_were(desk: Desk, file: pathlib.Path) -> None:
    desk.send(*BODIES)
    desk.sqs.send_message(QueueUrl=desk.url, MessageBody="given", MessageAttributes=GIVEN)

    told = desk.run("record", "--to", str(file), "--output", "json")

    assert told.code == 0
    assert told.data() == {"queue": desk.url, "to": str(file), "recorded": 6, "known": 0}
    recorded = {message.body: message for message in lines(file)}
    assert set(recorded) == {*BODIES, "given"}
    assert recorded["given"].attributes == {
        "text": Attribute(data_type="String", value="two\nlines"),
        "number": Attribute(data_type="Number.int", value="007"),
        "bytes": Attribute(data_type="Binary", value=bytes(range(256))),
    }
    assert {"SentTimestamp", "ApproximateReceiveCount"} <= recorded["given"].system.keys()


def test_the_messages_stay_in_the_queue(desk: Desk, file: pathlib.Path) -> None:
    desk.send(*["x"] * 130)

    told = desk.run("record", "--to", str(file))

    assert "130 messages of " in told.out
    assert len(lines(file)) == 130
    assert desk.aws.queue_state(desk.url).visible == 130


def test_a_directory_holds_one_file_a_message(desk: Desk, tmp_path: pathlib.Path) -> None:
    sent = desk.send("one", "two")
    folder = tmp_path / "new" / "folder"

    desk.run("record", "--to", str(folder))

    assert {path.name for path in folder.iterdir()} == {f"{each}.json" for each in sent}
    bodies = {recording.read(path.read_text(encoding="ascii")).body for path in folder.iterdir()}
    assert bodies == {"one", "two"}


def test_the_recorded_message_can_be_explained(desk: Desk, tmp_path: pathlib.Path) -> None:
    (sent,) = desk.send("nonsense")
    desk.run("record", "--to", str(tmp_path / "folder"))

    told = desk.run("explain", str(tmp_path / "folder" / f"{sent}.json"), "--offline", "-o", "json")

    assert told.data()["reason"].startswith("body: not JSON")


@pytest.mark.parametrize("name", ["recorded.jsonl", "folder"])
def test_a_second_recording_adds_only_what_is_new(
    desk: Desk, tmp_path: pathlib.Path, name: str
) -> None:
    desk.send("one", "two")
    desk.run("record", "--to", str(tmp_path / name))
    desk.send("three")

    told = desk.run("record", "--to", str(tmp_path / name), "--output", "json")

    assert (told.data()["recorded"], told.data()["known"]) == (1, 2)


def test_what_a_kill_left_of_a_line_is_replaced(desk: Desk, file: pathlib.Path) -> None:
    desk.send("one", "two")
    desk.run("record", "--to", str(file))
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])

    told = desk.run("record", "--to", str(file), "--output", "json")

    assert (told.data()["recorded"], told.data()["known"]) == (1, 1)
    assert sorted(message.body for message in lines(file)) == ["one", "two"]


def test_a_last_line_without_an_end_is_kept(desk: Desk, file: pathlib.Path) -> None:
    desk.send("one")
    desk.run("record", "--to", str(file))
    file.write_bytes(file.read_bytes().rstrip(b"\n"))
    desk.send("two")

    desk.run("record", "--to", str(file))

    assert sorted(message.body for message in lines(file)) == ["one", "two"]


def test_dead_letters_are_recorded_with_their_reason(desk: Desk, file: pathlib.Path) -> None:
    desk.sqs.send_message(
        QueueUrl=desk.dead_letters_url,
        MessageBody="nonsense",
        MessageAttributes={"queue-processor.reason": {"DataType": "String", "StringValue": "why"}},
    )

    desk.run("record", "--dead-letters", "--to", str(file))

    (message,) = lines(file)
    assert message.attributes["queue-processor.reason"].value == "why"


def test_following_records_what_comes_until_ctrl_c(desk: Desk, file: pathlib.Path) -> None:
    desk.send("one")
    command = desk.start("record", "--to", str(file), "--follow", "--output", "json")
    command.until(lambda: file.exists() and len(lines(file)) == 1)
    desk.send("two", "three")
    command.until(lambda: len(lines(file)) == 3)

    command.interrupt()
    code, out, err = command.ended()

    assert (code, json.loads(out)["recorded"]) == (0, 3)
    assert "until Ctrl-C" in err
    assert desk.aws.queue_state(desk.url).visible == 3


def test_following_stops_before_it_wears_a_message_out(desk: Desk, file: pathlib.Path) -> None:
    policy = {"deadLetterTargetArn": arn_of(desk, desk.dead_letters_url), "maxReceiveCount": 4}
    desk.sqs.set_queue_attributes(
        QueueUrl=desk.url, Attributes={"RedrivePolicy": json.dumps(policy)}
    )
    (sent,) = desk.send("one")

    told = desk.run("record", "--to", str(file), "--follow")

    assert told.code == 1
    assert f"message {sent} stays in the queue and has been received 3 times" in told.err
    assert desk.bodies() == ["one"]
    assert len(lines(file)) == 1


def test_two_recordings_into_one_file_are_refused(desk: Desk, file: pathlib.Path) -> None:
    command = desk.start("record", "--to", str(file), "--follow")
    command.until(file.exists)
    desk.send("one")
    command.until(lambda: len(lines(file)) == 1)

    told = desk.run("record", "--to", str(file))

    assert told.code == 2
    assert told.line == f"record: {file}: another process is writing it; wait for its end"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing/recorded.jsonl", "No such file or directory"),
        ("taken", "File exists"),
        ("other.jsonl", "line 1: no recorded message: not JSON"),
    ],
)
def test_a_place_that_cannot_be_written_is_named(
    desk: Desk, tmp_path: pathlib.Path, name: str, said: str
) -> None:
    (tmp_path / "taken").write_text("x", encoding="utf-8")
    (tmp_path / "other.jsonl").write_text("x\n", encoding="utf-8")

    told = desk.run("record", "--to", str(tmp_path / name))

    assert told.code == 2
    assert name in told.line
    assert said in told.line


def test_the_help_has_an_example(bare: Terminal) -> None:
    assert "messages record --to storm.jsonl --follow" in bare("record", "--help").out


def arn_of(desk: Desk, url: str) -> str:
    answer = desk.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    return answer["Attributes"]["QueueArn"]
