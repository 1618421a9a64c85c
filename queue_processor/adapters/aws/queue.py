"""One SQS queue: every request that the program makes of SQS is built here, and blocks.

The commands for people call it as it is; the operator calls it through `sqs.SqsQueue`.
"""

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from botocore.utils import ArnParser

from queue_processor.adapters.aws import errors as aws_errors
from queue_processor.adapters.aws import queue_attributes
from queue_processor.adapters.aws.batches import BATCH_SIZE
from queue_processor.adapters.aws.queue_attributes import QueueConfiguration, QueueState
from queue_processor.domain import errors
from queue_processor.domain.messages import Attribute, QueueMessage, ReceivedMessage

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient
    from types_boto3_sqs.literals import QueueAttributeFilterType
    from types_boto3_sqs.type_defs import (
        ChangeMessageVisibilityBatchResultTypeDef,
        DeleteMessageBatchResultTypeDef,
        MessageAttributeValueTypeDef,
        MessageTypeDef,
        SendMessageBatchRequestEntryTypeDef,
        SendMessageBatchResultTypeDef,
    )

    _BatchResult: TypeAlias = (
        ChangeMessageVisibilityBatchResultTypeDef
        | DeleteMessageBatchResultTypeDef
        | SendMessageBatchResultTypeDef
    )

ATTRIBUTE_LIMIT = 10

_Attributes = TypeVar("_Attributes", QueueState, QueueConfiguration)

Visibility: TypeAlias = tuple[str, int]
"""A receipt handle, and for how many seconds from now its message stays invisible."""


