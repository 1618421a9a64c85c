"""A queue with a dead-letter queue, on the simulated SQS: in the event loop, and over HTTP."""

import datetime as dt
import json
import uuid
from collections.abc import Sequence
from typing import Protocol

from botocore.config import Config

from queue_processor.adapters.aws.clients import DaemonExecutor
from queue_processor.adapters.aws.queue import QueueClient
from queue_processor.adapters.aws.sqs import SqsQueue
from queue_processor.domain.messages import ReceivedMessage
from queue_processor.simulator.aws import simulator
from queue_processor.simulator.kube import clock
from tests.fakes.sqs import FakeQueue

VISIBILITY_SECONDS = 1
_START = dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC)
_NO_RETRIES = Config(retries={"mode": "standard", "total_max_attempts": 1}, read_timeout=5)
_LARGEST_MESSAGE = 1024 * 1024


def now() -> dt.datetime:
    """The present."""
    return dt.datetime.now(dt.UTC)


class SqsShell(Protocol):
    """A queue, with what a test of the contract needs besides its port."""

    @property
    def queue(self) -> SqsQueue:
        """The queue as the program sees it."""

    def now(self) -> dt.datetime:
        """The time there."""

    def send(self, *bodies: str) -> None:
        """Put messages on the queue."""

    def visible(self) -> int:
        """The number of messages that a receive would find."""

    def left(self) -> int:
        """The number of messages, visible or not."""

    def dead_letters(self) -> Sequence[tuple[str, str | None]]:
        """Body and reason of the messages on the dead-letter queue."""

    async def without_dead_letters(self) -> SqsQueue:
        """A queue that has no dead-letter queue."""


class InProcessShell:
    """The adapter, against the simulated SQS in the loop, in virtual time."""

    def __init__(self) -> None:
        self.now = clock.LoopClock(_START)
        self._kept = FakeQueue(clock=self.now, visibility_timeout=VISIBILITY_SECONDS)
        self.queue = self._kept.client()

    async def open(self) -> None:
        await self.queue.open()

    def send(self, *bodies: str) -> None:
        for body in bodies:
            self._kept.send(body)

    def visible(self) -> int:
        return self._kept.visible

    def left(self) -> int:
        return self._kept.left

    def dead_letters(self) -> Sequence[tuple[str, str | None]]:
        return self._kept.dead_letters

    async def without_dead_letters(self) -> SqsQueue:
        self._kept.remove_dead_letter_queue()
        other = self._kept.client()
        await other.open()
        return other


class HttpShell:
    """The adapter, against the simulated SQS over HTTP."""

    def __init__(self, aws: simulator.AwsSimulator) -> None:
        self.aws = aws
        self.client = aws.session.client("sqs", endpoint_url=aws.endpoint_url, config=_NO_RETRIES)
        dead_letters = self.create()
        policy = {"deadLetterTargetArn": self.arn_of(dead_letters), "maxReceiveCount": 100}
        self.url = self.create(RedrivePolicy=json.dumps(policy))
        self.queue = self.connect(self.url)

    def now(self) -> dt.datetime:
        return now()

    async def open(self) -> None:
        await self.queue.open()

    async def close(self) -> None:
        await self.queue.close()
        self.client.close()

    def create(self, **attributes: str) -> str:
        """Create a queue; its URL."""
        attributes.setdefault("MaximumMessageSize", str(_LARGEST_MESSAGE))
        name = f"queue-{uuid.uuid4()}"
        return self.client.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]  # type: ignore[arg-type] # the stub wants the names as literals

    def arn_of(self, url: str) -> str:
        """The ARN of a queue."""
        answer = self.client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return answer["Attributes"]["QueueArn"]

    def connect(self, url: str, *, wait_seconds: int = 1) -> SqsQueue:
        """The adapter for a queue."""
        return SqsQueue(
            QueueClient(self.client, url),
            visibility_timeout=dt.timedelta(seconds=VISIBILITY_SECONDS),
            wait_time=dt.timedelta(seconds=wait_seconds),
            threads=DaemonExecutor(4, name="aws"),
        )

    def send(self, *bodies: str) -> None:
        for body in bodies:
            self.aws.send_raw(body, queue_url=self.url)

    def visible(self) -> int:
        return self.aws.queue_state(self.url).visible

    def left(self) -> int:
        return self.aws.queue_state(self.url).total

    def dead_letters(self) -> Sequence[tuple[str, str | None]]:
        return [
            (letter.body, letter.attributes.get("queue-processor.reason"))
            for letter in self.aws.dead_letters(self.url)
        ]

    async def without_dead_letters(self) -> SqsQueue:
        other = self.connect(self.create())
        await other.open()
        return other


async def next_message(shell: SqsShell) -> ReceivedMessage:
    """Receive until a message comes; that one."""
    while True:
        received = await shell.queue.receive()
        if received:
            (message,) = received
            return message
