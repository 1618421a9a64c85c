"""An SQS queue as a source of deliveries.

SQS hides a message that it hands out for the visibility timeout, and hands it out again when
nobody deletes it in that time. A drain may take hours, so this module keeps every message that is
being worked on invisible: it extends the visibility when two thirds of the timeout are over, and
tries again every sixth of it until that has succeeded. An extension lasts twice as long as the
timeout, which halves the requests of a long storm: by then the node carries its marks, and after a
crash the next process goes on with it at once, without the message. Messages that are nearly due
are extended together with those that are due, so that requests carry full batches of ten.

Each receipt of a message has a receipt handle of its own, and only the newest one deletes. SQS is
an at-least-once queue: a message may be received again while we work on it, because an extension
failed or because SQS says so. Such a second receipt is no new work. The delivery that we have takes
over the handle and the 12 hours that the new receipt grants, and nothing is reported upwards but a
metric and a log line.

SQS lets no receipt stay invisible for more than 12 hours
(https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html).
A delivery that reaches them is lost, and so is one whose handle SQS calls stale. The work on it
goes on: the message reappears, is received again, and the delivery is ours once more.

One long visibility timeout instead of extensions was rejected: a message of a process that was
killed would wait that long for the next process. A task for each message was rejected because its
extensions would not share requests.
"""

import asyncio
import datetime as dt
import math
from collections.abc import Callable, Sequence

import structlog

from queue_processor.adapters.aws.sqs import SqsQueue
from queue_processor.domain import errors, parsing
from queue_processor.domain.events import Ignored, InterruptionEvent
from queue_processor.domain.messages import ReceivedMessage
from queue_processor.observability import metrics

_log = structlog.get_logger(__name__)

_LONGEST_INVISIBILITY_SECONDS = 12 * 3600.0
# SQS counts from when it sent the message, which is a little earlier.
_ON_ITS_WAY_SECONDS = 2.0
_RETRY_SECONDS = 2.0
# In visibility timeouts.
_EXTENSION = 2
# Parts of the visibility timeout: when it is extended, when that is tried once more if there is no
# answer, and how much earlier for the sake of full batches.
_EXTEND_AFTER, _REPEAT_AFTER, _NEARLY = 2 / 3, 1 / 6, 1 / 6
# A stop releases messages when the open poll has ended, which must not take long.
_POLL_WITH_DELIVERIES = dt.timedelta(seconds=2)


