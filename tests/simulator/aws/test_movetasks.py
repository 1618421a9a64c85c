import json
import time
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from botocore import exceptions

from queue_processor.simulator.aws import records, simulator

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient
    from types_boto3_sqs.type_defs import ListMessageMoveTasksResultEntryTypeDef


class Pair:
    """A queue and its dead-letter queue."""

    def __init__(self, aws: simulator.AwsSimulator, client: "SQSClient") -> None:
        self.aws = aws
        self.client = client
        self.letters, self.letters_arn = self.create()
        policy = {"deadLetterTargetArn": self.letters_arn, "maxReceiveCount": 1}
        self.url, self.arn = self.create(RedrivePolicy=json.dumps(policy))

    def create(self, **attributes: str) -> tuple[str, str]:
        url = self.client.create_queue(
            QueueName=f"queue-{uuid.uuid4()}",
            Attributes=attributes,  # type: ignore[arg-type] # the stub wants the names as literals
        )["QueueUrl"]
        answer = self.client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return url, answer["Attributes"]["QueueArn"]

    def bury(self, *bodies: str) -> None:
        for body in bodies:
            self.client.send_message(QueueUrl=self.letters, MessageBody=body)

    def latest(self) -> "ListMessageMoveTasksResultEntryTypeDef":
        (task,) = self.client.list_message_move_tasks(SourceArn=self.letters_arn)["Results"]
        return task

    def until(self, holds: Callable[[], bool]) -> None:
        ends_at = time.monotonic() + 5
        while not holds():
            assert time.monotonic() < ends_at
            time.sleep(0.01)

    def ended(self) -> "ListMessageMoveTasksResultEntryTypeDef":
        self.until(lambda: self.latest()["Status"] not in {"RUNNING", "CANCELLING"})
        return self.latest()

    def bodies(self, url: str) -> list[str]:
        return [message.body for message in self.aws.contents(url)]


@pytest.fixture
def pair(aws: simulator.AwsSimulator, sqs: "SQSClient") -> Pair:
    return Pair(aws, sqs)


