"""`messages peek`: seen, and left where it was."""

import json
import time

import yaml

from queue_processor.domain import aws_events
from queue_processor.simulator.aws import events
from tests.cli.messages.conftest import Desk, Terminal

INSTANCE = "i-0123456789abcdef0"
SPOT = json.dumps(aws_events.spot_interruption(INSTANCE, origin=events.new_origin()))
RUNNING = json.dumps(aws_events.state_change(INSTANCE, "running", origin=events.new_origin()))


def test_each_message_is_shown_with_the_verdict_of_the_operator(desk: Desk) -> None:
    spot, ignored, malformed = desk.send(SPOT, RUNNING, "nonsense")

    told = desk.run("peek", "--output", "json")

    assert told.code == 0
    found = {each["message_id"]: each for each in told.data()}
    assert set(found) == {spot, ignored, malformed}
    age = found[spot].pop("age_seconds")
    assert 0 <= age < 10
    assert found[spot] == {
        "message_id": spot,
        "receive_count": 1,
        "kind": "spot_interruption",
        "instances": [INSTANCE],
        "verdict": "interruption",
        "reason": None,
    }
    assert (found[ignored]["verdict"], found[ignored]["kind"]) == ("ignored", None)
    assert found[malformed]["verdict"] == "malformed"
    assert found[malformed]["reason"].startswith("body: not JSON")


def test_every_message_is_visible_again_and_was_received_once(desk: Desk) -> None:
    desk.send(*[SPOT] * 25)

    told = desk.run("peek", "--max", "30", "--output", "json")

    assert len({each["message_id"] for each in told.data()}) == 25
    assert told.line.startswith("25 of ")
    assert told.line.endswith("; the receive count of each went up by one")
    assert desk.aws.queue_state(desk.url).visible == 25
    assert {message.receive_count for message in desk.contents()} == {1}


def test_messages_are_hidden_for_moments_only(desk: Desk) -> None:
    desk.send(*[SPOT] * 25)

    desk.run("peek", "--max", "30")

    for record in desk.aws.message_log(desk.url):
        (received_at,) = record.received_at
        assert record.visible_since is not None
        assert (record.visible_since - received_at).total_seconds() < 1


def test_no_more_are_looked_at_than_asked_for(desk: Desk) -> None:
    desk.send(*[SPOT] * 25)

    told = desk.run("peek", "--max", "3", "--output", "json")

    assert len(told.data()) == 3
    assert sorted(message.receive_count for message in desk.contents()) == [0] * 22 + [1] * 3


def test_a_long_queue_is_seen_whole_and_each_message_once(desk: Desk) -> None:
    sent = desk.send(*[SPOT] * 230)

    told = desk.run("peek", "--max", "500", "--output", "json")

    assert sorted(each["message_id"] for each in told.data()) == sorted(sent)
    assert desk.aws.queue_state(desk.url).visible == 230


def test_people_see_a_table(desk: Desk) -> None:
    (sent,) = desk.send(SPOT)

    told = desk.run("peek")

    (row,) = [line.split() for line in told.out.splitlines() if sent in line]
    assert row[3:6] == ["1", "spot_interruption", INSTANCE]


def test_yaml_says_the_same(desk: Desk) -> None:
    (sent,) = desk.send(SPOT)

    told = desk.run("peek", "--output", "yaml")

    assert yaml.safe_load(told.out)[0]["message_id"] == sent


def test_the_dead_letter_queue_is_found(desk: Desk) -> None:
    desk.send(SPOT)
    (buried,) = desk.bury("nonsense")

    told = desk.run("peek", "--dead-letters", "--output", "json")

    assert [each["message_id"] for each in told.data()] == [buried]


def test_a_queue_is_found_by_its_name_by_its_url_and_by_its_arn(desk: Desk) -> None:
    (buried,) = desk.bury("nonsense")
    name = desk.dead_letters_url.rpartition("/")[2]
    arn = f"arn:aws:sqs:us-east-1:123456789012:{name}"

    for named in (name, desk.dead_letters_url, arn):
        told = desk.run("peek", "--queue", named, "--output", "json")

        assert [each["message_id"] for each in told.data()] == [buried]


def test_an_empty_queue_is_an_empty_list(desk: Desk) -> None:
    began = time.monotonic()

    told = desk.run("peek", "--output", "json")

    assert (told.code, told.data()) == (0, [])
    assert told.line.startswith("nothing is visible in ")
    assert time.monotonic() - began < 5


def test_no_queue_is_wrong_usage_with_the_cure(bare: Terminal) -> None:
    told = bare("peek")

    assert told.code == 2
    assert told.line == (
        "peek: no queue: name one with --queue, by URL or name, or set QUEUE_PROCESSOR_QUEUE_URL"
    )


def test_a_queue_that_does_not_exist_is_named(desk: Desk) -> None:
    for name in ("misspelt", f"{desk.url}-misspelt"):
        told = desk.run("peek", "--queue", name)

        assert told.code == 2
        assert told.line.startswith("peek: there is no queue ")
        assert "misspelt" in told.line


def test_a_queue_without_dead_letters_says_so(desk: Desk) -> None:
    told = desk.run("peek", "--queue", desk.dead_letters_url, "--dead-letters")

    assert told.code == 2
    assert "has no dead-letter queue" in told.line


def test_a_missing_permission_is_named_with_its_queue(desk: Desk) -> None:
    desk.become("sqs:GetQueueAttributes")

    told = desk.run("peek")

    assert told.code == 1
    name = desk.url.rpartition("/")[2]
    assert told.line.startswith(f"peek: the permission sqs:ReceiveMessage on {name} is missing: ")


def test_no_credentials_are_one_line_with_the_cure(bare: Terminal) -> None:
    told = bare(
        "peek", "--queue", "https://sqs.us-east-1.amazonaws.com/1/q", AWS_REGION="us-east-1"
    )

    assert told.code == 1
    assert told.line.startswith("peek: no AWS credentials: ")


def test_the_help_has_an_example(bare: Terminal) -> None:
    assert "queue-processor messages peek --dead-letters --max 50" in bare("peek", "--help").out
