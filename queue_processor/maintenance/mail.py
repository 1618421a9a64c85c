"""Opens the queue that a person means, and looks into it without taking anything."""

import dataclasses
import datetime as dt
from collections.abc import Iterator, Sequence

from queue_processor.adapters.aws import clients
from queue_processor.adapters.aws.queue import QueueClient
from queue_processor.domain import errors, explanation
from queue_processor.domain.explanation import Explanation
from queue_processor.domain.messages import QueueMessage, ReceivedMessage
from queue_processor.settings import ToolSettings

_HIDDEN = dt.timedelta(seconds=10)
PATIENCE = dt.timedelta(seconds=1)
# How many messages are held at a time while more are asked for: about a second's worth.
GLANCE = 100
# A receive that does not wait asks only some of the servers, and may miss what is there.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html
FRUITLESS = 3


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Which queue is meant.

    Attributes:
        queue: A URL, an ARN or a name; None means the queue of the settings.
        is_dead_letters: The dead-letter queue of that queue is meant.
    """

    queue: str | None = None
    is_dead_letters: bool = False


def opened(address: Address, settings: ToolSettings) -> QueueClient:
    """Find a queue.

    Raises:
        UsageError: None is named, it does not exist, or it has no dead-letter queue.
        ConfigurationError: There is no Region, or there are no credentials.
        PermanentError: AWS refuses us.
        TemporaryError: AWS does not answer.
    """
    name = address.queue or settings.queue_url
    if name is None:
        raise errors.UsageError(
            "no queue: name one with --queue, by URL or name, or set QUEUE_PROCESSOR_QUEUE_URL"
        )
    client = clients.create_sqs(wait_time_seconds=int(PATIENCE.total_seconds()))
    queue_client = QueueClient(client, "").named(name)
    return dead_letters_of(queue_client) if address.is_dead_letters else queue_client


def dead_letters_of(queue_client: QueueClient) -> QueueClient:
    """The dead-letter queue of a queue.

    Raises:
        UsageError: It has none.
    """
    redrive = queue_client.state().redrive
    if redrive is None:
        raise errors.UsageError(
            f"{queue_client.name} has no dead-letter queue: it has no redrive policy, or is one"
            " itself"
        )
    return queue_client.beside(redrive.target_arn)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The way back of dead letters."""

    dead_letters: QueueClient
    target: QueueClient


def way_back(queue: str | None, *, to: str | None, settings: ToolSettings) -> Route:
    """Where dead letters lie, and where they go back to.

    Args:
        queue: A queue that has dead letters, or a dead-letter queue; None means the queue of the
            settings.
        to: Where they go; None means the queue from which they came.
        settings: The operator's settings.

    Raises:
        UsageError: There is no dead-letter queue, or it has not exactly one source.
    """
    place = opened(Address(queue=queue), settings)
    redrive = place.state().redrive
    if redrive is not None:
        dead_letters = place.beside(redrive.target_arn)
        return Route(dead_letters=dead_letters, target=place.named(to) if to else place)
    sources = place.sources()
    if not sources:
        raise errors.UsageError(
            f"{place.name} neither has a dead-letter queue nor is one: no redrive policy names it"
        )
    if to is None and len(sources) > 1:
        names = ", ".join(sorted(source.name for source in sources))
        raise errors.UsageError(
            f"{place.name} has the dead letters of {names}: name one of them with --to"
        )
    return Route(dead_letters=place, target=place.named(to) if to else sources[0])


def glances(
    queue_client: QueueClient, *, limit: int | None = None
) -> Iterator[Sequence[QueueMessage]]:
    """Look at the messages of a queue; each is visible again before the next glance.

    A glance receives until it has a hundred, so that none of them is received twice in it,
    and gives all of them back at once. Where there are more, a later glance may come upon
    one again; the last one brings nothing new.

    Args:
        queue_client: The queue.
        limit: The most messages to look at; None: all that are visible.

    Yields:
        Messages that were in no glance before.
    """
    seen: set[str] = set()
    while limit is None or len(seen) < limit:
        wanted = GLANCE if limit is None else min(GLANCE, limit - len(seen))
        found = glance(queue_client, wanted)
        fresh = [message for message in found if message.message_id not in seen]
        seen.update(message.message_id for message in fresh)
        yield fresh
        if not fresh or len(found) < wanted:
            return


def explained(
    queue_client: QueueClient, settings: ToolSettings, *, now: dt.datetime, limit: int | None = None
) -> Iterator[tuple[QueueMessage, Explanation]]:
    """Look at the messages of a queue, each with what the operator would do with it."""
    decisions = settings.policy()
    for found in glances(queue_client, limit=limit):
        for message in found:
            yield message, explanation.explain_message(message, now=now, decisions=decisions)


def glance(queue_client: QueueClient, limit: int) -> Sequence[QueueMessage]:
    """Receive messages until there are enough or no more come, and give them back."""
    found: dict[str, ReceivedMessage] = {}
    fruitless = 0
    try:
        while len(found) < limit and fruitless < FRUITLESS:
            # Only a receive that waits asks all servers; but what is held already waits too.
            wait = dt.timedelta() if found else PATIENCE
            received = queue_client.receive(limit - len(found), hidden=_HIDDEN, wait=wait)
            before = len(found)
            found.update({each.message_id: each for each in received})
            if not found:
                break
            fruitless = fruitless + 1 if len(found) == before else 0
    finally:
        queue_client.give_back(each.receipt_handle for each in found.values())
    return list(found.values())


def find(queue_client: QueueClient, message_id: str) -> tuple[QueueMessage, QueueClient] | None:
    """Look for a message in a queue, then in its dead-letter queue; None where it is in neither."""
    redrive = queue_client.state().redrive
    places = (
        [queue_client]
        if redrive is None
        else [queue_client, queue_client.beside(redrive.target_arn)]
    )
    for place in places:
        for found in glances(place):
            for message in found:
                if message.message_id == message_id:
                    return message, place
    return None
