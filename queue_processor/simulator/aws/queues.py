"""A queue as strict as the ones of SQS, in the place of moto's.

moto's own has no lock round receive and delete, recomputes every attribute of the queue for each
message it hands out, lets old receipt handles delete, and looks for new messages once a second.

Standard queues only. The rules are those of
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html
"""

import copy
import dataclasses
import datetime as dt
import heapq
import itertools
import time
from collections.abc import Callable, Mapping
from typing import Any, cast

from moto.sqs import exceptions, models

from queue_processor.simulator.aws import records

_LONGEST_VISIBILITY_SECONDS = 43_200
# Where moto's messages have no place for it.
_NOT_IN_FLIGHT = (
    "Value {handle} for parameter ReceiptHandle is invalid. Reason: Message does not exist or is "
    "not available for visibility timeout change."
)
_OUT_OF_RANGE = (
    "Value {timeout} for parameter VisibilityTimeout is invalid. Reason: Must be between 0 and "
    "43200, if provided."
)
_BEYOND_LIMIT = (
    "Value {timeout} for parameter VisibilityTimeout is invalid. Reason: Total VisibilityTimeout "
    "for the message is beyond the limit [43200 seconds]"
)


@dataclasses.dataclass
class _Held:
    """A message in the queue, and from when on it may be received (seconds since the epoch)."""

    message: models.Message
    available_at: float
    last_received_at: float | None = None


