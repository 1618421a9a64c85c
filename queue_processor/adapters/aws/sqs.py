"""The operator's way to its SQS queue: `QueueClient`, without blocking the event loop.

boto3 blocks, so its calls run in threads. Short calls share a pool. The long poll has a thread of
its own: it blocks for up to 20 seconds, and a few of them would use up the pool. A long poll cannot
be cancelled either. When the operator stops in the middle of one, the messages that it still
brings are made visible again by the thread that receives them. Messages that the operator releases
wait until that poll has ended: it would receive them at once, and every receive counts towards
maxReceiveCount. Polls are therefore short while there is something to release.

Deletions and changes of visibility wait a moment for company and go in batches of ten: a Spot
interruption that takes hundreds of instances then costs a tenth of the requests.

An asynchronous client (aiobotocore) was rejected: it pins botocore to one version at a time.
"""

import asyncio
import concurrent.futures
import datetime as dt
from collections.abc import Callable, Sequence
from typing import TypeVar

import structlog

from queue_processor.adapters.aws import clients
from queue_processor.adapters.aws import errors as aws_errors
from queue_processor.adapters.aws.batches import BATCH_SIZE, SIZE_LIMIT, Batcher
from queue_processor.adapters.aws.clients import DaemonExecutor
from queue_processor.adapters.aws.queue import QueueClient, Visibility
from queue_processor.domain import errors
from queue_processor.domain.messages import Attribute, QueueMessage, ReceivedMessage

_log = structlog.get_logger(__name__)

_HIDE_LINGER = dt.timedelta(milliseconds=20)
# Nobody waits for a deletion, and a message that comes again meanwhile costs nothing: batches may
# fill up.
_DELETE_LINGER = dt.timedelta(milliseconds=600)
# A poll that outlasts its wait by this much has probably lost its connection.
_POLL_OVERTIME = dt.timedelta(seconds=2)
_REASON_ATTRIBUTE = "queue-processor.reason"
_SOURCE_ATTRIBUTE = "queue-processor.message-id"
_REASON_LIMIT = 1000

_Result = TypeVar("_Result")


