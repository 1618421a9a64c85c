"""A queue, for the commands that people run: every call blocks, and none is repeated behind."""

import dataclasses
import datetime as dt
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from queue_processor.adapters.aws import deadletters, faults, grants
from queue_processor.adapters.aws.batches import BATCH_SIZE
from queue_processor.adapters.aws.deadletters import RedrivePolicy
from queue_processor.domain.recording import Attribute, StoredMessage

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient
    from types_boto3_sqs.type_defs import (
        MessageAttributeValueTypeDef,
        MessageTypeDef,
        SendMessageBatchRequestEntryTypeDef,
    )

ATTRIBUTE_LIMIT = 10


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HeldMessage:
    """A message that is ours until its visibility timeout ends."""

    message: StoredMessage
    receipt_handle: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """What SQS says about a queue; its counts lag behind by up to a minute.

    Attributes:
        redrive: None for a queue without a dead-letter queue.
        visible: How many messages a receive could return.
        held: How many somebody holds just now.
    """

    arn: str
    redrive: RedrivePolicy | None
    visible: int
    held: int


class QueueClient:
    """One queue.

    Every method raises UsageError where there is no such queue, PermanentError with the
    permission that is missing, or TemporaryError.
    """

    def __init__(self, client: "SQSClient", url: str) -> None:
        self._client = client
        self.url = url

    @property
    def name(self) -> str:
        """The name of the queue."""
        return self.url.rpartition("/")[2]

    def named(self, name: str) -> "QueueClient":
        """Another queue, by URL, ARN or name; a name is looked up."""
        if name.startswith(("https://", "http://")):
            return QueueClient(self._client, name)
        name = name.rpartition(":")[2]
        with grants.asked("sqs:GetQueueUrl", name):
            return QueueClient(self._client, self._client.get_queue_url(QueueName=name)["QueueUrl"])

    def beside(self, arn: str) -> "QueueClient":
        """The queue of this ARN, in the same account and Region."""
        return QueueClient(self._client, deadletters.url_beside(self.url, arn))

    def state(self) -> QueueState:
        """Look at the queue, not into it."""
        with grants.asked("sqs:GetQueueAttributes", self.name):
            found = self._client.get_queue_attributes(
                QueueUrl=self.url,
                AttributeNames=[
                    "QueueArn",
                    "RedrivePolicy",
                    "ApproximateNumberOfMessages",
                    "ApproximateNumberOfMessagesNotVisible",
                ],
            )["Attributes"]
            return QueueState(
                arn=found["QueueArn"],
                redrive=deadletters.parse(found.get("RedrivePolicy")),
                visible=int(found["ApproximateNumberOfMessages"]),
                held=int(found["ApproximateNumberOfMessagesNotVisible"]),
            )

    def sources(self) -> Sequence["QueueClient"]:
        """The queues whose dead letters come here."""
        with grants.asked("sqs:ListDeadLetterSourceQueues", self.name):
            pages = self._client.get_paginator("list_dead_letter_source_queues").paginate(
                QueueUrl=self.url
            )
            return [QueueClient(self._client, url) for page in pages for url in page["queueUrls"]]

    def receive(
        self, limit: int, *, hidden: dt.timedelta, wait: dt.timedelta
    ) -> Sequence[HeldMessage]:
        """Receive up to ten messages, which adds one to the receive count of each.

        Args:
            limit: The most to receive.
            hidden: How long they are ours.
            wait: How long to wait for the first; zero asks only some of the servers.
        """
        with grants.asked("sqs:ReceiveMessage", self.name):
            answer = self._client.receive_message(
                QueueUrl=self.url,
                MaxNumberOfMessages=min(limit, BATCH_SIZE),
                VisibilityTimeout=int(hidden.total_seconds()),
                WaitTimeSeconds=int(wait.total_seconds()),
                MessageSystemAttributeNames=["All"],
                MessageAttributeNames=["All"],
            )
        return [_held(found) for found in answer.get("Messages", [])]

    def give_back(self, receipt_handles: Iterable[str]) -> None:
        """Make messages visible again, at once; those that are visible already stay so."""
        for batch in _batches(receipt_handles):
            with grants.asked("sqs:ChangeMessageVisibility", self.name):
                self._client.change_message_visibility_batch(
                    QueueUrl=self.url,
                    Entries=[
                        {"Id": str(number), "ReceiptHandle": handle, "VisibilityTimeout": 0}
                        for number, handle in enumerate(batch)
                    ],
                )

    def delete(self, receipt_handles: Sequence[str]) -> faults.Results:
        """Delete up to ten messages.

        Returns:
            One item for each message: None, or what went wrong with it.
        """
        with grants.asked("sqs:DeleteMessage", self.name):
            answer = self._client.delete_message_batch(
                QueueUrl=self.url,
                Entries=[
                    {"Id": str(number), "ReceiptHandle": handle}
                    for number, handle in enumerate(receipt_handles)
                ],
            )
        return faults.of_batch(
            "delete",
            len(receipt_handles),
            done=[entry["Id"] for entry in answer.get("Successful", [])],
            failed=answer.get("Failed", []),
        )

    def send(self, messages: Sequence[StoredMessage]) -> faults.Results:
        """Send up to ten messages, together no larger than batches.SIZE_LIMIT.

        Returns:
            One item for each message: None, or what went wrong with it.
        """
        entries: list[SendMessageBatchRequestEntryTypeDef] = [
            {
                "Id": str(number),
                "MessageBody": message.body,
                "MessageAttributes": {
                    name: _given(attribute) for name, attribute in message.attributes.items()
                },
            }
            for number, message in enumerate(messages)
        ]
        with grants.asked("sqs:SendMessage", self.name):
            answer = self._client.send_message_batch(QueueUrl=self.url, Entries=entries)
        return faults.of_batch(
            "send",
            len(messages),
            done=[entry["Id"] for entry in answer.get("Successful", [])],
            failed=answer.get("Failed", []),
        )


def _batches(handles: Iterable[str]) -> Iterable[Sequence[str]]:
    every = list(handles)
    return [every[start : start + BATCH_SIZE] for start in range(0, len(every), BATCH_SIZE)]


def _held(found: "MessageTypeDef") -> HeldMessage:
    return HeldMessage(
        receipt_handle=found["ReceiptHandle"],
        message=StoredMessage(
            message_id=found["MessageId"],
            body=found.get("Body", ""),
            system={str(name): value for name, value in found.get("Attributes", {}).items()},
            attributes={
                name: Attribute(
                    data_type=given["DataType"],
                    value=given["StringValue"] if "StringValue" in given else given["BinaryValue"],
                )
                for name, given in found.get("MessageAttributes", {}).items()
            },
        ),
    )


def _given(attribute: Attribute) -> "MessageAttributeValueTypeDef":
    if isinstance(attribute.value, bytes):
        return {"DataType": attribute.data_type, "BinaryValue": attribute.value}
    return {"DataType": attribute.data_type, "StringValue": attribute.value}
