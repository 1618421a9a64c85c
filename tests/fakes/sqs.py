"""A queue with a dead-letter queue on the loop's own clock, and the program's own way to it."""

import asyncio
import datetime as dt
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from queue_processor.adapters.aws.queue import QueueClient
from queue_processor.adapters.aws.sqs import SqsQueue
from queue_processor.controller import ports
from queue_processor.simulator.aws import in_process, queues, records

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

LONG_POLL = dt.timedelta(seconds=20)
_THREADS = 16


class FakeQueue:
    """The queue itself; each process reaches it through an adapter of its own.

    Attributes:
        visibility_timeout: How long a received message stays invisible at first, in seconds.
        delay: How long each call is on its way, in seconds.
        calls: What was called so far, in the words of the API, and when.
        failures: What the next calls raise, by their names in the API.
    """

    def __init__(self, *, clock: ports.Clock, visibility_timeout: int = 30) -> None:
        self.sqs = in_process.InProcessSqs(clock)
        self.visibility_timeout = visibility_timeout
        self.delay = 0.0
        self.calls: list[tuple[str, float]] = []
        self.failures: dict[str, list[Exception]] = {}
        self._create("dead-letters")
        policy = {
            "deadLetterTargetArn": self.sqs.service.arn_of("dead-letters"),
            "maxReceiveCount": 1000,
        }
        self.url = self._create("queue", RedrivePolicy=json.dumps(policy))

    def client(self, is_alive: asyncio.Event | None = None) -> SqsQueue:
        """The way of one process to the queue; a dead process gets no answers any more."""

        async def reach() -> None:
            if is_alive is not None and not is_alive.is_set():
                await asyncio.get_running_loop().create_future()
            await asyncio.sleep(self.delay)

        return SqsQueue(
            # The stub of boto3 is a class, and what the program uses of it is here.
            QueueClient(cast("SQSClient", _Client(self)), self.url),
            visibility_timeout=dt.timedelta(seconds=self.visibility_timeout),
            wait_time=LONG_POLL,
            threads=in_process.LoopExecutor(self.sqs, _THREADS, before=reach),
            polling=in_process.LoopExecutor(self.sqs, 1, before=reach),
        )

    def _create(self, name: str, **attributes: str) -> str:
        url: str = self.sqs.call("CreateQueue", {"QueueName": name, "Attributes": attributes})[
            "QueueUrl"
        ]
        return url

    def send(self, body: str | Mapping[str, object]) -> str:
        """Put a message on the queue; its id."""
        text = body if isinstance(body, str) else json.dumps(body)
        sent = self.sqs.call("SendMessage", {"QueueUrl": self.url, "MessageBody": text})
        message_id: str = sent["MessageId"]
        return message_id

    def fail(self, call: str, *faults: Exception) -> None:
        """Let the next calls fail, by their names in the API."""
        self.failures.setdefault(call, []).extend(faults)

    def answer(
        self, action: str, parameters: Mapping[str, Any], call: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        """Answer a call, or let it fail."""
        del parameters
        self.calls.append((action, asyncio.get_running_loop().time()))
        failures = self.failures.get(action)
        if failures:
            raise failures.pop(0)
        return call()

    @property
    def left(self) -> int:
        """The number of messages, visible or not."""
        return self._queue.state(self.sqs.now()).total

    @property
    def visible(self) -> int:
        """The number of messages that a receive would find now."""
        return self._queue.state(self.sqs.now()).visible

    @property
    def in_flight(self) -> list[str]:
        """The ids of the messages that are in flight now."""
        return [
            message.message_id
            for message in self._queue.contents()
            if message.visible_at.timestamp() > self.sqs.now()
        ]

    @property
    def deleted(self) -> list[str]:
        """The ids of deleted messages, in the order of their deletion."""
        deleted = [
            (record.deleted_at, record.message_id)
            for record in self._queue.history()
            if record.deleted_at is not None
        ]
        return [message_id for _, message_id in sorted(deleted)]

    @property
    def endings(self) -> Mapping[str, records.MessageEnding]:
        """The way in which each message left the queue, by id."""
        return {
            record.message_id: record.ending
            for record in self._queue.history()
            if record.ending is not None
        }

    def set_receives(self, most: int) -> None:
        """Set after how many receives a message becomes a dead letter."""
        policy = {
            "deadLetterTargetArn": self.sqs.service.arn_of("dead-letters"),
            "maxReceiveCount": most,
        }
        attributes = {"RedrivePolicy": json.dumps(policy)}
        self.sqs.call("SetQueueAttributes", {"QueueUrl": self.url, "Attributes": attributes})

    @property
    def dead_letters(self) -> Sequence[tuple[str, str]]:
        """Body and reason of the messages on the dead-letter queue."""
        return [
            (letter.body, letter.attributes.get("queue-processor.reason", ""))
            for letter in self.sqs.service.queues["dead-letters"].contents()
        ]

    def remove_dead_letter_queue(self) -> None:
        """Take the redrive policy away, before the operator starts."""
        attributes = {"RedrivePolicy": ""}
        self.sqs.call("SetQueueAttributes", {"QueueUrl": self.url, "Attributes": attributes})

    def receive_count(self, message_id: str) -> int:
        """The receive count of a message that is still there."""
        return self._message(message_id).receive_count

    def hidden_for(self, message_id: str) -> float:
        """The time for which a message stays invisible, in seconds."""
        return self._message(message_id).visible_at.timestamp() - self.sqs.now()

    def lose_all(self) -> None:
        """Lose every message, as at the end of the retention period."""
        self._queue.purge(self.sqs.now())

    def make_visible(self, message_id: str) -> None:
        """Let a message reappear while an operator works on it."""
        handle = self._message(message_id).receipt_handle
        self.sqs.call(
            "ChangeMessageVisibility",
            {"QueueUrl": self.url, "ReceiptHandle": handle, "VisibilityTimeout": 0},
        )

    @property
    def _queue(self) -> queues.SimulatedQueue:
        return self.sqs.service.queues["queue"]

    def _message(self, message_id: str) -> records.MessageSnapshot:
        (message,) = (each for each in self._queue.contents() if each.message_id == message_id)
        return message


class _Client(in_process.InProcessClient):
    """Notes every call, and lets those fail that are to."""

    def __init__(self, queue: FakeQueue) -> None:
        super().__init__(queue.sqs)
        self._queue = queue

    def _call(self, action: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        return self._queue.answer(
            action, parameters, lambda: super(_Client, self)._call(action, parameters)
        )
