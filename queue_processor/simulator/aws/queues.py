"""One standard queue of SQS, as a state machine.

Every call takes the present in seconds since the epoch and returns at once; waiting is the business
of the caller. So the same queue serves HTTP clients in real time and an event loop in virtual time.

A message is kept until it is deleted, expires or becomes a dead letter. A heap orders the messages
by the moment from which on a receive may return them; a change of the visibility pushes a new
entry, and the overtaken one is skipped when it comes up.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html
"""

import dataclasses
import datetime as dt
import heapq
import itertools
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from queue_processor.simulator.aws import records
from queue_processor.simulator.aws.checks import SqsError, invalid_value
from queue_processor.simulator.aws.settings import LONGEST_VISIBILITY_SECONDS, QueueSettings


@dataclasses.dataclass(slots=True, kw_only=True)
class SimulatedMessage:
    """A message in a queue; times in seconds since the epoch.

    Attributes:
        attributes: The message attributes, as the API takes and returns them.
        receipt_handle: The newest; the only one that deletes.
        available_at: From when on a receive may return it.
    """

    message_id: str
    body: str
    attributes: Mapping[str, Mapping[str, Any]]
    sent_at: float
    available_at: float
    receipt_handle: str = ""
    receive_count: int = 0
    first_received_at: float | None = None
    last_received_at: float | None = None


