"""Finds the queue that a person means, looks at its messages, and at who consumes them.

SQS has no call that shows messages without receiving them. To peek, we receive messages, hide
them for seconds only, and make them visible again at once. That adds one to the receive count of
each, and a redrive policy counts it.
"""

import asyncio
import dataclasses
import datetime as dt
from collections.abc import Iterator, Sequence

from queue_processor.adapters.aws import clients
from queue_processor.adapters.aws.queue import QueueClient
from queue_processor.adapters.aws.queue_attributes import QueueState
from queue_processor.domain import errors
from queue_processor.domain.messages import QueueMessage, ReceivedMessage
from queue_processor.messages import cluster, explanation
from queue_processor.messages.explanation import ExplainedMessage
from queue_processor.settings import ToolSettings

WAIT = dt.timedelta(seconds=1)
# How many messages one peek holds at a time: about a second's worth.
PEEK_SIZE = 100
# A receive that does not wait asks only some of the servers, and may miss messages.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html
EMPTY_RECEIVES = 3
_HIDDEN = dt.timedelta(seconds=10)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class QueueRef:
    """Names a queue.

    Attributes:
        queue: A URL, an ARN or a name. None means the queue of the settings.
        is_dead_letters: The dead-letter queue of that queue is meant.
    """

    queue: str | None = None
    is_dead_letters: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RedrivePath:
    """The dead-letter queue and the queue that a redrive moves its messages to."""

    dead_letters: QueueClient
    target: QueueClient


@dataclasses.dataclass(frozen=True, slots=True)
class QueueConsumers:
    """The consumers of a queue, as far as they can be seen from here.

    Attributes:
        none: It is certain that no operator consumes it.
        text: The same for people.
    """

    none: bool
    text: str


def open_queue(ref: QueueRef, settings: ToolSettings) -> QueueClient:
    """Find a queue.

    Raises:
        UsageError: No queue is named, it does not exist, or it has no dead-letter queue.
        ConfigurationError: There is no Region, or there are no credentials.
    """
    name = ref.queue or settings.queue_url
    if name is None:
        raise errors.UsageError(
            "no queue: name one with --queue, by URL or name, or set QUEUE_PROCESSOR_QUEUE_URL"
        )
    queue_url = name if name.startswith(("https://", "http://")) else settings.queue_url
    client = clients.ClientFactory(queue_url=queue_url).sqs(
        queue_url=queue_url,
        wait_time_seconds=int(WAIT.total_seconds()),
    )
    queue = QueueClient(client, "").named(name)
    if not ref.is_dead_letters:
        return queue
    redrive = queue.state().redrive
    if redrive is None:
        raise errors.UsageError(
            f"{queue.name} has no dead-letter queue: it has no redrive policy, or is a dead-letter"
            " queue itself"
        )
    return queue.beside(redrive.target_arn)


def find_redrive_path(queue: str | None, *, to: str | None, settings: ToolSettings) -> RedrivePath:
    """Find the two queues of a redrive.

    Args:
        queue: A queue with a dead-letter queue, or a dead-letter queue. None means the queue of
            the settings.
        to: The target. None means the source of the dead-letter queue.
        settings: The operator's settings.

    Raises:
        UsageError: There is no dead-letter queue, or it has several sources and `to` is None.
    """
    named = open_queue(QueueRef(queue=queue), settings)
    redrive = named.state().redrive
    if redrive is not None:
        dead_letters = named.beside(redrive.target_arn)
        return RedrivePath(dead_letters=dead_letters, target=named.named(to) if to else named)
    sources = named.sources()
    if not sources:
        raise errors.UsageError(
            f"{named.name} neither has a dead-letter queue nor is one: no redrive policy names it"
        )
    if to is None and len(sources) > 1:
        names = ", ".join(sorted(source.name for source in sources))
        raise errors.UsageError(
            f"{named.name} has the dead letters of {names}: name one of them with --to"
        )
    return RedrivePath(dead_letters=named, target=named.named(to) if to else sources[0])


def peek(queue: QueueClient, limit: int) -> Sequence[QueueMessage]:
    """Return up to `limit` messages, each once, and make them visible again."""
    held: dict[str, ReceivedMessage] = {}
    empty_receives = 0
    try:
        while len(held) < limit and empty_receives < EMPTY_RECEIVES:
            # Only a receive that waits asks all servers, but the messages we hold wait as well.
            wait = dt.timedelta() if held else WAIT
            received = queue.receive(limit - len(held), hidden=_HIDDEN, wait=wait)
            before = len(held)
            held.update({each.message_id: each for each in received})
            if not held:
                break
            empty_receives = empty_receives + 1 if len(held) == before else 0
    finally:
        queue.release(each.receipt_handle for each in held.values())
    return list(held.values())


def peek_all(queue: QueueClient, *, limit: int | None = None) -> Iterator[Sequence[QueueMessage]]:
    """Peek until nothing new comes.

    In a queue of more than a hundred messages a later peek may receive one again. It is yielded
    once all the same.

    Args:
        queue: The queue.
        limit: The most messages to look at. None means all that are visible.

    Yields:
        The messages that no earlier peek returned.
    """
    seen: set[str] = set()
    while limit is None or len(seen) < limit:
        size = PEEK_SIZE if limit is None else min(PEEK_SIZE, limit - len(seen))
        messages = peek(queue, size)
        fresh = [message for message in messages if message.message_id not in seen]
        seen.update(message.message_id for message in fresh)
        yield fresh
        if not fresh or len(messages) < size:
            return


def peek_explained(
    queue: QueueClient, settings: ToolSettings, *, now: dt.datetime, limit: int | None = None
) -> Sequence[ExplainedMessage]:
    """Peek, and explain what the operator would do with each message."""
    decisions = settings.policy()
    return [
        ExplainedMessage(
            message=message,
            explanation=explanation.explain_message(message, now=now, decisions=decisions),
        )
        for messages in peek_all(queue, limit=limit)
        for message in messages
    ]


def find_message(queue: QueueClient, message_id: str) -> tuple[QueueMessage, QueueClient] | None:
    """Look for a visible message in a queue and in its dead-letter queue."""
    redrive = queue.state().redrive
    both = [queue] if redrive is None else [queue, queue.beside(redrive.target_arn)]
    for each in both:
        for messages in peek_all(each):
            for message in messages:
                if message.message_id == message_id:
                    return message, each
    return None


def find_consumers(
    state: QueueState, settings: ToolSettings, *, now: dt.datetime
) -> QueueConsumers:
    """Find out who consumes a queue.

    A message in flight proves a consumer. None in flight proves nothing, because an operator that
    waits for messages holds none. So the operator's Lease counts as well. If it cannot be read, or
    leader election is off, there may be an operator.
    """
    if state.in_flight:
        text = f"{state.in_flight} of its messages are in flight"
        return QueueConsumers(none=False, text=text)
    if not settings.leader_election.enabled:
        text = (
            "none of its messages is in flight, but without leader election nothing shows whether"
            " an operator waits for messages"
        )
        return QueueConsumers(none=False, text=text)
    try:
        lease = asyncio.run(cluster.read_lease(settings))
    except errors.QueueProcessorError as error:
        text = (
            "none of its messages is in flight, but an operator may wait for messages; the Lease"
            f" cannot be read: {error}"
        )
        return QueueConsumers(none=False, text=text)
    if lease is not None and lease.is_held(now):
        return QueueConsumers(none=False, text=f"{lease.holder} leads in the cluster")
    text = "none of its messages is in flight, and no operator leads in the cluster"
    return QueueConsumers(none=True, text=text)
