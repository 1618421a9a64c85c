"""`messages redrive`: dead letters go back when they would be understood, and none is lost."""

import collections
import json

import pytest

from queue_processor.domain import aws_events
from queue_processor.simulator.aws import events
from tests.cli.messages.conftest import Desk
from tests.cli.messages.test_record import GIVEN

SPOT = json.dumps(aws_events.spot_interruption("i-0123456789abcdef0", origin=events.new_origin()))
OTHER_SPOT = json.dumps(
    aws_events.spot_interruption("i-0fedcba9876543210", origin=events.new_origin())
)
REBALANCE = json.dumps(
    aws_events.rebalance_recommendation("i-0123456789abcdef0", origin=events.new_origin())
)
NONSENSE = "nonsense"


class TestWhatGoes:
    def test_all_that_is_understood_goes(self, desk: Desk) -> None:
        desk.bury(SPOT, REBALANCE)

        told = desk.run("redrive", "--yes", "--output", "json")

        assert told.code == 0
        assert told.data() == {
            "from": desk.dead_letters_url,
            "to": desk.url,
            "moved": 2,
            "left": 0,
        }
        assert "2 of 2 moved" in told.err
        assert (sorted(desk.bodies()), desk.dead_bodies()) == (sorted([SPOT, REBALANCE]), [])

    def test_what_is_still_malformed_stays_and_may_be_seen_again_at_once(self, desk: Desk) -> None:
        desk.bury(NONSENSE, SPOT, OTHER_SPOT)

        told = desk.run("redrive", "--yes")

        assert told.code == 0
        assert "2 messages moved to " in told.out
        rows = [line.split() for line in told.out.splitlines()]
        assert ["2", "spot_interruption", "interruption", "-", "moved"] in rows
        assert any(row[:3] == ["1", "-", "malformed"] and row[-1] == "left" for row in rows)
        assert sorted(desk.bodies()) == sorted([SPOT, OTHER_SPOT])
        assert desk.dead_bodies() == [NONSENSE]
        assert desk.aws.queue_state(desk.dead_letters_url).visible == 1

    def test_a_filter_takes_kinds_only(self, desk: Desk) -> None:
        desk.bury(SPOT, REBALANCE, "{}", NONSENSE)

        told = desk.run("redrive", "--filter", "kind=rebalance_recommendation", "--yes")

        assert told.code == 0
        assert desk.bodies() == [REBALANCE]
        assert sorted(desk.dead_bodies()) == sorted([SPOT, "{}", NONSENSE])

    def test_a_message_is_moved_with_its_attributes(self, desk: Desk) -> None:
        desk.bury(NONSENSE)
        desk.sqs.send_message(
            QueueUrl=desk.dead_letters_url, MessageBody=SPOT, MessageAttributes=GIVEN
        )

        desk.run("redrive", "--yes")

        (message,) = desk.sqs.receive_message(
            QueueUrl=desk.url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
        )["Messages"]
        assert (message["Body"], message["MessageAttributes"]) == (SPOT, GIVEN)

    def test_hundreds_of_large_messages_are_moved_past_those_that_stay(self, desk: Desk) -> None:
        body = json.dumps(
            {
                **aws_events.rebalance_recommendation("i-0", origin=events.new_origin()),
                "padding": "x" * 200_000,
            }
        )
        desk.bury(*[NONSENSE] * 120, *[SPOT] * 30, *[body] * 12)

        told = desk.run("redrive", "--yes", "--rate", "500/s", "--filter", "kind=spot_interruption")

        assert (told.code, len(desk.bodies())) == (0, 30)
        assert collections.Counter(desk.dead_bodies()) == {NONSENSE: 120, body: 12}
        assert desk.aws.queue_state(desk.dead_letters_url).visible == 132

    def test_where_nothing_lies_nothing_is_done(self, desk: Desk) -> None:
        told = desk.run("redrive")

        assert (told.code, told.out) == (0, "")
        assert told.line.startswith("nothing is visible in ")

    def test_where_nothing_would_be_understood_nobody_is_asked(self, desk: Desk) -> None:
        desk.bury(NONSENSE)

        told = desk.run("redrive")

        assert told.code == 0
        assert told.line.startswith("none of the 1 messages of ")
        assert desk.dead_bodies() == [NONSENSE]


class TestWhichQueues:
    def test_a_dead_letter_queue_by_name_goes_back_to_its_only_source(self, desk: Desk) -> None:
        desk.bury(SPOT)

        told = desk.run("redrive", "--queue", desk.dead_letters_url.rpartition("/")[2], "--yes")

        assert told.code == 0
        assert (desk.bodies(), desk.dead_bodies()) == ([SPOT], [])

    @pytest.mark.parametrize("bodies", [[SPOT], [SPOT, NONSENSE]])
    def test_another_queue_can_be_named(self, desk: Desk, bodies: list[str]) -> None:
        desk.bury(*bodies)
        other = desk.sqs.create_queue(QueueName="other")["QueueUrl"]

        told = desk.run("redrive", "--to", "other", "--yes")

        assert told.code == 0
        assert [message.body for message in desk.aws.contents(other)] == [SPOT]
        assert desk.bodies() == []

    def test_of_several_sources_one_has_to_be_named(self, desk: Desk) -> None:
        desk.bury(SPOT)
        policy = desk.sqs.get_queue_attributes(QueueUrl=desk.url, AttributeNames=["RedrivePolicy"])[
            "Attributes"
        ]["RedrivePolicy"]
        desk.sqs.create_queue(QueueName="another", Attributes={"RedrivePolicy": policy})

        told = desk.run("redrive", "--queue", desk.dead_letters_url, "--yes")

        assert told.code == 2
        assert "has the dead letters of another, " in told.line
        assert told.line.endswith("name one of them with --to")
        assert desk.dead_bodies() == [SPOT]

    def test_a_queue_without_dead_letters_is_told(self, desk: Desk) -> None:
        desk.sqs.create_queue(QueueName="alone")

        told = desk.run("redrive", "--queue", "alone")

        assert told.code == 2
        assert "alone neither has a dead-letter queue nor is one" in told.line