class QueueClient:
    """One queue.

    Every method raises UsageError where there is no such queue, Forbidden with the permission that
    is missing, another PermanentError, or TemporaryError.
    """

    def __init__(self, client: "SQSClient", url: str) -> None:
        self._client = client
        self.url = url

    @property
    def name(self) -> str:
        """The name of the queue."""
        return self.url.rpartition("/")[2]

    def named(self, name: str) -> "QueueClient":
        """Return another queue, by URL, ARN or name; a name is looked up."""
        if name.startswith(("https://", "http://")):
            return QueueClient(self._client, name)
        if ArnParser.is_arn(name):
            name = queue_attributes.name_in(name)
        with aws_errors.needs_permission("sqs:GetQueueUrl", name):
            return QueueClient(self._client, self._client.get_queue_url(QueueName=name)["QueueUrl"])

    def beside(self, arn: str) -> "QueueClient":
        """Return the queue of this ARN without a look-up.

        It is in the same account and Region, as a dead-letter queue is in those of its source.
        """
        return QueueClient(
            self._client, f"{self.url.rpartition('/')[0]}/{queue_attributes.name_in(arn)}"
        )

    def state(self) -> QueueState:
        """Return what SQS reports about the queue."""
        return self._read(queue_attributes.OF_STATE, queue_attributes.state_of)

    def usable_state(self) -> QueueState:
        """Return what SQS reports about the queue of the operator.

        Raises:
            ConfigurationError: The queue does not exist, refuses us, cannot be reached, or is a
                FIFO queue.
        """
        try:
            state = self.state()
        except errors.QueueProcessorError as error:
            raise errors.ConfigurationError(
                f"the queue cannot be used: {error}",
                cure=f"check queue_url ({self.url}), the Region, and that the role allows"
                " sqs:GetQueueAttributes",
            ) from error
        if state.is_fifo:
            raise errors.ConfigurationError(
                f"the queue {self.url} is a FIFO queue: lifecycle hooks cannot send to it, and a"
                " message in flight blocks its whole group",
                cure="set queue_url to a standard queue",
            )
        return state

    def configuration(self) -> QueueConfiguration:
        """Return how the queue is set up."""
        return self._read(queue_attributes.OF_CONFIGURATION, queue_attributes.configuration_of)

    def _read(
        self,
        names: Sequence["QueueAttributeFilterType"],
        read: Callable[["queue_attributes.Attributes"], _Attributes],
    ) -> _Attributes:
        with aws_errors.needs_permission("sqs:GetQueueAttributes", self.name):
            answer = self._client.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)
            return read(answer["Attributes"])

    def sources(self) -> Sequence["QueueClient"]:
        """Return the queues whose dead-letter queue this is."""
        with aws_errors.needs_permission("sqs:ListDeadLetterSourceQueues", self.name):
            pages = self._client.get_paginator("list_dead_letter_source_queues").paginate(
                QueueUrl=self.url
            )
            return [QueueClient(self._client, url) for page in pages for url in page["queueUrls"]]

    def receive(
        self, limit: int, *, hidden: dt.timedelta, wait: dt.timedelta
    ) -> Sequence[ReceivedMessage]:
        """Receive up to ten messages, which adds one to the receive count of each.

        Args:
            limit: The most to receive.
            hidden: How long they are ours.
            wait: How long to wait for the first; zero asks only some of the servers.
        """
        with aws_errors.needs_permission("sqs:ReceiveMessage", self.name):
            answer = self._client.receive_message(
                QueueUrl=self.url,
                MaxNumberOfMessages=min(limit, BATCH_SIZE),
                VisibilityTimeout=int(hidden.total_seconds()),
                WaitTimeSeconds=int(wait.total_seconds()),
                MessageSystemAttributeNames=["All"],
                MessageAttributeNames=["All"],
            )
        return [_received(message) for message in answer.get("Messages", [])]

    def change_visibility(self, entries: Sequence[Visibility]) -> aws_errors.Results:
        """Hide up to ten messages from now on; zero seconds make a message visible at once.

        Returns:
            One item for each message: None, or what went wrong with it.
        """
        with aws_errors.needs_permission("sqs:ChangeMessageVisibility", self.name):
            answer = self._client.change_message_visibility_batch(
                QueueUrl=self.url,
                Entries=[
                    {"Id": str(number), "ReceiptHandle": handle, "VisibilityTimeout": seconds}
                    for number, (handle, seconds) in enumerate(entries)
                ],
            )
        return _results("change visibility", len(entries), answer)

    def release(self, receipt_handles: Iterable[str]) -> None:
        """Make messages visible again, at once; those that are visible already stay so."""
        entries = [(handle, 0) for handle in receipt_handles]
        for start in range(0, len(entries), BATCH_SIZE):
            self.change_visibility(entries[start : start + BATCH_SIZE])

    def delete(self, receipt_handles: Sequence[str]) -> aws_errors.Results:
        """Delete up to ten messages.

        Returns:
            One item for each message: None, or what went wrong with it.
        """
        with aws_errors.needs_permission("sqs:DeleteMessage", self.name):
            answer = self._client.delete_message_batch(
                QueueUrl=self.url,
                Entries=[
                    {"Id": str(number), "ReceiptHandle": handle}
                    for number, handle in enumerate(receipt_handles)
                ],
            )
        return _results("delete", len(receipt_handles), answer)

    def send(self, messages: Sequence[QueueMessage]) -> aws_errors.Results:
        """Send up to ten messages, together no larger than batches.SIZE_LIMIT.

        Returns:
            One item for each message: None, or what went wrong with it.
        """
        entries: list[SendMessageBatchRequestEntryTypeDef] = [
            {
                "Id": str(number),
                "MessageBody": message.body,
                "MessageAttributes": {
                    name: _on_the_wire(attribute) for name, attribute in message.attributes.items()
                },
            }
            for number, message in enumerate(messages)
        ]
        with aws_errors.needs_permission("sqs:SendMessage", self.name):
            answer = self._client.send_message_batch(QueueUrl=self.url, Entries=entries)
        return _results("send", len(messages), answer)


def _results(call: str, size: int, answer: "_BatchResult") -> aws_errors.Results:
    return aws_errors.of_batch(
        call,
        size,
        done=[entry["Id"] for entry in answer.get("Successful", [])],
        failed=answer.get("Failed", []),
    )


def _received(message: "MessageTypeDef") -> ReceivedMessage:
    return ReceivedMessage(
        receipt_handle=message["ReceiptHandle"],
        message_id=message["MessageId"],
        body=message.get("Body", ""),
        system={str(name): value for name, value in message.get("Attributes", {}).items()},
        attributes={
            name: Attribute(
                data_type=attribute["DataType"],
                value=attribute["StringValue"]
                if "StringValue" in attribute
                else attribute["BinaryValue"],
            )
            for name, attribute in message.get("MessageAttributes", {}).items()
        },
    )


def _on_the_wire(attribute: Attribute) -> "MessageAttributeValueTypeDef":
    if isinstance(attribute.value, bytes):
        return {"DataType": attribute.data_type, "BinaryValue": attribute.value}
    return {"DataType": attribute.data_type, "StringValue": attribute.value}