class SqsQueue:
    """One queue and its dead-letter queue."""

    def __init__(
        self,
        queue: QueueClient,
        *,
        visibility_timeout: dt.timedelta,
        wait_time: dt.timedelta,
        threads: concurrent.futures.Executor,
        polling: concurrent.futures.Executor | None = None,
    ) -> None:
        """Build the adapter.

        Args:
            queue: The queue.
            visibility_timeout: How long a received message stays invisible at first.
            wait_time: How long one receive waits for a message.
            threads: Where short calls run.
            polling: Where receives run, one at a time; None: in a thread of their own.
        """
        self._queue = queue
        self.visibility_timeout = visibility_timeout
        self._wait_time = wait_time
        self._threads = threads
        self._polling = polling or DaemonExecutor(1, name="receive")
        self._poll_ends_at = 0.0
        self._releasing: concurrent.futures.Future[None] | None = None
        self._dead_letters: QueueClient | None = None
        self._hiding: Batcher[Visibility] = Batcher(self._hide, linger=_HIDE_LINGER)
        self._deleting: Batcher[str] = Batcher(self._delete, linger=_DELETE_LINGER)

    async def open(self) -> None:
        """Check that the queue can be used, and find its dead-letter queue.

        Raises:
            ConfigurationError: As `QueueClient.usable_state` does.
        """
        redrive = (await self._call(self._queue.usable_state)).redrive
        if redrive is None:
            _log.warning("queue_has_no_dead_letter_queue", queue_url=self._queue.url)
            return
        self._dead_letters = self._queue.beside(redrive.target_arn)
        if redrive.has_few_receives:
            _log.warning(
                "max_receive_count_is_low",
                queue_url=self._queue.url,
                max_receive_count=redrive.max_receive_count,
            )

    @property
    def longest_receive(self) -> dt.timedelta:
        """The most time that a receive takes until it returns or fails."""
        return clients.longest_call(wait=self._wait_time)

    async def receive(self, *, wait: dt.timedelta | None = None) -> Sequence[ReceivedMessage]:
        """Wait for messages; those that arrive after a cancellation are released.

        Args:
            wait: The most to wait for the first message, if less than usual.
        """
        wait = self._wait_time if wait is None else min(wait, self._wait_time)
        poll = _submit(self._polling, lambda: self._receive(wait))
        self._poll_ends_at = asyncio.get_running_loop().time() + wait.total_seconds()
        try:
            return await asyncio.shield(asyncio.wrap_future(poll))
        except asyncio.CancelledError:
            self._releasing = self._polling.submit(self._release_late, poll)
            raise

    async def release(self, receipt_handle: str, after: dt.timedelta) -> None:
        """Make a message visible again, though not to a poll that was cancelled.

        Raises:
            StaleReceiptHandle: As `hide` does.
        """
        if self._releasing is not None:
            loop = asyncio.get_running_loop()
            left = self._poll_ends_at + _POLL_OVERTIME.total_seconds() - loop.time()
            await asyncio.wait((asyncio.wrap_future(self._releasing),), timeout=max(left, 0.0))
        await self.hide(receipt_handle, after)

    async def hide(self, receipt_handle: str, duration: dt.timedelta) -> None:
        """Keep a message invisible for this long from now; zero releases it at once.

        Raises:
            StaleReceiptHandle: The handle is stale, or the message was invisible for 12 hours.
        """
        await self._hiding.submit((receipt_handle, int(duration.total_seconds())))

    async def delete(self, receipt_handle: str) -> None:
        """Delete a message.

        Raises:
            StaleReceiptHandle: The handle is stale.
        """
        await self._deleting.submit(receipt_handle)

    async def dead_letter(self, message: QueueMessage, reason: str) -> bool:
        """Put a copy on the dead-letter queue; False when the queue has none."""
        target = self._dead_letters
        if target is None:
            return False
        copy = _dead_letter(message, reason)
        (error,) = await self._call(lambda: target.send([copy]))
        if error is not None:
            raise error
        return True

    async def count_waiting(self) -> int:
        """Return about how many messages wait to be received; those in flight do not count."""
        return (await self._call(self._queue.state)).visible

    async def close(self) -> None:
        """Wait for the last receive, so that what it brings is released."""
        if self._releasing is not None:
            await asyncio.wrap_future(self._releasing)

    async def _call(self, function: Callable[[], _Result]) -> _Result:
        return await asyncio.wrap_future(_submit(self._threads, function))

    async def _hide(self, entries: Sequence[Visibility]) -> aws_errors.Results:
        return await self._call(lambda: self._queue.change_visibility(entries))

    async def _delete(self, handles: Sequence[str]) -> aws_errors.Results:
        return await self._call(lambda: self._queue.delete(handles))

    # In the thread of the long poll.

    def _receive(self, wait: dt.timedelta) -> Sequence[ReceivedMessage]:
        return self._queue.receive(BATCH_SIZE, hidden=self.visibility_timeout, wait=wait)

    def _release_late(self, poll: "concurrent.futures.Future[Sequence[ReceivedMessage]]") -> None:
        if poll.exception() is not None:
            return
        late = [message.receipt_handle for message in poll.result()]
        if late:
            _log.info("late_messages_released", count=len(late))
            try:
                self._queue.release(late)
            except errors.QueueProcessorError as error:
                # The visibility timeout gives them back, a little later.
                _log.warning("late_messages_not_released", error=str(error))


def _submit(
    executor: concurrent.futures.Executor, function: Callable[[], _Result]
) -> "concurrent.futures.Future[_Result]":
    def call() -> _Result:
        try:
            return function()
        except errors.UsageError as error:
            # A person names another queue. The operator has only this one, which may come back.
            raise errors.PermanentError(str(error)) from error

    return executor.submit(call)


def _dead_letter(message: QueueMessage, reason: str) -> QueueMessage:
    """Return the message for the dead-letter queue: the body as it came, and the reason."""
    copy = QueueMessage(
        message_id=message.message_id,
        body=message.body,
        attributes={
            _REASON_ATTRIBUTE: Attribute(data_type="String", value=reason[:_REASON_LIMIT]),
            _SOURCE_ATTRIBUTE: Attribute(data_type="String", value=message.message_id),
        },
    )
    if copy.size <= SIZE_LIMIT:
        return copy
    _log.warning("dead_letter_without_reason", message_id=message.message_id, reason=reason)
    return QueueMessage(message_id=message.message_id, body=message.body)