class TestAsking:
    def test_a_dry_run_shows_each_message_and_moves_nothing(self, desk: Desk) -> None:
        spot, nonsense = desk.bury(SPOT, NONSENSE)

        told = desk.run("redrive", "--dry-run", "--output", "json")

        shown = {each["message_id"]: each for each in told.data()}
        assert told.code == 0
        assert (shown[spot]["kind"], shown[spot]["moves"]) == ("spot_interruption", True)
        assert (shown[nonsense]["verdict"], shown[nonsense]["moves"]) == ("malformed", False)
        assert told.line.startswith("1 of 2 would go from ")
        assert (desk.bodies(), len(desk.dead_bodies())) == ([], 2)

    def test_nothing_is_moved_where_nobody_can_be_asked(self, desk: Desk) -> None:
        desk.bury(SPOT)

        told = desk.run("redrive")

        assert told.code == 2
        assert "Move 1 messages from " in told.line
        assert desk.dead_bodies() == [SPOT]

    @pytest.mark.parametrize(("key", "moved"), [("y", [SPOT]), ("n", [])])
    def test_a_person_at_a_terminal_decides(self, desk: Desk, key: str, moved: list[str]) -> None:
        desk.bury(SPOT, NONSENSE)

        screen = desk.sit_down("redrive")
        screen.until("[y/N]")
        screen.type(f"{key}\n")

        assert screen.code == (0 if moved else 1)
        assert desk.bodies() == moved
        assert ("nothing was changed" in screen.text) == (not moved)

    @pytest.mark.parametrize("filtered", ["kind=spot", "instance=i-0", "kind"])
    def test_what_is_no_filter_is_told_with_all_kinds(self, desk: Desk, filtered: str) -> None:
        told = desk.run("redrive", "--filter", filtered)

        assert told.code == 2
        assert told.line.startswith(f"redrive: '{filtered}' is no filter: kind= and one of ")
        assert "spot_interruption, " in told.line


class TestInterruptions:
    def test_ctrl_c_between_two_batches_leaves_the_rest_to_the_same_command(
        self, desk: Desk
    ) -> None:
        desk.bury(*[SPOT] * 100, NONSENSE)
        order = ("redrive", "--rate", "50/s", "--yes", "--output", "json")

        first = desk.start(*order)
        first.until(lambda: len(desk.contents()) >= 20)
        first.interrupt()
        code, out, err = first.ended()

        half = json.loads(out)
        assert code == 130
        assert half["moved"] == len(desk.contents()) < 100
        assert "the same command goes on with what is left" in err

        told = desk.run("redrive", "--yes", "--rate", "500/s", "--output", "json")

        assert (told.code, told.data()["moved"]) == (0, half["left"])
        assert (desk.bodies(), desk.dead_bodies()) == ([SPOT] * 100, [NONSENSE])

    def test_a_kill_between_two_batches_loses_nothing(self, desk: Desk) -> None:
        desk.bury(*[SPOT] * 50, NONSENSE)

        first = desk.start("redrive", "--rate", "50/s", "--yes")
        first.until(lambda: len(desk.contents()) >= 10)
        first.kill()
        first.ended()

        # What it had in hand may be in both queues.
        found = len(desk.bodies()) + desk.dead_bodies().count(SPOT)
        assert 50 <= found <= 60
        assert desk.dead_bodies().count(NONSENSE) == 1

    def test_a_message_that_the_queue_does_not_take_stays_and_is_told(self, desk: Desk) -> None:
        small = desk.sqs.create_queue(QueueName="small", Attributes={"MaximumMessageSize": "1024"})[
            "QueueUrl"
        ]
        large = json.dumps({**json.loads(SPOT), "padding": "x" * 2000})
        (refused, *_) = desk.bury(large, SPOT, NONSENSE)

        told = desk.run("redrive", "--to", small, "--yes")

        assert told.code == 1
        assert f"{refused} was not taken: send: " in told.err
        assert [message.body for message in desk.aws.contents(small)] == [SPOT]
        assert sorted(desk.dead_bodies()) == sorted([large, NONSENSE])
        assert desk.aws.queue_state(desk.dead_letters_url).visible == 2

    def test_a_queue_that_goes_away_costs_no_dead_letter(self, desk: Desk) -> None:
        desk.bury(*[SPOT] * 100)
        gone = desk.sqs.create_queue(QueueName="gone")["QueueUrl"]

        order = ("redrive", "--to", "gone", "--rate", "20/s", "--yes", "--output", "json")
        running = desk.start(*order)
        running.until(lambda: len(desk.aws.contents(gone)) > 0)
        desk.sqs.delete_queue(QueueUrl=gone)
        code, out, err = running.ended()

        assert code == 2
        assert "there is no queue gone in this account and Region" in err
        left = desk.aws.queue_state(desk.dead_letters_url)
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
        self, desk: Desk, allowed: list[str], missing: str
    ) -> None:
        desk.bury(SPOT)
        desk.become(*allowed)

        told = desk.run("redrive", "--yes")

        assert told.code == 1
        assert f"the permission {missing} on " in told.err.splitlines()[-1]
