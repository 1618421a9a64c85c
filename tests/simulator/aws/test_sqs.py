"""SQS as a state machine: every call takes the time, so no test waits."""

import json
from typing import Any

import pytest

from queue_processor.simulator.aws import records
from queue_processor.simulator.aws.checks import SqsError
from queue_processor.simulator.aws.sqs import SimulatedSqs

_HOUR = 3_600.0
_TEXT = {"DataType": "String", "StringValue": "x"}


class Caller:
    """Calls SQS about one queue, at a time that moves on by hand."""

    def __init__(self, **attributes: str) -> None:
        self.now = 1_000_000.0
        self.sqs = SimulatedSqs()
        self.url = ""
        self.url = self.create("queue", **attributes)

    def create(self, name: str, **attributes: str) -> str:
        url = self.call("CreateQueue", QueueName=name, Attributes=attributes)
        return str(url["QueueUrl"])

    def call(self, action: str, **parameters: object) -> dict[str, Any]:
        return self.sqs.call(action, {"QueueUrl": self.url, **parameters}, self.now)

    def send(self, body: str = "hello", **parameters: object) -> None:
        self.call("SendMessage", MessageBody=body, **parameters)

    def receive(self, **parameters: object) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = self.call("ReceiveMessage", **parameters).get(
            "Messages", []
        )
        return messages

    def hide(self, handle: str, seconds: int) -> None:
        self.call("ChangeMessageVisibility", ReceiptHandle=handle, VisibilityTimeout=seconds)


def refusal(caller: Caller, action: str, **parameters: object) -> str:
    with pytest.raises(SqsError) as refused:
        caller.call(action, **parameters)
    return refused.value.shape


def test_a_message_past_its_retention_is_gone() -> None:
    caller = Caller()
    caller.send()
    caller.now += 4 * 24 * _HOUR

    assert caller.receive() == []
    (record,) = caller.sqs.queues["queue"].history()
    assert record.ending is records.MessageEnding.EXPIRED


def test_a_longer_visibility_keeps_a_message_hidden() -> None:
    caller = Caller()
    caller.send()
    (message,) = caller.receive(VisibilityTimeout=1)
    caller.hide(message["ReceiptHandle"], 300)

    caller.now += 299
    assert caller.receive() == []
    caller.now += 1

    assert len(caller.receive()) == 1


def test_a_message_is_hidden_for_twelve_hours_at_most() -> None:
    caller = Caller()
    caller.send()
    (message,) = caller.receive(VisibilityTimeout=43_200)
    caller.now += 11 * _HOUR
    caller.hide(message["ReceiptHandle"], 3_600)

    with pytest.raises(SqsError, match="beyond the limit"):
        caller.hide(message["ReceiptHandle"], 3_601)


def test_a_dead_letter_keeps_its_id_its_receive_count_and_the_time_of_its_sending() -> None:
    caller = Caller()
    letters = caller.create("letters")
    policy = {"deadLetterTargetArn": SimulatedSqs.arn_of("letters"), "maxReceiveCount": 1}
    caller.call("SetQueueAttributes", Attributes={"RedrivePolicy": json.dumps(policy)})
    caller.send("poison")
    (message,) = caller.receive(VisibilityTimeout=0)
    caller.now += 60

    assert caller.receive() == []

    (letter,) = caller.receive(QueueUrl=letters, MessageSystemAttributeNames=["All"])
    assert (letter["MessageId"], letter["Body"]) == (message["MessageId"], "poison")
    assert letter["Attributes"]["ApproximateReceiveCount"] == "2"
    assert letter["Attributes"]["SentTimestamp"] == "1000000000"
    sources = caller.call("ListDeadLetterSourceQueues", QueueUrl=letters)
    assert sources == {"queueUrls": [caller.url]}


