"""`messages redrive`: dead letters go back when they would be understood, and none is lost."""

import collections
import json

import pytest

from queue_processor.domain import aws_events
from queue_processor.simulator.aws import events
from tests.messages.conftest import CliHarness
from tests.messages.test_record import ATTRIBUTES

SPOT = json.dumps(aws_events.spot_interruption("i-0123456789abcdef0", origin=events.new_origin()))
OTHER_SPOT = json.dumps(
    aws_events.spot_interruption("i-0fedcba9876543210", origin=events.new_origin())
)
REBALANCE = json.dumps(
    aws_events.rebalance_recommendation("i-0123456789abcdef0", origin=events.new_origin())
)
NONSENSE = "nonsense"


class TestWhatGoes:
    def test_all_that_is_understood_goes(self, harness: CliHarness) -> None:
        harness.dead_letter(SPOT, REBALANCE)

        result = harness.run("redrive", "--yes", "--output", "json")

        assert result.code == 0
        assert result.data() == {
            "from": harness.dead_letters_url,
            "to": harness.url,
            "moved": 2,
            "left": 0,
        }
        assert "2 of 2 moved" in result.err
        assert (sorted(harness.bodies()), harness.dead_bodies()) == (sorted([SPOT, REBALANCE]), [])

    def test_what_is_still_malformed_stays_and_may_be_seen_again_at_once(
        self, harness: CliHarness
    ) -> None:
        harness.dead_letter(NONSENSE, SPOT, OTHER_SPOT)

        result = harness.run("redrive", "--yes")

        assert result.code == 0
        assert "2 messages moved to " in result.out
        rows = [line.split() for line in result.out.splitlines()]
        assert ["2", "spot_interruption", "interruption", "-", "moved"] in rows
        assert any(row[:3] == ["1", "-", "malformed"] and row[-1] == "left" for row in rows)
        assert sorted(harness.bodies()) == sorted([SPOT, OTHER_SPOT])
        assert harness.dead_bodies() == [NONSENSE]
        assert harness.aws.queue_state(harness.dead_letters_url).visible == 1

    def test_a_filter_takes_kinds_only(self, harness: CliHarness) -> None:
        harness.dead_letter(SPOT, REBALANCE, "{}", NONSENSE)

        result = harness.run("redrive", "--filter", "kind=rebalance_recommendation", "--yes")

        assert result.code == 0
        assert harness.bodies() == [REBALANCE]
        assert sorted(harness.dead_bodies()) == sorted([SPOT, "{}", NONSENSE])

    def test_a_message_is_moved_with_its_attributes(self, harness: CliHarness) -> None:
        harness.dead_letter(NONSENSE)
        harness.sqs.send_message(
            QueueUrl=harness.dead_letters_url, MessageBody=SPOT, MessageAttributes=ATTRIBUTES
        )

        harness.run("redrive", "--yes")

        (message,) = harness.sqs.receive_message(
            QueueUrl=harness.url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
        )["Messages"]
        assert (message["Body"], message["MessageAttributes"]) == (SPOT, ATTRIBUTES)

    def test_hundreds_of_large_messages_are_moved_past_those_that_stay(
        self, harness: CliHarness
    ) -> None:
        body = json.dumps(
            {
                **aws_events.rebalance_recommendation("i-0", origin=events.new_origin()),
                "padding": "x" * 200_000,
            }
        )
        harness.dead_letter(*[NONSENSE] * 120, *[SPOT] * 30, *[body] * 12)

        result = harness.run(
            "redrive", "--yes", "--rate", "500/s", "--filter", "kind=spot_interruption"
        )

        assert (result.code, len(harness.bodies())) == (0, 30)
        assert collections.Counter(harness.dead_bodies()) == {NONSENSE: 120, body: 12}
        assert harness.aws.queue_state(harness.dead_letters_url).visible == 132

    def test_where_nothing_lies_nothing_is_done(self, harness: CliHarness) -> None:
        result = harness.run("redrive")

        assert (result.code, result.out) == (0, "")
        assert result.line.startswith("nothing is visible in ")

    def test_where_nothing_would_be_understood_nobody_is_asked(self, harness: CliHarness) -> None:
        harness.dead_letter(NONSENSE)

        result = harness.run("redrive")

        assert result.code == 0
        assert result.line.startswith("none of the 1 messages of ")
        assert harness.dead_bodies() == [NONSENSE]