class SqsSource:
    """Receives messages, and keeps those that are being worked on invisible."""

    name = metrics.SourceName.SQS

    def __init__(self, queue: SqsQueue, *, clock: Callable[[], dt.datetime]) -> None:
        """Build the source.

        Args:
            queue: The queue.
            clock: Stands in for the time at which a message was sent, where SQS gives none.
        """
        self._queue = queue
        self._clock = clock
        self._timeout = queue.visibility_timeout.total_seconds()
        self._extension = _EXTENSION * self._timeout
        self._deliveries: dict[str, SqsDelivery] = {}
        self._changed = asyncio.Event()

    @property
    def longest_receive(self) -> dt.timedelta:
        return self._queue.longest_receive

    async def receive(self) -> Sequence["SqsDelivery"]:
        wait = _POLL_WITH_DELIVERIES if self._deliveries else None
        return [
            delivery
            for message in await self._queue.receive(wait=wait)
            if (delivery := self._delivery_of(message)) is not None
        ]

    def _delivery_of(self, message: ReceivedMessage) -> "SqsDelivery | None":
        """Return a new delivery; None for one more receipt of a message that we work on."""
        due_at = asyncio.get_running_loop().time() + self._timeout * _EXTEND_AFTER
        delivery = self._deliveries.get(message.message_id)
        if delivery is not None:
            delivery.renew(message, due_at=due_at)
            # The caller counts the deliveries that it gets, and this is none.
            metrics.MESSAGES_RECEIVED.labels(source=self.name).inc()
            metrics.MESSAGES_RECEIVED_AGAIN.inc()
            _log.info(
                "message_received_again",
                message_id=message.message_id,
                receive_count=message.receive_count,
            )
            return None
        delivery = SqsDelivery(self, message, sent_at=message.sent_at or self._clock())
        delivery.renew(message, due_at=due_at)
        self._deliveries[delivery.id] = delivery
        self._changed.set()
        return delivery

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            while True:
                self._changed.clear()
                now = loop.time()
                # Those that are nearly due come along, so that batches fill up.
                horizon = now + self._timeout * _NEARLY
                for delivery in self._deliveries.values():
                    if delivery.due_at <= horizon:
                        # A request that hangs is followed by another one.
                        delivery.due_at = now + self._timeout * _REPEAT_AFTER
                        group.create_task(self._extend(delivery), name="extend visibility")
                next_due = min(
                    (each.due_at for each in self._deliveries.values()), default=math.inf
                )
                await self._wait_for_change(limit=min(next_due - now, self._extension))

    async def _wait_for_change(self, *, limit: float) -> None:
        try:
            async with asyncio.timeout(limit):
                await self._changed.wait()
        except TimeoutError:
            pass

    async def _extend(self, delivery: "SqsDelivery") -> None:
        loop = asyncio.get_running_loop()
        left = delivery.ends_at - loop.time()
        if left < 1.0:
            delivery.lose()
            _log.warning("message_visibility_limit_reached", message_id=delivery.id)
            return
        handle, began_at = delivery.receipt_handle, loop.time()
        try:
            await self._queue.hide(handle, dt.timedelta(seconds=min(self._extension, int(left))))
        except errors.DeliveryLost as lost:
            # A message that is settled in the meantime is not ours to lose.
            is_open = self._deliveries.get(delivery.id) is delivery
            if is_open and handle == delivery.receipt_handle:
                delivery.lose()
                _log.warning("message_lost", message_id=delivery.id, error=str(lost))
            return
        except (errors.TemporaryError, errors.PermanentError) as error:
            _count(metrics.ExtensionOutcome.FAILED)
            _log.warning("visibility_not_extended", message_id=delivery.id, error=str(error))
            delivery.due_at = min(delivery.due_at, loop.time() + _RETRY_SECONDS)
            self._changed.set()
        else:
            if handle == delivery.receipt_handle:
                delivery.due_at = began_at + self._extension * _EXTEND_AFTER
            _count(metrics.ExtensionOutcome.EXTENDED)

    async def count_waiting(self) -> int:
        return await self._queue.count_waiting()

    # For the deliveries.

    @property
    def queue(self) -> SqsQueue:
        """The queue that deliveries are settled with."""
        return self._queue

    def forget(self, delivery: "SqsDelivery") -> None:
        """Extend a delivery's visibility no more."""
        self._deliveries.pop(delivery.id, None)


class SqsDelivery:
    """One message that is being worked on, whichever receipt of it is the newest.

    Attributes:
        due_at: When its visibility is extended next, on the loop's clock.
        ends_at: When the 12 hours of its newest receipt are over, on the loop's clock.
    """

    def __init__(
        self, source: SqsSource, message: ReceivedMessage, *, sent_at: dt.datetime
    ) -> None:
        self._source = source
        self._message = message
        self.sent_at = sent_at
        self.is_lost = False
        self.due_at = math.inf
        self.ends_at = math.inf

    @property
    def id(self) -> str:
        return self._message.message_id

    @property
    def receive_count(self) -> int:
        return self._message.receive_count

    @property
    def receipt_handle(self) -> str:
        """The newest receipt handle; no other deletes the message."""
        return self._message.receipt_handle

    def renew(self, message: ReceivedMessage, *, due_at: float) -> None:
        """Take over a newer receipt of the message."""
        self._message = message
        self.is_lost = False
        self.due_at = due_at
        longest = _LONGEST_INVISIBILITY_SECONDS - _ON_ITS_WAY_SECONDS
        self.ends_at = asyncio.get_running_loop().time() + longest

    def lose(self) -> None:
        """Note that SQS has taken the message back."""
        self.is_lost = True
        self.due_at = math.inf
        _count(metrics.ExtensionOutcome.LOST)

    def read(self) -> InterruptionEvent | Ignored:
        return parsing.parse(self._message.body, message_id=self.id, sent_at=self.sent_at)

    async def acknowledge(self) -> None:
        deleted = None
        # A message may be received again while its deletion is on its way.
        while deleted != (handle := self.receipt_handle):
            await self._source.queue.delete(handle)
            deleted = handle

    async def release(self, after: dt.timedelta) -> None:
        await self._source.queue.release(self.receipt_handle, after)

    async def reject(self, reason: str) -> None:
        if not await self._source.queue.dead_letter(self._message, reason):
            _log.error(
                "message_malformed_and_no_dead_letter_queue",
                message_id=self.id,
                reason=reason,
                body=self._message.body,
            )

    def close(self) -> None:
        self._source.forget(self)


def _count(outcome: metrics.ExtensionOutcome) -> None:
    metrics.VISIBILITY_EXTENSIONS.labels(outcome=outcome).inc()
