"""Builds the events of a drill from the options of the command, and sends them."""

import dataclasses
import datetime as dt
import json
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from queue_processor.adapters.aws.queue import QueueClient
from queue_processor.domain import drill_ids, durations, errors, event_builder
from queue_processor.domain.aws_events import Event, Origin
from queue_processor.domain.event_builder import ChangeStatus, EventOptions
from queue_processor.domain.events import EventKind, InstanceState, LifecycleHook
from queue_processor.domain.identifiers import InstanceId
from queue_processor.domain.messages import Attribute, QueueMessage
from queue_processor.domain.policy import Policy
from queue_processor.messages import explanation
from queue_processor.messages.explanation import Explanation
from queue_processor.messages.rate_limiter import RateLimiter
from queue_processor.messages.send.targets import DrillTarget, DrillTemplate

# On each message: that no service of AWS sent it, and when the drill began. In the body the id of
# the event alone shows it, so the operator handles the message like any other.
SENT_ATTRIBUTE = "queue-processor.sent"


_LIFECYCLE = ("group", "hook")
_REQUIRED: Mapping[EventKind, Collection[str]] = {
    EventKind.STATE_CHANGE: ("state",),
    EventKind.AUTOSCALING_TERMINATION: _LIFECYCLE,
    EventKind.AUTOSCALING_LAUNCH: _LIFECYCLE,
}
_ALLOWED: Mapping[EventKind, Collection[str]] = {
    **_REQUIRED,
    EventKind.SCHEDULED_CHANGE: ("starts-in", "status"),
}


def parse_options(
    kind: EventKind,
    *,
    state: InstanceState | None,
    group: str | None,
    hook: str | None,
    starts_in: str | None,
    status: ChangeStatus | None,
) -> EventOptions:
    """Return what the events state beside their instances.

    Raises:
        UsageError: The kind needs an option that is not set, or does not have one that is.
    """
    values = {"state": state, "group": group, "hook": hook, "starts-in": starts_in}
    for name, value in {**values, "status": status}.items():
        if not value and name in _REQUIRED.get(kind, ()):
            raise errors.UsageError(f"{kind} needs --{name}; see --help")
        if value is not None and name not in _ALLOWED.get(kind, ()):
            raise errors.UsageError(f"--{name} does not apply to {kind}; leave it out")
    plain = EventOptions()
    return EventOptions(
        state=state,
        hook=LifecycleHook(group=group, name=hook) if group and hook else None,
        starts_in=plain.starts_in if starts_in is None else durations.parse(starts_in),
        status=status or plain.status,
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EventTemplate:
    """The events of a drill, without the instance of each.

    Attributes:
        queue_arn: The events come from the account and Region of this queue.
    """

    kind: EventKind
    options: EventOptions
    queue_arn: str

    def explain(
        self, instance_id: InstanceId, *, now: dt.datetime, decisions: Policy
    ) -> tuple[str, Explanation]:
        """Return the body of a message that is sent now, and what the operator would do."""
        body = json.dumps(self._event_about(instance_id, now=now))
        explained = explanation.explain(
            body, message_id=None, sent_at=now, now=now, decisions=decisions
        )
        return body, explained

    def event_for(self, target: DrillTarget, *, now: dt.datetime) -> Event:
        """Return an event that happens now, with an id of its own."""
        return self._event_about(target.instance_id, now=now)

    def _event_about(self, instance_id: InstanceId, *, now: dt.datetime) -> Event:
        """Return an event about an instance.

        Raises:
            UsageError: The options lack what events of this kind need.
        """
        _, partition, _, region, account, _ = self.queue_arn.split(":", 5)
        origin = Origin(
            # AWS prints whole seconds.
            time=now.replace(microsecond=0),
            event_id=drill_ids.from_random(uuid.uuid4()),
            region=region,
            account=account,
            partition=partition,
        )
        return event_builder.build_event(self.kind, instance_id, self.options, origin=origin)


class EventSink(Protocol):
    """A queue or an event bus that takes events."""

    def put(self, events: Sequence[Event]) -> Sequence[str | Exception]:
        """Send up to ten events; return for each its id, or the error."""


class QueueSink:
    """The queue itself, as if a rule of EventBridge had sent there."""

    def __init__(self, queue: QueueClient, *, began_at: dt.datetime) -> None:
        self._queue = queue
        mark = Attribute(data_type="String", value=began_at.isoformat(timespec="seconds"))
        self._attributes = {SENT_ATTRIBUTE: mark}

    def put(self, events: Sequence[Event]) -> Sequence[str | Exception]:
        """Send up to ten events, each as a message."""
        ids = [str(event["id"]) for event in events]
        messages = [
            QueueMessage(message_id=event_id, body=json.dumps(event), attributes=self._attributes)
            for event_id, event in zip(ids, events, strict=True)
        ]
        results = self._queue.send(messages)
        return [error or event_id for event_id, error in zip(ids, results, strict=True)]


class Sender:
    """Sends batch by batch. Ctrl-C takes effect between two batches.

    Attributes:
        event_ids: The ids of the events that were sent, by instance, in the order of sending.
        refused: The errors of those that were refused, by instance.
        unconfirmed: The instances of events that may have been sent: no answer came.
    """

    def __init__(self, sink: EventSink, template: DrillTemplate, *, limiter: RateLimiter) -> None:
        self._sink = sink
        self._template = template
        self._limiter = limiter
        self.event_ids: dict[InstanceId, str] = {}
        self.refused: dict[InstanceId, str] = {}
        self.unconfirmed: Sequence[InstanceId] = ()

    def run(self, targets: Sequence[DrillTarget], *, on_progress: Callable[[int], None]) -> None:
        """Send an event about each target, until all are sent or a stop is requested.

        Raises:
            TemporaryError: AWS does not answer; it may have the events of the last batch.
        """
        for batch in self._limiter.batches(targets, on_progress=on_progress):
            self._send(batch)

    def _send(self, batch: Sequence[DrillTarget]) -> None:
        now = dt.datetime.now(dt.UTC)
        self.unconfirmed = [target.instance_id for target in batch]
        try:
            results = self._sink.put([self._template.event_for(each, now=now) for each in batch])
        except (errors.PermanentError, errors.UsageError):
            self.unconfirmed = ()
            raise
        self.unconfirmed = ()
        for target, result in zip(batch, results, strict=True):
            if isinstance(result, Exception):
                self.refused[target.instance_id] = str(result)
            else:
                self.event_ids[target.instance_id] = result