class TestWhichQueues:
    def test_a_dead_letter_queue_by_name_goes_back_to_its_only_source(
        self, harness: CliHarness
    ) -> None:
        harness.dead_letter(SPOT)

        result = harness.run(
            "redrive", "--queue", harness.dead_letters_url.rpartition("/")[2], "--yes"
        )

        assert result.code == 0
        assert (harness.bodies(), harness.dead_bodies()) == ([SPOT], [])

    @pytest.mark.parametrize("bodies", [[SPOT], [SPOT, NONSENSE]])
    def test_another_queue_can_be_named(self, harness: CliHarness, bodies: list[str]) -> None:
        harness.dead_letter(*bodies)
        other = harness.sqs.create_queue(QueueName="other")["QueueUrl"]

        result = harness.run("redrive", "--to", "other", "--yes")

        assert result.code == 0
        assert [message.body for message in harness.aws.contents(other)] == [SPOT]
        assert harness.bodies() == []

    def test_of_several_sources_one_has_to_be_named(self, harness: CliHarness) -> None:
        harness.dead_letter(SPOT)
        policy = harness.sqs.get_queue_attributes(
            QueueUrl=harness.url, AttributeNames=["RedrivePolicy"]
        )["Attributes"]["RedrivePolicy"]
        harness.sqs.create_queue(QueueName="another", Attributes={"RedrivePolicy": policy})

        result = harness.run("redrive", "--queue", harness.dead_letters_url, "--yes")

        assert result.code == 2
        assert "has the dead letters of another, " in result.line
        assert result.line.endswith("name one of them with --to")
        assert harness.dead_bodies() == [SPOT]

    def test_a_queue_without_dead_letters_is_reported(self, harness: CliHarness) -> None:
        harness.sqs.create_queue(QueueName="alone")

        result = harness.run("redrive", "--queue", "alone")

        assert result.code == 2
        assert "alone neither has a dead-letter queue nor is one" in result.line


class TestAsking:
    def test_a_dry_run_shows_each_message_and_moves_nothing(self, harness: CliHarness) -> None:
        spot, nonsense = harness.dead_letter(SPOT, NONSENSE)

        result = harness.run("redrive", "--dry-run", "--output", "json")

        shown = {each["message_id"]: each for each in result.data()}
        assert result.code == 0
        assert (shown[spot]["kind"], shown[spot]["moves"]) == ("spot_interruption", True)
        assert (shown[nonsense]["verdict"], shown[nonsense]["moves"]) == ("malformed", False)
        assert result.line.startswith("1 of 2 would go from ")
        assert (harness.bodies(), len(harness.dead_bodies())) == ([], 2)

    def test_nothing_is_moved_where_nobody_can_be_asked(self, harness: CliHarness) -> None:
        harness.dead_letter(SPOT)

        result = harness.run("redrive")

        assert result.code == 2
        assert "Move 1 messages from " in result.line
        assert harness.dead_bodies() == [SPOT]

    @pytest.mark.parametrize(("key", "moved"), [("y", [SPOT]), ("n", [])])
    def test_a_person_at_a_terminal_decides(
        self, harness: CliHarness, key: str, moved: list[str]
    ) -> None:
        harness.dead_letter(SPOT, NONSENSE)

        screen = harness.start_on_terminal("redrive")
        screen.until("[y/N]")
        screen.type(f"{key}\n")

        assert screen.code == (0 if moved else 1)
        assert harness.bodies() == moved
        assert ("nothing was changed" in screen.text) == (not moved)

    @pytest.mark.parametrize("filtered", ["kind=spot", "instance=i-0", "kind"])
    def test_what_is_no_filter_is_reported_with_all_kinds(
        self, harness: CliHarness, filtered: str
    ) -> None:
        result = harness.run("redrive", "--filter", filtered)

        assert result.code == 2
        assert result.line.startswith(f"redrive: '{filtered}' is not a filter: kind= and one of ")
        assert "spot_interruption, " in result.line


