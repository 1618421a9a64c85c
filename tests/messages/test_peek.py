"""`messages peek`: seen, and left where it was."""

import json
import time

import pytest
import yaml

from queue_processor.domain import aws_events
from queue_processor.simulator.aws import events
from tests.messages.conftest import CliHarness, Terminal, ThreadedCluster

INSTANCE = "i-0123456789abcdef0"
SPOT = json.dumps(aws_events.spot_interruption(INSTANCE, origin=events.new_origin()))
PENDING = json.dumps(aws_events.state_change(INSTANCE, "pending", origin=events.new_origin()))


def test_each_message_is_shown_with_the_verdict_of_the_operator(harness: CliHarness) -> None:
    spot, ignored, malformed = harness.send(SPOT, PENDING, "nonsense")

    result = harness.run("peek", "--output", "json")

    assert result.code == 0
    by_id = {each["message_id"]: each for each in result.data()}
    assert set(by_id) == {spot, ignored, malformed}
    age = by_id[spot].pop("age_seconds")
    assert 0 <= age < 10
    assert by_id[spot] == {
        "message_id": spot,
        "receive_count": 1,
        "kind": "spot_interruption",
        "instances": [INSTANCE],
        "verdict": "interruption",
        "reason": None,
    }
    assert (by_id[ignored]["verdict"], by_id[ignored]["kind"]) == ("ignored", None)
    assert by_id[malformed]["verdict"] == "malformed"
    assert by_id[malformed]["reason"].startswith("body: not JSON")


def test_every_message_is_visible_again_and_was_received_once(harness: CliHarness) -> None:
    harness.send(*[SPOT] * 25)

    result = harness.run("peek", "--max", "30", "--output", "json")

    assert len({each["message_id"] for each in result.data()}) == 25
    assert result.line.startswith("25 of ")
    assert result.line.endswith("; the receive count of each went up by one")
    assert harness.aws.queue_state(harness.url).visible == 25
    assert {message.receive_count for message in harness.contents()} == {1}


def test_messages_are_hidden_for_moments_only(harness: CliHarness) -> None:
    harness.send(*[SPOT] * 25)

    harness.run("peek", "--max", "30")

    for record in harness.aws.message_log(harness.url):
        (received_at,) = record.received_at
        assert record.visible_since is not None
        # After ten seconds the queue would show it again by itself.
        assert (record.visible_since - received_at).total_seconds() < 9


def test_no_more_are_looked_at_than_asked_for(harness: CliHarness) -> None:
    harness.send(*[SPOT] * 25)

    result = harness.run("peek", "--max", "3", "--output", "json")

    assert len(result.data()) == 3
    assert sorted(message.receive_count for message in harness.contents()) == [0] * 22 + [1] * 3


def test_a_long_queue_is_seen_whole_and_each_message_once(harness: CliHarness) -> None:
    sent = harness.send(*[SPOT] * 230)

    result = harness.run("peek", "--max", "500", "--output", "json")

    assert sorted(each["message_id"] for each in result.data()) == sorted(sent)
    assert harness.aws.queue_state(harness.url).visible == 230


def test_people_see_a_table(harness: CliHarness) -> None:
    (sent,) = harness.send(SPOT)

    result = harness.run("peek")

    (row,) = [line.split() for line in result.out.splitlines() if sent in line]
    assert (row[1:3], row[-3:]) == (["spot_interruption", "interruption"], ["1", INSTANCE, "-"])


def test_names_are_the_ids_of_messages(harness: CliHarness) -> None:
    (sent,) = harness.send(SPOT)

    assert harness.run("peek", "-o", "name").out.splitlines() == [sent]


