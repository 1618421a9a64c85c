"""The queue, on SQS."""

import asyncio
import concurrent.futures
import datetime as dt
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import structlog

from queue_processor.adapters.aws import deadletters, faults
from queue_processor.adapters.aws.batches import BATCH_SIZE, SIZE_LIMIT, Batcher
from queue_processor.adapters.aws.threads import DaemonExecutor
from queue_processor.domain import errors
from queue_processor.domain.messages import ReceivedMessage

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient
    from types_boto3_sqs.type_defs import MessageAttributeValueTypeDef, MessageTypeDef

_log = structlog.get_logger(__name__)

_HIDE_LINGER = dt.timedelta(milliseconds=20)
# Nobody waits for a deletion, and a message that comes again meanwhile costs nothing: batches may
# fill up.
_DELETE_LINGER = dt.timedelta(milliseconds=400)
_REASON_ATTRIBUTE = "queue-processor.reason"
_SOURCE_ATTRIBUTE = "queue-processor.message-id"
_REASON_LIMIT = 1000
_ATTRIBUTES_SIZE = 8 * 1024

_Result = TypeVar("_Result")
_Hide: TypeAlias = tuple[str, int]


class SqsQueue:
    """One queue and its dead-letter queue; the long poll has a thread of its own."""

    def __init__(
        self,
        client: "SQSClient",
        *,
        queue_url: str,
        visibility_timeout: dt.timedelta,
        wait_time: dt.timedelta,
        threads: concurrent.futures.Executor,
        polling: concurrent.futures.Executor | None = None,
    ) -> None:
        """Build the adapter.

        Args:
            client: Reaches SQS.
            queue_url: Which queue.
            visibility_timeout: How long a received message stays invisible at first.
            wait_time: How long one receive waits for a message.
            threads: Where short calls run.
            polling: Where receives run, one at a time; None: in a thread of their own.
        """
        self._client = client
        self._queue_url = queue_url
        self.visibility_timeout = visibility_timeout
        self._wait_seconds = int(wait_time.total_seconds())
        self._threads = threads
        self._polling = polling or DaemonExecutor(1, name="receive")
        self._handing_back: concurrent.futures.Future[None] | None = None
        self._dead_letter_url: str | None = None
        self._hiding: Batcher[_Hide] = Batcher(self._hide_batch, linger=_HIDE_LINGER)
        self._deleting: Batcher[str] = Batcher(self._delete_batch, linger=_DELETE_LINGER)

    async def open(self) -> None:
        """See that the queue is there and ours to read, and find its dead-letter queue.

        Raises:
            ConfigurationError: The queue does not exist, refuses us, or cannot be reached.
        """
        try:
            self._dead_letter_url = await self._call("look up queue", self._look_up)
        except errors.QueueProcessorError as error:
            raise errors.ConfigurationError(
                f"the queue cannot be used: {error}; check queue_url ({self._queue_url}), the"
                " Region, and that the role allows sqs:GetQueueAttributes"
            ) from error
        if self._dead_letter_url is None:
            _log.warning("queue_has_no_dead_letter_queue", queue_url=self._queue_url)

    async def receive(self) -> Sequence[ReceivedMessage]:
        """Wait for messages; what comes after a cancellation is handed back."""
        poll = self._polling.submit(self._receive)
        try:
            return await asyncio.shield(asyncio.wrap_future(poll))
        except asyncio.CancelledError:
            # The thread that receives does it, right after what cannot be cancelled.
            self._handing_back = self._polling.submit(self._hand_back, poll)
            raise

    async def hide(self, receipt_handle: str, duration: dt.timedelta) -> None:
        """Keep a message invisible for this long from now; zero gives it back at once."""
        await self._hiding.submit((receipt_handle, int(duration.total_seconds())))

    async def delete(self, receipt_handle: str) -> None:
        """Delete a message."""
        await self._deleting.submit(receipt_handle)

    async def dead_letter(self, message: ReceivedMessage, reason: str) -> bool:
        """Put a copy on the dead-letter queue; False when the queue has none."""
        url = self._dead_letter_url
        if url is None:
            return False
        await self._call(
            "dead-letter message", lambda: self._send_to_dead_letter_queue(url, message, reason)
        )
        return True

    async def count_waiting(self) -> int:
        """About how many messages wait to be received; those in hand are not among them."""
        return await self._call("count messages", self._count_waiting)

    async def close(self) -> None:
        """Wait for the last receive, so that what it fetched is handed back."""
        if self._handing_back is not None:
            await asyncio.wrap_future(self._handing_back)

    async def _call(self, name: str, function: Callable[[], _Result]) -> _Result:
        with faults.translated(name):
            return await asyncio.wrap_future(self._threads.submit(function))

    # In threads.

    def _look_up(self) -> str | None:
        """The URL of the dead-letter queue that the redrive policy names, if any."""
        attributes = self._client.get_queue_attributes(
            QueueUrl=self._queue_url, AttributeNames=["RedrivePolicy"]
        ).get("Attributes", {})
        policy = deadletters.parse(attributes.get("RedrivePolicy"))
        if policy is None:
            return None
        return deadletters.url_beside(self._queue_url, policy.target_arn)

    def _count_waiting(self) -> int:
        attributes = self._client.get_queue_attributes(
            QueueUrl=self._queue_url, AttributeNames=["ApproximateNumberOfMessages"]
        )["Attributes"]
        return int(attributes["ApproximateNumberOfMessages"])

    def _receive(self) -> list[ReceivedMessage]:
        with faults.translated("receive"):
            answer = self._client.receive_message(
                QueueUrl=self._queue_url,
                MaxNumberOfMessages=BATCH_SIZE,
                WaitTimeSeconds=self._wait_seconds,
                VisibilityTimeout=int(self.visibility_timeout.total_seconds()),
                MessageSystemAttributeNames=["SentTimestamp", "ApproximateReceiveCount"],
            )
        return [self._message(found) for found in answer.get("Messages", [])]

    def _hand_back(self, poll: "concurrent.futures.Future[list[ReceivedMessage]]") -> None:
        if poll.exception() is not None:
            return
        late = [(message.receipt_handle, 0) for message in poll.result()]
        if late:
            _log.info("late_messages_released", count=len(late))
            try:
                self._change_visibility(late)
            except errors.QueueProcessorError as error:
                # The visibility timeout gives them back, a little later.
                _log.warning("late_messages_not_handed_back", error=str(error))

    @staticmethod
    def _message(found: "MessageTypeDef") -> ReceivedMessage:
        return ReceivedMessage(
            message_id=found["MessageId"],
            receipt_handle=found["ReceiptHandle"],
            body=found.get("Body", ""),
            system={str(name): value for name, value in found.get("Attributes", {}).items()},
        )

    async def _hide_batch(self, entries: Sequence[_Hide]) -> faults.Results:
        return await asyncio.wrap_future(self._threads.submit(self._change_visibility, entries))

    def _change_visibility(self, entries: Sequence[_Hide]) -> faults.Results:
        with faults.translated("change visibility"):
            answer = self._client.change_message_visibility_batch(
                QueueUrl=self._queue_url,
                Entries=[
                    {"Id": str(number), "ReceiptHandle": handle, "VisibilityTimeout": seconds}
                    for number, (handle, seconds) in enumerate(entries)
                ],
            )
        return faults.of_batch(
            "change visibility",
            len(entries),
            done=[entry["Id"] for entry in answer.get("Successful", [])],
            failed=answer.get("Failed", []),
        )

    async def _delete_batch(self, handles: Sequence[str]) -> faults.Results:
        return await asyncio.wrap_future(self._threads.submit(self._delete, handles))

    def _delete(self, handles: Sequence[str]) -> faults.Results:
        with faults.translated("delete"):
            answer = self._client.delete_message_batch(
                QueueUrl=self._queue_url,
                Entries=[
                    {"Id": str(number), "ReceiptHandle": handle}
                    for number, handle in enumerate(handles)
                ],
            )
        return faults.of_batch(
            "delete",
            len(handles),
            done=[entry["Id"] for entry in answer.get("Successful", [])],
            failed=answer.get("Failed", []),
        )

    def _send_to_dead_letter_queue(self, url: str, message: ReceivedMessage, reason: str) -> None:
        """Send the body as it came; the reason goes along where the size limit allows."""
        attributes: dict[str, MessageAttributeValueTypeDef] = {
            _REASON_ATTRIBUTE: {"DataType": "String", "StringValue": reason[:_REASON_LIMIT]},
            _SOURCE_ATTRIBUTE: {"DataType": "String", "StringValue": message.message_id},
        }
        if len(message.body.encode()) > SIZE_LIMIT - _ATTRIBUTES_SIZE:
            _log.warning("dead_letter_without_reason", message_id=message.message_id, reason=reason)
            attributes = {}
        self._client.send_message(
            QueueUrl=url, MessageBody=message.body, MessageAttributes=attributes
        )