class StrictQueue(models.Queue):
    """A standard queue: one lock, a heap by availability, receivers woken by what arrives."""

    def __init__(self, name: str, region: str, account_id: str, **attributes: Any) -> None:  # noqa: ANN401 as moto has it
        super().__init__(name, region, account_id, **attributes)
        if self.fifo_queue:
            raise exceptions.InvalidParameterValue("The simulator has standard queues only.")
        self._held: dict[str, _Held] = {}
        self._heap: list[tuple[float, int, str]] = []
        self._order = itertools.count()
        self._message_of_handle: dict[str, str] = {}
        self._records: dict[str, records.MessageRecord] = {}
        self._closed = False

    def is_created(self) -> bool:
        """What CloudFormation asks of a resource."""
        return True

    # What moto's own attributes property and its send call.

    def add_message(self, message: models.Message) -> None:
        """Take a message in and wake whoever waits for one."""
        now = time.time()
        with self._messages_lock:
            self._records[message.id] = records.MessageRecord(
                message_id=message.id, body=message.body, sent_at=_utc(now)
            )
            held = _Held(message, available_at=max(now, message.delayed_until / 1000))
            self._held[message.id] = held
            self._offer(held)

    @property
    def messages(self) -> list[models.Message]:
        """The messages a receive could return now."""
        now = time.time()
        with self._messages_lock:
            return [held.message for held in self._held.values() if held.available_at <= now]

    @property
    def approximate_number_of_messages(self) -> int:
        """The visible ones."""
        return self.state().visible

    @property
    def approximate_number_of_messages_not_visible(self) -> int:
        """The ones in flight."""
        return self.state().in_flight

    @property
    def approximate_number_of_messages_delayed(self) -> int:
        """The delayed ones."""
        return self.state().delayed

    # The calls of SQS.

    def receive(
        self,
        limit: int,
        *,
        wait_seconds: float,
        visibility_seconds: float,
        is_abandoned: Callable[[], bool],
    ) -> list[models.Message]:
        """Take up to ``limit`` messages, waiting for the first of them.

        Args:
            limit: The most messages to return.
            wait_seconds: How long to wait for the first.
            visibility_seconds: How long the taken ones stay hidden.
            is_abandoned: Whether the caller has gone. Nothing is taken for one that has.

        Returns:
            Copies that later calls do not change; empty when the wait is over.
        """
        give_up_at = time.monotonic() + wait_seconds
        with self._messages_lock:
            while not self._closed and not is_abandoned():
                taken = self._take(limit, visibility_seconds)
                left = give_up_at - time.monotonic()
                if taken or left <= 0:
                    return taken
                self._messages_lock.wait(min(left, self._seconds_to_next()))
            return []

    def delete_message(self, receipt_handle: str) -> None:
        """Delete by the newest receipt handle; an older one of this queue does nothing.

        https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_DeleteMessage.html

        Raises:
            ReceiptHandleIsInvalid: when this queue never gave out the handle.
        """
        with self._messages_lock:
            held = self._find(receipt_handle)
            if held is None or held.message.receipt_handle != receipt_handle:
                return
            self._remove(held, records.Ending.DELETED)

    def change_visibility(self, receipt_handle: str, seconds: int) -> None:
        """Hide a message that is in flight for so many seconds from now on.

        Raises:
            ReceiptHandleIsInvalid: when this queue never gave out the handle.
            InvalidParameterValue: when the message is not in flight under this handle, or would
                be hidden for more than 12 hours since it was received.
        """
        if not 0 <= seconds <= _LONGEST_VISIBILITY_SECONDS:
            raise exceptions.InvalidParameterValue(_OUT_OF_RANGE.format(timeout=seconds))
        now = time.time()
        with self._messages_lock:
            held = self._find(receipt_handle)
            if (
                held is None
                or held.last_received_at is None
                or held.message.receipt_handle != receipt_handle
                or held.available_at <= now
            ):
                raise exceptions.InvalidParameterValue(_NOT_IN_FLIGHT.format(handle=receipt_handle))
            if now + seconds > held.last_received_at + _LONGEST_VISIBILITY_SECONDS:
                raise exceptions.InvalidParameterValue(_BEYOND_LIMIT.format(timeout=seconds))
            held.available_at = now + seconds
            self._offer(held)

    def purge(self) -> None:
        """Delete everything."""
        with self._messages_lock:
            for held in list(self._held.values()):
                self._remove(held, records.Ending.DELETED)

    def close(self) -> None:
        """Send away whoever waits; the queue is gone."""
        with self._messages_lock:
            self._closed = True
            self._messages_lock.notify_all()

    # What the simulator tells.

    def state(self) -> records.QueueState:
        """Count the messages."""
        now = time.time()
        with self._messages_lock:
            hidden = [held for held in self._held.values() if held.available_at > now]
            in_flight = sum(held.last_received_at is not None for held in hidden)
            return records.QueueState(
                visible=len(self._held) - len(hidden),
                in_flight=in_flight,
                delayed=len(hidden) - in_flight,
            )

    def contents(self) -> tuple[records.StoredMessage, ...]:
        """The messages that lie in the queue, in the order they came."""
        with self._messages_lock:
            return tuple(
                records.StoredMessage(
                    message_id=held.message.id,
                    body=held.message.body,
                    attributes=_text_attributes(held.message),
                    receive_count=held.message.approximate_receive_count,
                )
                for held in self._held.values()
            )

    def history(self) -> tuple[records.MessageRecord, ...]:
        """The life of every message that was ever in the queue, in the order they came."""
        with self._messages_lock:
            return tuple(
                dataclasses.replace(record, visible_since=_utc(held.available_at))
                if (held := self._held.get(record.message_id))
                else record
                for record in self._records.values()
            )

    # All of the following is called with the lock held.

    def _offer(self, held: _Held) -> None:
        entry = (held.available_at, next(self._order), held.message.id)
        heapq.heappush(self._heap, entry)
        self._messages_lock.notify_all()

    def _seconds_to_next(self) -> float:
        return max(0.0, self._heap[0][0] - time.time()) if self._heap else float("inf")

    def _take(self, limit: int, visibility_seconds: float) -> list[models.Message]:
        now = time.time()
        taken: list[_Held] = []
        while len(taken) < limit and self._heap and self._heap[0][0] <= now:
            available_at, _, message_id = heapq.heappop(self._heap)
            held = self._held.get(message_id)
            # An entry that a later change of the visibility has overtaken says nothing.
            if held is None or held.available_at != available_at:
                continue
            if self._is_expired(held, now):
                self._remove(held, records.Ending.EXPIRED)
            elif self._is_dead_letter(held):
                self._remove(held, records.Ending.DEAD_LETTERED)
                assert self.dead_letter_queue is not None  # noqa: S101 for the type checker
                self.dead_letter_queue.add_message(held.message)
            else:
                self._mark_received(held, now, visibility_seconds)
                taken.append(held)
        # Only now, so that a visibility of zero does not make one receive return a message twice.
        for held in taken:
            self._offer(held)
        return [copy.copy(held.message) for held in taken]

    def _mark_received(self, held: _Held, now: float, visibility_seconds: float) -> None:
        held.last_received_at = now
        held.available_at = now + visibility_seconds
        held.message.mark_received()
        self._message_of_handle[str(held.message.receipt_handle)] = held.message.id
        record = self._records[held.message.id]
        self._records[held.message.id] = dataclasses.replace(
            record, received_at=(*record.received_at, _utc(now))
        )

    def _is_expired(self, held: _Held, now: float) -> bool:
        retention_seconds: int = self.message_retention_period  # type: ignore[attr-defined] # moto sets it by name
        # moto declares the timestamp as always None; milliseconds.
        sent_at = cast("int", held.message.sent_timestamp) / 1000
        return sent_at + retention_seconds <= now

    def _is_dead_letter(self, held: _Held) -> bool:
        if self.dead_letter_queue is None or not self.redrive_policy:
            return False
        limit: int = self.redrive_policy["maxReceiveCount"]
        return held.message.approximate_receive_count >= limit

    def _find(self, receipt_handle: str) -> _Held | None:
        message_id = self._message_of_handle.get(receipt_handle)
        if message_id is None:
            raise exceptions.ReceiptHandleIsInvalid
        return self._held.get(message_id)

    def _remove(self, held: _Held, ending: records.Ending) -> None:
        del self._held[held.message.id]
        record = self._records[held.message.id]
        self._records[held.message.id] = dataclasses.replace(
            record, ended_at=_utc(time.time()), ending=ending
        )


def _text_attributes(message: models.Message) -> Mapping[str, str]:
    return {
        name: value["StringValue"]
        for name, value in message.message_attributes.items()
        if "StringValue" in value
    }


def _utc(timestamp: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(timestamp, tz=dt.UTC)