@pytest.mark.parametrize(
    ("parameters", "shape"),
    [
        ({"MessageBody": ""}, "MissingParameter"),
        ({}, "MissingParameter"),
        ({"MessageBody": "\x00"}, "InvalidMessageContents"),
        ({"MessageBody": "x" * 1_025}, "InvalidParameterValue"),
        (
            {"MessageBody": "x" * 1_017, "MessageAttributes": {"a": _TEXT}},
            "InvalidParameterValue",
        ),
        ({"MessageBody": "x", "DelaySeconds": 901}, "InvalidParameterValue"),
        ({"MessageBody": "x", "MessageAttributes": {"a..b": _TEXT}}, "InvalidParameterValue"),
        (
            {"MessageBody": "x", "MessageAttributes": {"a": {"DataType": "Text"}}},
            "InvalidParameterValue",
        ),
        (
            {
                "MessageBody": "x",
                "MessageAttributes": {"a": {"DataType": "String", "StringValue": ""}},
            },
            "InvalidParameterValue",
        ),
        (
            {"MessageBody": "x", "MessageAttributes": {f"a{n}": _TEXT for n in range(11)}},
            "InvalidParameterValue",
        ),
    ],
)
def test_a_message_that_sqs_does_not_take_is_refused(
    parameters: dict[str, object], shape: str
) -> None:
    caller = Caller(MaximumMessageSize="1024")

    assert refusal(caller, "SendMessage", **parameters) == shape
    assert caller.receive() == []


def test_a_message_of_the_largest_size_is_taken() -> None:
    caller = Caller(MaximumMessageSize="1024")

    caller.send("x" * 1_016, MessageAttributes={"a": _TEXT})

    assert len(caller.receive()) == 1


@pytest.mark.parametrize(
    ("ids", "shape"),
    [
        ([], "EmptyBatchRequest"),
        ([str(number) for number in range(11)], "TooManyEntriesInBatchRequest"),
        (["a", "a"], "BatchEntryIdsNotDistinct"),
        (["a b"], "InvalidBatchEntryId"),
    ],
)
@pytest.mark.parametrize(
    "action", ["SendMessageBatch", "DeleteMessageBatch", "ChangeMessageVisibilityBatch"]
)
def test_a_batch_that_is_none_is_refused_whole(action: str, ids: list[str], shape: str) -> None:
    entries = [{"Id": each, "MessageBody": "x", "ReceiptHandle": "x"} for each in ids]

    assert refusal(Caller(), action, Entries=entries) == shape


@pytest.mark.parametrize(
    "parameters",
    [
        {"MaxNumberOfMessages": 0},
        {"MaxNumberOfMessages": 11},
        {"WaitTimeSeconds": 21},
        {"VisibilityTimeout": 43_201},
    ],
)
def test_a_receive_out_of_range_is_refused(parameters: dict[str, object]) -> None:
    assert refusal(Caller(), "ReceiveMessage", **parameters) == "InvalidParameterValue"


@pytest.mark.parametrize(
    ("attributes", "shape"),
    [
        ({"Colour": "red"}, "InvalidAttributeName"),
        ({"VisibilityTimeout": "43201"}, "InvalidAttributeValue"),
        ({"MaximumMessageSize": "-1"}, "InvalidAttributeValue"),
        ({"RedrivePolicy": "{"}, "InvalidParameterValue"),
        ({"RedrivePolicy": '{"deadLetterTargetArn": "a"}'}, "InvalidParameterValue"),
        (
            {"RedrivePolicy": '{"deadLetterTargetArn": "a", "maxReceiveCount": 1001}'},
            "InvalidParameterValue",
        ),
        (
            {"RedrivePolicy": '{"deadLetterTargetArn": "a", "maxReceiveCount": 1}'},
            "InvalidParameterValue",
        ),
    ],
)
def test_an_attribute_that_sqs_does_not_take_is_refused(
    attributes: dict[str, str], shape: str
) -> None:
    assert refusal(Caller(), "SetQueueAttributes", Attributes=attributes) == shape


def test_a_policy_is_removed_by_an_empty_one() -> None:
    caller = Caller(Policy="{}")

    caller.call("SetQueueAttributes", Attributes={"Policy": ""})

    assert caller.call("GetQueueAttributes", AttributeNames=["Policy"]) == {}


def test_the_name_of_a_queue_is_taken_once() -> None:
    caller = Caller()

    assert caller.create("queue") == caller.url
    assert (
        refusal(caller, "CreateQueue", QueueName="queue", Attributes={"VisibilityTimeout": "1"})
        == "QueueNameExists"
    )
    assert refusal(caller, "CreateQueue", QueueName="a queue") == "InvalidParameterValue"


def test_an_action_that_sqs_does_not_have_is_refused() -> None:
    assert refusal(Caller(), "ShredQueue") == "InvalidAction"