@pytest.mark.parametrize("columns", ["80", "40"])
def test_an_id_is_whole_in_a_terminal_that_is_narrow(
    harness: CliHarness, cluster: ThreadedCluster, columns: str
) -> None:
    harness.run.environment |= cluster.environment()
    (sent,) = harness.send(SPOT)

    screen = harness.start_on_terminal("peek", COLUMNS=columns)
    assert screen.code == 0
    assert sent in screen.text
    assert ("spot_interruption" in screen.text) is (columns == "80")
    hidden = "not shown, because the terminal is too narrow: "
    assert hidden in screen.text
    explained = harness.start_on_terminal("explain", sent, COLUMNS=columns)
    assert explained.code == 0
    assert INSTANCE in explained.text
    assert (json.loads(SPOT)["id"] in explained.text) is (columns == "80")
    wide = harness.start_on_terminal("peek", "--output", "wide", COLUMNS=columns)
    assert wide.code == 0
    assert INSTANCE in wide.text
    assert hidden not in wide.text


def test_yaml_says_the_same(harness: CliHarness) -> None:
    (sent,) = harness.send(SPOT)

    result = harness.run("peek", "--output", "yaml")

    assert yaml.safe_load(result.out)[0]["message_id"] == sent


def test_the_dead_letter_queue_is_found(harness: CliHarness) -> None:
    harness.send(SPOT)
    (dead_lettered,) = harness.dead_letter("nonsense")

    result = harness.run("peek", "--dead-letters", "--output", "json")

    assert [each["message_id"] for each in result.data()] == [dead_lettered]


def test_a_queue_is_found_by_its_name_by_its_url_and_by_its_arn(harness: CliHarness) -> None:
    (dead_lettered,) = harness.dead_letter("nonsense")
    name = harness.dead_letters_url.rpartition("/")[2]
    arn = f"arn:aws:sqs:us-east-1:123456789012:{name}"

    for named in (name, harness.dead_letters_url, arn):
        result = harness.run("peek", "--queue", named, "--output", "json")

        assert [each["message_id"] for each in result.data()] == [dead_lettered]


def test_an_empty_queue_is_an_empty_list(harness: CliHarness) -> None:
    began = time.monotonic()

    result = harness.run("peek", "--output", "json")

    assert (result.code, result.data()) == (0, [])
    assert result.line.startswith("nothing is visible in ")
    # One receive waits for a second; the queue's own wait time would be 20 s.
    assert time.monotonic() - began < 15


def test_no_queue_is_wrong_usage_with_the_cure(terminal: Terminal) -> None:
    result = terminal("peek")

    assert result.code == 2
    assert result.line == (
        "peek: no queue: name one with --queue, by URL or name, or set QUEUE_PROCESSOR_QUEUE_URL"
    )


def test_a_queue_that_does_not_exist_is_named(harness: CliHarness) -> None:
    for name in ("misspelt", f"{harness.url}-misspelt"):
        result = harness.run("peek", "--queue", name)

        assert result.code == 2
        assert result.line.startswith("peek: there is no queue ")
        assert "misspelt" in result.line


def test_a_queue_without_dead_letters_says_so(harness: CliHarness) -> None:
    result = harness.run("peek", "--queue", harness.dead_letters_url, "--dead-letters")

    assert result.code == 2
    assert "has no dead-letter queue" in result.line


def test_a_missing_permission_is_named_with_its_queue(harness: CliHarness) -> None:
    harness.allow_only("sqs:GetQueueAttributes")

    result = harness.run("peek")

    assert result.code == 1
    name = harness.url.rpartition("/")[2]
    assert result.line.startswith(f"peek: the permission sqs:ReceiveMessage on {name} is missing: ")


def test_no_credentials_are_one_line_with_the_cure(terminal: Terminal) -> None:
    result = terminal(
        "peek", "--queue", "https://sqs.us-east-1.amazonaws.com/1/q", AWS_REGION="us-east-1"
    )

    assert result.code == 1
    assert result.line.startswith("peek: no AWS credentials; ")


def test_the_help_has_an_example(terminal: Terminal) -> None:
    assert "queue-processor messages peek --dead-letters --max 50" in terminal("peek", "--help").out