class TestInterruptions:
    def test_ctrl_c_between_two_batches_leaves_the_rest_to_the_same_command(
        self, harness: CliHarness
    ) -> None:
        harness.dead_letter(*[SPOT] * 100, NONSENSE)
        order = ("redrive", "--rate", "50/s", "--yes", "--output", "json")

        first = harness.start(*order)
        first.until(lambda: len(harness.contents()) >= 20)
        first.interrupt()
        code, out, err = first.ended()

        half = json.loads(out)
        assert code == 130
        assert half["moved"] == len(harness.contents()) < 100
        assert "the same command continues with what is left" in err

        result = harness.run("redrive", "--yes", "--rate", "500/s", "--output", "json")

        assert (result.code, result.data()["moved"]) == (0, half["left"])
        assert (harness.bodies(), harness.dead_bodies()) == ([SPOT] * 100, [NONSENSE])

    def test_a_kill_between_two_batches_loses_nothing(self, harness: CliHarness) -> None:
        harness.dead_letter(*[SPOT] * 50, NONSENSE)

        first = harness.start("redrive", "--rate", "50/s", "--yes")
        first.until(lambda: len(harness.contents()) >= 10)
        first.kill()
        first.ended()

        # A batch that was in flight may be in both queues.
        messages = len(harness.bodies()) + harness.dead_bodies().count(SPOT)
        assert 50 <= messages <= 60
        assert harness.dead_bodies().count(NONSENSE) == 1

    def test_a_message_that_the_queue_does_not_take_stays_and_is_reported(
        self, harness: CliHarness
    ) -> None:
        small = harness.sqs.create_queue(
            QueueName="small", Attributes={"MaximumMessageSize": "1024"}
        )["QueueUrl"]
        large = json.dumps({**json.loads(SPOT), "padding": "x" * 2000})
        (refused, *_) = harness.dead_letter(large, SPOT, NONSENSE)

        result = harness.run("redrive", "--to", small, "--yes")

        assert result.code == 1
        assert f"{refused} was refused: send: " in result.err
        assert [message.body for message in harness.aws.contents(small)] == [SPOT]
        assert sorted(harness.dead_bodies()) == sorted([large, NONSENSE])
        assert harness.aws.queue_state(harness.dead_letters_url).visible == 2

    def test_a_queue_that_goes_away_costs_no_dead_letter(self, harness: CliHarness) -> None:
        harness.dead_letter(*[SPOT] * 100)
        gone = harness.sqs.create_queue(QueueName="gone")["QueueUrl"]

        order = ("redrive", "--to", "gone", "--rate", "20/s", "--yes", "--output", "json")
        running = harness.start(*order)
        running.until(lambda: len(harness.aws.contents(gone)) > 0)
        harness.sqs.delete_queue(QueueUrl=gone)
        code, out, err = running.ended()

        assert code == 2
        assert "there is no queue gone in this account and Region" in err
        left = harness.aws.queue_state(harness.dead_letters_url)
        assert left.visible == left.total == json.loads(out)["left"] < 100

    @pytest.mark.parametrize(
        ("allowed", "missing"),
        [
            (["sqs:GetQueueAttributes"], "sqs:ReceiveMessage"),
            (
                [
                    "sqs:GetQueueAttributes",
                    "sqs:ReceiveMessage",
                    "sqs:ChangeMessageVisibility",
                ],
                "sqs:SendMessage",
            ),
            (
                [
                    "sqs:GetQueueAttributes",
                    "sqs:ReceiveMessage",
                    "sqs:ChangeMessageVisibility",
                    "sqs:SendMessage",
                ],
                "sqs:DeleteMessage",
            ),
        ],
    )
    def test_a_missing_permission_is_named(
        self, harness: CliHarness, allowed: list[str], missing: str
    ) -> None:
        harness.dead_letter(SPOT)
        harness.allow_only(*allowed)

        result = harness.run("redrive", "--yes")

        assert result.code == 1
        assert f"the permission {missing} on " in result.err.splitlines()[-1]