class SimulatedQueue:
    """A standard queue: its messages, its attributes and the life of every message so far."""

    def __init__(self, name: str, arn: str, attributes: Mapping[str, object], now: float) -> None:
        """Create a queue; `attributes` as `CreateQueue` takes them.

        Raises:
            SqsError: An attribute does not exist, or has a value that SQS does not take.
        """
        self.name = name
        self.arn = arn
        self.settings = QueueSettings(attributes, now)
        self._messages: dict[str, SimulatedMessage] = {}
        self._heap: list[tuple[float, int, str]] = []
        self._order = itertools.count()
        self._message_of_handle: dict[str, str] = {}
        self._records: dict[str, records.MessageRecord] = {}

    def attributes(self, now: float) -> dict[str, str]:
        """Return every attribute, as `GetQueueAttributes` prints them."""
        state = self.state(now)
        return {
            **self.settings.printed(),
            "QueueArn": self.arn,
            "ApproximateNumberOfMessages": str(state.visible),
            "ApproximateNumberOfMessagesNotVisible": str(state.in_flight),
            "ApproximateNumberOfMessagesDelayed": str(state.delayed),
        }

    # The life of a message.

    def send(
        self,
        body: str,
        *,
        now: float,
        attributes: Mapping[str, Mapping[str, Any]] | None = None,
        delay_seconds: int = 0,
    ) -> SimulatedMessage:
        """Take in a new message."""
        message = SimulatedMessage(
            message_id=str(uuid.uuid4()),
            body=body,
            attributes=attributes or {},
            sent_at=now,
            available_at=now + delay_seconds,
        )
        self._put(message, now)
        return message

    def receive(
        self,
        limit: int,
        *,
        visibility_seconds: int,
        now: float,
        dead_letter_queue: "SimulatedQueue | None",
    ) -> Sequence[SimulatedMessage]:
        """Take up to `limit` visible messages, without waiting.

        What was received too often goes to the dead-letter queue in its place, with its id, its
        receive count and the time of its sending; what is past its retention period disappears.
        """
        taken: list[SimulatedMessage] = []
        while len(taken) < limit and self._heap and self._heap[0][0] <= now:
            available_at, _, message_id = heapq.heappop(self._heap)
            message = self._messages.get(message_id)
            if message is None or message.available_at != available_at:
                continue
            if message.sent_at + self.settings.number("MessageRetentionPeriod") <= now:
                self._remove(message, records.MessageEnding.EXPIRED, now)
            elif dead_letter_queue is not None and self._is_dead_letter(message):
                self._remove(message, records.MessageEnding.DEAD_LETTERED, now)
                dead_letter_queue.take_over(message, now)
            else:
                self._mark_received(message, visibility_seconds, now)
                taken.append(message)
        # Only now, so that a visibility of zero does not make one receive return a message twice.
        for message in taken:
            self._offer(message)
        return [dataclasses.replace(message) for message in taken]

    def take_over(self, message: SimulatedMessage, now: float) -> None:
        """Take in a message that another queue dead-letters."""
        self._put(dataclasses.replace(message, available_at=now), now)

    def delete(self, receipt_handle: str, now: float) -> None:
        """Delete by the newest receipt handle; an older one of this queue changes nothing.

        https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_DeleteMessage.html

        Raises:
            SqsError: This queue never gave out the handle.
        """
        message = self._find(receipt_handle)
        if message is not None and message.receipt_handle == receipt_handle:
            self._remove(message, records.MessageEnding.DELETED, now)

    def change_visibility(self, receipt_handle: str, seconds: int, now: float) -> None:
        """Hide a message that is in flight for so many seconds from now on.

        https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html

        Raises:
            SqsError: This queue never gave out the handle, the message is not in flight under it,
                or it would be hidden for more than 12 hours since it was received.
        """
        if not 0 <= seconds <= LONGEST_VISIBILITY_SECONDS:
            raise invalid_value(
                seconds, "VisibilityTimeout", "Must be between 0 and 43200, if provided."
            )
        message = self._find(receipt_handle)
        if (
            message is None
            or message.last_received_at is None
            or message.receipt_handle != receipt_handle
            or message.available_at <= now
        ):
            raise invalid_value(
                receipt_handle,
                "ReceiptHandle",
                "Message does not exist or is not available for visibility timeout change.",
            )
        if now + seconds > message.last_received_at + LONGEST_VISIBILITY_SECONDS:
            raise invalid_value(
                seconds,
                "VisibilityTimeout",
                "Total VisibilityTimeout for the message is beyond the limit [43200 seconds]",
            )
        message.available_at = now + seconds
        self._offer(message)

    def purge(self, now: float) -> None:
        """Delete everything."""
        for message in list(self._messages.values()):
            self._remove(message, records.MessageEnding.DELETED, now)

    # Looking without receiving.

    @property
    def next_available_at(self) -> float:
        """Return when a receive may next return something; infinity for an empty queue."""
        return self._heap[0][0] if self._heap else float("inf")

    def state(self, now: float) -> records.SimulatedQueueState:
        """Count the messages."""
        hidden = [each for each in self._messages.values() if each.available_at > now]
        in_flight = sum(each.last_received_at is not None for each in hidden)
        return records.SimulatedQueueState(
            visible=len(self._messages) - len(hidden),
            in_flight=in_flight,
            delayed=len(hidden) - in_flight,
        )

    def contents(self) -> tuple[records.MessageSnapshot, ...]:
        """Return the messages in the queue, in the order they came."""
        return tuple(
            records.MessageSnapshot(
                message_id=message.message_id,
                body=message.body,
                attributes={
                    name: value["StringValue"]
                    for name, value in message.attributes.items()
                    if "StringValue" in value
                },
                receive_count=message.receive_count,
                visible_at=_utc(message.available_at),
                receipt_handle=message.receipt_handle,
            )
            for message in self._messages.values()
        )

    def history(self) -> tuple[records.MessageRecord, ...]:
        """Return the life of every message that was ever in the queue, in the order they came."""
        return tuple(
            dataclasses.replace(record, visible_since=_utc(message.available_at))
            if (message := self._messages.get(record.message_id))
            else record
            for record in self._records.values()
        )

    # The parts.

    def _put(self, message: SimulatedMessage, now: float) -> None:
        self._messages[message.message_id] = message
        self._records[message.message_id] = records.MessageRecord(
            message_id=message.message_id, body=message.body, sent_at=_utc(now)
        )
        self._offer(message)

    def _offer(self, message: SimulatedMessage) -> None:
        heapq.heappush(self._heap, (message.available_at, next(self._order), message.message_id))

    def _mark_received(
        self, message: SimulatedMessage, visibility_seconds: int, now: float
    ) -> None:
        message.receive_count += 1
        message.first_received_at = message.first_received_at or now
        message.last_received_at = now
        message.available_at = now + visibility_seconds
        message.receipt_handle = str(uuid.uuid4())
        self._message_of_handle[message.receipt_handle] = message.message_id
        record = self._records[message.message_id]
        self._records[message.message_id] = dataclasses.replace(
            record, received_at=(*record.received_at, _utc(now))
        )

    def _is_dead_letter(self, message: SimulatedMessage) -> bool:
        rule = self.settings.dead_letter_rule
        return rule is not None and message.receive_count >= rule.most_receives

    def _find(self, receipt_handle: str) -> SimulatedMessage | None:
        message_id = self._message_of_handle.get(receipt_handle)
        if message_id is None:
            raise SqsError("ReceiptHandleIsInvalid", "The input receipt handle is invalid.")
        return self._messages.get(message_id)

    def _remove(self, message: SimulatedMessage, ending: records.MessageEnding, now: float) -> None:
        del self._messages[message.message_id]
        self._records[message.message_id] = dataclasses.replace(
            self._records[message.message_id], ended_at=_utc(now), ending=ending
        )


def _utc(timestamp: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(timestamp, tz=dt.UTC)
