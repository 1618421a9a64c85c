"""Sends the events of a drill, spread over a time."""

import dataclasses
import datetime as dt
import json
from collections.abc import Callable, Sequence
from typing import Protocol

from queue_processor.adapters.aws.queue import QueueClient
from queue_processor.domain import errors
from queue_processor.domain.aws_events import Event
from queue_processor.domain.identifiers import InstanceId
from queue_processor.domain.messages import Attribute, QueueMessage
from queue_processor.maintenance.drill import EventDraft, Target
from queue_processor.maintenance.pacing import Pace

# Tells that no service of AWS sent the message, and when the drill began. The body says nothing of
# it, so that it is handled like any other.
SENT_ATTRIBUTE = "queue-processor.sent"


class Outlet(Protocol):
    """Where events go."""

    def put(self, events: Sequence[Event]) -> Sequence[str | Exception]:
        """Send up to ten; for each its id, or what went wrong with it."""


class QueueOutlet:
    """The queue itself, as if a rule of EventBridge had sent there."""

    def __init__(self, queue_client: QueueClient, *, began_at: dt.datetime) -> None:
        self._mailbox = queue_client
        mark = Attribute(data_type="String", value=began_at.isoformat(timespec="seconds"))
        self._attributes = {SENT_ATTRIBUTE: mark}

    def put(self, events: Sequence[Event]) -> Sequence[str | Exception]:
        """Send up to ten."""
        ids = [str(event["id"]) for event in events]
        messages = [
            QueueMessage(message_id=event_id, body=json.dumps(event), attributes=self._attributes)
            for event_id, event in zip(ids, events, strict=True)
        ]
        results = self._mailbox.send(messages)
        return [error or event_id for event_id, error in zip(ids, results, strict=True)]


@dataclasses.dataclass(slots=True)
class Sent:
    """What has become of the events.

    Attributes:
        event_ids: By instance, in the order in which they were sent.
        refused: What was said about those that were not taken, by instance.
        doubtful: The instances of events that were on their way when the command ended.
    """

    event_ids: dict[InstanceId, str] = dataclasses.field(default_factory=dict)
    refused: dict[InstanceId, str] = dataclasses.field(default_factory=dict)
    doubtful: tuple[InstanceId, ...] = ()


class Sender:
    """Sends batch by batch; a batch is not torn apart by Ctrl-C."""

    def __init__(
        self, outlet: Outlet, draft: EventDraft, *, pace: Pace, clock: Callable[[], dt.datetime]
    ) -> None:
        self._outlet = outlet
        self._draft = draft
        self._pace = pace
        self._clock = clock
        self.sent = Sent()

    def run(self, targets: Sequence[Target], *, told: Callable[[int], None]) -> None:
        """Send until all is sent or somebody asks for the end.

        Args:
            targets: Whom the events are about.
            told: Is told how many have been dealt with, after each batch.

        Raises:
            PermanentError: AWS refuses us.
            TemporaryError: AWS did not answer; it may have the events that were on their way.
        """
        for batch in self._pace.batches(targets, told=told):
            self._send(batch)

    def _send(self, batch: Sequence[Target]) -> None:
        ids = [target.instance_id for target in batch]
        now = self._clock()
        self.sent.doubtful = tuple(ids)
        try:
            results = self._outlet.put(
                [self._draft.event_about(instance_id, now=now) for instance_id in ids]
            )
        except (errors.PermanentError, errors.UsageError):
            self.sent.doubtful = ()
            raise
        self.sent.doubtful = ()
        for instance_id, result in zip(ids, results, strict=True):
            if isinstance(result, Exception):
                self.sent.refused[instance_id] = str(result)
            else:
                self.sent.event_ids[instance_id] = result