def refusal(call: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises(exceptions.ClientError) as failure:
        call()
    error = failure.value.response["Error"]
    return error["Code"], error["Message"]


def test_a_task_moves_everything_to_the_destination(pair: Pair) -> None:
    pair.bury("one", "two")

    pair.client.start_message_move_task(SourceArn=pair.letters_arn, DestinationArn=pair.arn)
    task = pair.ended()

    assert task["Status"] == "COMPLETED"
    assert task["ApproximateNumberOfMessagesMoved"] == 2
    assert task["ApproximateNumberOfMessagesToMove"] == 2
    assert "TaskHandle" not in task
    assert (pair.bodies(pair.url), pair.bodies(pair.letters)) == (["one", "two"], [])
    assert pair.aws.message_log(pair.letters)[0].ending is records.Ending.MOVED


def test_a_moved_message_is_a_new_one_with_its_attributes(pair: Pair) -> None:
    given = {"reason": {"DataType": "String", "StringValue": "why"}}
    sent = pair.client.send_message(
        QueueUrl=pair.letters,
        MessageBody="one",
        MessageAttributes=given,  # type: ignore[arg-type] # a plain dictionary
    )
    pair.client.receive_message(QueueUrl=pair.letters, VisibilityTimeout=0)

    pair.client.start_message_move_task(SourceArn=pair.letters_arn, DestinationArn=pair.arn)
    pair.ended()

    (message,) = pair.aws.contents(pair.url)
    assert message.message_id != sent["MessageId"]
    assert (message.receive_count, message.attributes) == (0, {"reason": "why"})


def test_without_a_destination_a_dead_letter_goes_back_where_it_came_from(pair: Pair) -> None:
    pair.client.send_message(QueueUrl=pair.url, MessageBody="poison")
    for _ in range(2):
        pair.client.receive_message(QueueUrl=pair.url, VisibilityTimeout=0)
    assert pair.bodies(pair.letters) == ["poison"]

    pair.client.start_message_move_task(SourceArn=pair.letters_arn)

    assert pair.ended()["Status"] == "COMPLETED"
    assert pair.bodies(pair.url) == ["poison"]


def test_without_a_destination_a_message_that_was_sent_there_fails_the_task(pair: Pair) -> None:
    pair.bury("sent")

    pair.client.start_message_move_task(SourceArn=pair.letters_arn)
    task = pair.ended()

    assert task["Status"] == "FAILED"
    assert task["FailureReason"] == "CouldNotDetermineMessageSource"
    assert pair.bodies(pair.letters) == ["sent"]


def test_a_destination_that_goes_away_fails_the_task(pair: Pair) -> None:
    other, other_arn = pair.create()
    pair.bury("one", "two")
    pair.client.start_message_move_task(
        SourceArn=pair.letters_arn, DestinationArn=other_arn, MaxNumberOfMessagesPerSecond=2
    )

    pair.client.delete_queue(QueueUrl=other)

    assert pair.ended()["FailureReason"] == "AWS.SimpleQueueService.NonExistentQueue"
    assert sorted(pair.bodies(pair.letters)) == ["one", "two"]


def test_a_task_moves_no_faster_than_its_rate_and_can_be_cancelled(pair: Pair) -> None:
    pair.bury(*[str(number) for number in range(20)])
    began = time.monotonic()
    handle = pair.client.start_message_move_task(
        SourceArn=pair.letters_arn, DestinationArn=pair.arn, MaxNumberOfMessagesPerSecond=20
    )["TaskHandle"]

    pair.until(lambda: len(pair.bodies(pair.url)) >= 5)
    assert time.monotonic() - began >= 5 / 20
    assert pair.latest()["TaskHandle"] == handle
    moved = pair.client.cancel_message_move_task(TaskHandle=handle)
    task = pair.ended()

    assert moved["ApproximateNumberOfMessagesMoved"] >= 4
    assert task["Status"] == "CANCELLED"
    left = pair.bodies(pair.letters)
    assert 0 < len(left) < 20
    assert len(pair.bodies(pair.url)) + len(left) == 20


def test_one_task_at_a_time_and_the_next_when_it_is_over(pair: Pair) -> None:
    pair.bury("one", "two")
    handle = pair.client.start_message_move_task(
        SourceArn=pair.letters_arn, DestinationArn=pair.arn, MaxNumberOfMessagesPerSecond=1
    )["TaskHandle"]

    code, text = refusal(
        lambda: pair.client.start_message_move_task(
            SourceArn=pair.letters_arn, DestinationArn=pair.arn
        )
    )
    pair.client.cancel_message_move_task(TaskHandle=handle)
    pair.ended()
    pair.client.start_message_move_task(SourceArn=pair.letters_arn, DestinationArn=pair.arn)
    pair.ended()

    assert code == "InvalidParameterValue"
    assert text.startswith("There is already a task running.")
    listed = pair.client.list_message_move_tasks(SourceArn=pair.letters_arn, MaxResults=10)
    assert [task["Status"] for task in listed["Results"]] == ["COMPLETED", "CANCELLED"]


def test_the_source_is_a_dead_letter_queue(pair: Pair) -> None:
    assert refusal(lambda: pair.client.start_message_move_task(SourceArn=pair.arn)) == (
        "InvalidParameterValue",
        "Source queue must be configured as a Dead Letter Queue.",
    )


@pytest.mark.parametrize("rate", [0, 501])
def test_a_rate_is_between_1_and_500(pair: Pair, rate: int) -> None:
    code, _ = refusal(
        lambda: pair.client.start_message_move_task(
            SourceArn=pair.letters_arn, MaxNumberOfMessagesPerSecond=rate
        )
    )

    assert code == "InvalidParameterValue"


def test_what_does_not_exist_is_not_found(pair: Pair) -> None:
    client = pair.client
    for call in (
        lambda: client.start_message_move_task(SourceArn=f"{pair.arn}-misspelt"),
        lambda: client.start_message_move_task(
            SourceArn=pair.letters_arn, DestinationArn=f"{pair.arn}-misspelt"
        ),
        lambda: client.list_message_move_tasks(SourceArn=f"{pair.arn}-misspelt"),
        lambda: client.cancel_message_move_task(TaskHandle="misspelt"),
    ):
        assert refusal(call)[0] == "ResourceNotFoundException"
