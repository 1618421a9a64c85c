"""Sends recorded messages, each once, however often it is begun."""

import dataclasses
import datetime as dt
from collections.abc import Callable, Sequence

from queue_processor.adapters.aws import batches
from queue_processor.adapters.aws.queue import ATTRIBUTE_LIMIT, QueueClient
from queue_processor.adapters.files.journal import Journal
from queue_processor.domain import errors
from queue_processor.domain.editing import Edits
from queue_processor.domain.messages import Attribute, QueueMessage
from queue_processor.maintenance.pacing import Pace

# Tells where a message comes from: the id that it had when it was recorded.
REPLAYED_ATTRIBUTE = "queue-processor.replayed"


@dataclasses.dataclass(slots=True)
class Replayed:
    """What has become of the messages.

    Attributes:
        sent: How many the queue has taken.
        unmarked: How many of them had no room for the mark.
        refused: What the queue said about those that it did not take, by message id.
    """

    sent: int = 0
    unmarked: int = 0
    refused: dict[str, str] = dataclasses.field(default_factory=dict)


class Replayer:
    """Sends batch by batch; a batch and its line in the journal are not torn apart by Ctrl-C."""

    def __init__(
        self,
        queue_client: QueueClient,
        journal: Journal,
        *,
        edits: Edits,
        pace: Pace,
        clock: Callable[[], dt.datetime],
    ) -> None:
        self._mailbox = queue_client
        self._journal = journal
        self._edits = edits
        self._pace = pace
        self._clock = clock
        self.replayed = Replayed()

    def run(self, messages: Sequence[QueueMessage], *, told: Callable[[int], None]) -> None:
        """Send messages until all are sent or somebody asks for the end.

        Args:
            messages: What has not been sent.
            told: Is told how many have been dealt with, after each batch.

        Raises:
            PermanentError: AWS refuses us.
            TemporaryError: AWS did not answer; it may have the messages that were on their way.
        """
        for batch in self._pace.batches(messages, told=told):
            now = self._clock()
            edited = [_marked(self._edits.made_to(message, now=now)) for message in batch]
            for part in batches.filled(edited, size_of=lambda message: message.size):
                self._send(part)

    def _send(self, batch: Sequence[QueueMessage]) -> None:
        ids = [message.message_id for message in batch]
        self._journal.sending(ids)
        try:
            results = self._mailbox.send(batch)
        except (errors.PermanentError, errors.UsageError):
            self._journal.failed(ids)
            raise
        sent = [message for message, error in zip(batch, results, strict=True) if error is None]
        if sent:
            self._journal.sent([message.message_id for message in sent])
        refused = {
            message_id: str(error)
            for message_id, error in zip(ids, results, strict=True)
            if error is not None
        }
        if refused:
            self._journal.failed(refused)
        self.replayed.refused |= refused
        self.replayed.sent += len(sent)
        self.replayed.unmarked += sum(
            REPLAYED_ATTRIBUTE not in message.attributes for message in sent
        )


def _marked(message: QueueMessage) -> QueueMessage:
    """The message with its mark, where there is room for it."""
    mark = Attribute(data_type="String", value=message.message_id)
    marked = dataclasses.replace(
        message, attributes={**message.attributes, REPLAYED_ATTRIBUTE: mark}
    )
    has_room = len(marked.attributes) <= ATTRIBUTE_LIMIT and marked.size <= batches.SIZE_LIMIT
    return marked if has_room else message
