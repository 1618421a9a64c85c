"""Message body → InterruptionEvent | Ignored, by a table of (source, detail-type).

Bodies come in three shapes: an event of EventBridge, the same event inside an SNS notification, and
the lifecycle notification that Auto Scaling sends without EventBridge. Everybody who may send to
the queue can write a body, so bodies are untrusted input: no body raises anything but
MalformedMessage, and what an error quotes of a body has a bounded length.

There are three answers to what a body has that we do not expect:

- An unknown field is tolerated. AWS adds fields without notice.
- An unknown pair of source and detail-type is ignored, and so is an event or a notification of
  Auto Scaling about something that is none of our business. The rule that fills the queue may
  match more than we handle, and a message that is deleted quietly costs nothing.
- A body that lacks what its kind needs is malformed. It goes to the dead-letter queue, because
  either AWS has changed a format or somebody has made a mistake, and a person has to look.

The table has one small function for each kind, which reads what this kind needs and nothing else.
Schema classes for each event were rejected: they describe fields that nobody reads, and they
reject what they do not know.

The samples in `tests/data/events` are printed in the AWS documentation; where a page contradicts
another, the comment beside the code says so.
"""

import dataclasses
import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

from queue_processor.domain import errors, events, identifiers, json_fields
from queue_processor.domain.events import BodyShape, EventKind, Ignored, InterruptionEvent
from queue_processor.domain.json_fields import JsonObject

# Every notification of Auto Scaling names what happened, or the transition, with this prefix.
_AUTOSCALING = "autoscaling:"
_TEST_NOTIFICATION = f"{_AUTOSCALING}TEST_NOTIFICATION"
_EVENT_ID_LIMIT = 128
_CHANGE_ID_LIMIT = 512


class _Envelope:
    """The fields that every event has, in whichever shape it arrives."""

    def __init__(
        self, fields: JsonObject, *, shape: BodyShape, message_id: str, sent_at: dt.datetime
    ) -> None:
        self.fields = fields
        self.shape = shape
        self.event_id = _event_id(fields, default=message_id)
        self.occurred_at = _occurred_at(fields, sent_at=sent_at)

    @property
    def detail(self) -> JsonObject:
        return json_fields.object_at(self.fields, "detail")

    def ignored(self, reason: str) -> Ignored:
        return Ignored(event_id=self.event_id, shape=self.shape, reason=reason)

    def about(
        self, kind: EventKind, instance_ids: tuple[identifiers.InstanceId, ...]
    ) -> InterruptionEvent:
        """Return an event about these instances."""
        # Direct notifications of Auto Scaling have the second name, and no Region.
        account = "account" if "account" in self.fields else "AccountId"
        return InterruptionEvent(
            event_id=self.event_id,
            kind=kind,
            shape=self.shape,
            instance_ids=instance_ids,
            occurred_at=self.occurred_at,
            account=json_fields.optional_text_at(self.fields, account),
            region=json_fields.optional_text_at(self.fields, "region"),
        )

    def about_one(self, kind: EventKind) -> InterruptionEvent:
        """Return an event about the instance that `detail.instance-id` names."""
        return self.about(kind, (json_fields.instance_id_at(self.detail, "instance-id"),))


_Parsed: TypeAlias = InterruptionEvent | Ignored
_Parser: TypeAlias = Callable[[_Envelope], _Parsed]


def parse(body: str, *, message_id: str, sent_at: dt.datetime) -> InterruptionEvent | Ignored:
    """Parse the body of a message.

    Args:
        body: The body as SQS gave it: an EventBridge event, the same inside an SNS
            notification, or an Auto Scaling lifecycle notification.
        message_id: Stands in for an event id where the source gives none.
        sent_at: When the queue took the message (UTC). It stands in for an event time
            that cannot be read, and no event counts as younger than that.

    Returns:
        The event, or why there is nothing to do about it.

    Raises:
        MalformedMessage: The body is none of these shapes, or lacks what its kind needs.
    """
    fields, shape = _unwrapped(body)
    if "detail-type" not in fields and "detail_type" not in fields:
        return _parse_notification(fields, shape=shape, message_id=message_id, sent_at=sent_at)
    envelope = _Envelope(fields, shape=shape, message_id=message_id, sent_at=sent_at)
    # The Capacity Block samples in the EC2 guide print an underscore.
    key = "detail-type" if "detail-type" in fields else "detail_type"
    source, detail_type = json_fields.text_at(fields, "source"), json_fields.text_at(fields, key)
    parser = _PARSERS.get((source, detail_type))
    if parser is None:
        return envelope.ignored(f"no event of ours: {source[:60]!r} / {detail_type[:100]!r}")
    return parser(envelope)


def event_time(body: str) -> dt.datetime | None:
    """Return when the event in a body happened, by its own account (UTC), or None."""
    try:
        fields, _ = _unwrapped(body)
    except errors.MalformedMessage:
        return None
    value = _time_of(fields)
    return json_fields.read_time(value) if isinstance(value, str) else None


def _unwrapped(body: str) -> tuple[JsonObject, BodyShape]:
    fields = json_fields.load(body, "body")
    if fields.get("Type") == "Notification" and "Message" in fields:
        return json_fields.load(json_fields.text_at(fields, "Message"), "Message"), BodyShape.SNS
    return fields, BodyShape.EVENTBRIDGE


def _parse_notification(
    fields: JsonObject, *, shape: BodyShape, message_id: str, sent_at: dt.datetime
) -> _Parsed:
    """Parse a notification that Auto Scaling sends to SQS or SNS itself.

    A topic of lifecycle hooks often gets the scaling notifications of the groups, too.

    https://docs.aws.amazon.com/autoscaling/ec2/userguide/prepare-for-lifecycle-notifications.html
    https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-sns-notifications.html
    """
    if shape is BodyShape.EVENTBRIDGE:
        shape = BodyShape.AUTOSCALING
    envelope = _Envelope(fields, shape=shape, message_id=message_id, sent_at=sent_at)
    happened = fields.get("Event")
    if happened == _TEST_NOTIFICATION:
        return envelope.ignored("a test notification: a lifecycle hook was added")
    if "LifecycleTransition" not in fields:
        if isinstance(happened, str) and happened.startswith(_AUTOSCALING):
            return envelope.ignored(f"a scaling notification: {happened[:60]!r}")
        raise errors.MalformedMessage(
            "neither detail-type nor LifecycleTransition: not an event of EventBridge,"
            " nor a notification of Auto Scaling"
        )
    transition = json_fields.text_at(fields, "LifecycleTransition")
    match transition:
        case events.LifecycleTransition.TERMINATING:
            return _lifecycle(envelope, fields, events.LifecycleTransition.TERMINATING)
        case events.LifecycleTransition.LAUNCHING:
            return _lifecycle(envelope, fields, events.LifecycleTransition.LAUNCHING)
        case _ if transition.startswith(_AUTOSCALING):
            return envelope.ignored(f"a transition that takes no node away: {transition[:60]!r}")
        case _:
            raise errors.MalformedMessage(f"LifecycleTransition: {transition[:60]!r} is unknown")


def _spot_interruption(envelope: _Envelope) -> _Parsed:
    return envelope.about_one(EventKind.SPOT_INTERRUPTION)


def _rebalance_recommendation(envelope: _Envelope) -> _Parsed:
    return envelope.about_one(EventKind.REBALANCE_RECOMMENDATION)


def _capacity_reservation(envelope: _Envelope) -> _Parsed:
    event = envelope.about_one(EventKind.CAPACITY_RESERVATION_INTERRUPTION)
    end = envelope.detail.get("instance-termination-time")
    return dataclasses.replace(
        event, scheduled_at=json_fields.read_time(end) if isinstance(end, str) else None
    )


def _state_change(envelope: _Envelope) -> _Parsed:
    state = json_fields.text_at(envelope.detail, "state")
    if state not in set(events.InstanceState):
        return envelope.ignored(f"the instance is {state[:40]!r}: it goes nowhere")
    event = envelope.about_one(EventKind.STATE_CHANGE)
    return dataclasses.replace(
        event,
        instance_state=events.InstanceState(state),
        is_cancelled=state == events.InstanceState.RUNNING,
    )


def _terminate(envelope: _Envelope) -> _Parsed:
    return _lifecycle(envelope, envelope.detail, events.LifecycleTransition.TERMINATING)


def _launch(envelope: _Envelope) -> _Parsed:
    return _lifecycle(envelope, envelope.detail, events.LifecycleTransition.LAUNCHING)


def _lifecycle(
    envelope: _Envelope, fields: JsonObject, transition: events.LifecycleTransition
) -> _Parsed:
    # On its way into the pool (Destination) an instance still has pods; inside it has none.
    if transition is events.LifecycleTransition.TERMINATING and fields.get("Origin") == "WarmPool":
        return envelope.ignored("the instance is in its warm pool, where it has no pods")
    instance_id = json_fields.instance_id_at(fields, "EC2InstanceId")
    token = fields.get("LifecycleActionToken")
    action = events.LifecycleAction(
        hook=events.LifecycleHook(
            group=json_fields.name_at(fields, "AutoScalingGroupName"),
            name=json_fields.name_at(fields, "LifecycleHookName"),
        ),
        transition=transition,
        instance_id=instance_id,
        token=token if isinstance(token, str) and token and json_fields.is_unicode(token) else None,
    )
    kind = {
        events.LifecycleTransition.TERMINATING: EventKind.AUTOSCALING_TERMINATION,
        events.LifecycleTransition.LAUNCHING: EventKind.AUTOSCALING_LAUNCH,
    }[transition]
    return dataclasses.replace(envelope.about(kind, (instance_id,)), lifecycle_action=action)


def _health(envelope: _Envelope) -> _Parsed:
    """Parse an AWS Health event; every page names its own share of the instances.

    https://docs.aws.amazon.com/health/latest/ug/aws-health-events-eventbridge-schema.html
    """
    detail = envelope.detail
    service, category = (
        json_fields.text_at(detail, "service"),
        json_fields.text_at(detail, "eventTypeCategory"),
    )
    if service != "EC2" or category != "scheduledChange":
        return envelope.ignored(
            f"a Health event about {service[:40]!r}, category {category[:40]!r}"
        )
    if detail.get("backupEvent") in ("true", "True", True):
        return envelope.ignored("the backup Region's copy of a Health event")
    instance_ids = _affected_instances(envelope)
    if not instance_ids:
        return envelope.ignored("a scheduled change that names no instance")
    resolved = _resolved_instances(detail)
    start = detail.get("startTime")
    is_cancelled = detail.get("statusCode") == "closed" or resolved.issuperset(instance_ids)
    return dataclasses.replace(
        envelope.about(EventKind.SCHEDULED_CHANGE, instance_ids),
        scheduled_at=json_fields.read_time(start) if isinstance(start, str) else None,
        is_cancelled=is_cancelled,
        change_id=_change_id(detail),
        resolved_ids=frozenset() if is_cancelled else resolved,
    )


def _change_id(detail: JsonObject) -> str:
    """Return the ARN of the change: its updates, its cancellation and all of its pages have it."""
    arn = detail.get("eventArn")
    if isinstance(arn, str) and arn.isprintable() and 0 < len(arn) <= _CHANGE_ID_LIMIT:
        return arn
    return EventKind.SCHEDULED_CHANGE.value


def _resolved_instances(detail: JsonObject) -> frozenset[identifiers.InstanceId]:
    """Return the instances whose every entity is resolved, whatever the event itself is."""
    resolved: set[identifiers.InstanceId] = set()
    unresolved: set[identifiers.InstanceId] = set()
    for entity in _entities(detail):
        instance_id = identifiers.parse_instance_id(json_fields.text_at(entity, "entityValue"))
        if instance_id is not None:
            (resolved if entity.get("status") == "RESOLVED" else unresolved).add(instance_id)
    return frozenset(resolved - unresolved)


def _affected_instances(envelope: _Envelope) -> tuple[identifiers.InstanceId, ...]:
    named = json_fields.list_at(envelope.fields, "resources")
    named.extend(
        json_fields.text_at(entity, "entityValue") for entity in _entities(envelope.detail)
    )
    parsed = (identifiers.parse_instance_id(name) for name in named if isinstance(name, str))
    return tuple(dict.fromkeys(instance_id for instance_id in parsed if instance_id))


def _entities(detail: JsonObject) -> Iterator[JsonObject]:
    for entity in json_fields.list_at(detail, "affectedEntities"):
        if not isinstance(entity, Mapping):
            raise errors.MalformedMessage("detail.affectedEntities: an item is not an object")
        yield entity


_PARSERS: Mapping[tuple[str, str], _Parser] = {
    ("aws.ec2", "EC2 Spot Instance Interruption Warning"): _spot_interruption,
    ("aws.ec2", "EC2 Instance Rebalance Recommendation"): _rebalance_recommendation,
    (
        "aws.ec2",
        "EC2 Capacity Reservation Instance Interruption Warning",
    ): _capacity_reservation,
    # The EC2 guide has printed both.
    (
        "aws.ec2",
        "EC2 Interruptible Capacity Reservation Instance Interruption Warning",
    ): _capacity_reservation,
    ("aws.ec2", "EC2 Instance State-change Notification"): _state_change,
    ("aws.autoscaling", "EC2 Instance-terminate Lifecycle Action"): _terminate,
    ("aws.autoscaling", "EC2 Instance-launch Lifecycle Action"): _launch,
    ("aws.health", "AWS Health Event"): _health,
}


def _event_id(fields: JsonObject, *, default: str) -> str:
    # Direct notifications of Auto Scaling call it RequestId.
    for key in ("id", "RequestId"):
        value = fields.get(key)
        if isinstance(value, str) and value.isprintable() and 0 < len(value) <= _EVENT_ID_LIMIT:
            return value
    return default


def _occurred_at(fields: JsonObject, *, sent_at: dt.datetime) -> dt.datetime:
    value = _time_of(fields)
    if value is not None and not isinstance(value, str):
        raise errors.MalformedMessage(
            f"time: {json_fields.describe(value)}, where a text is needed"
        )
    read = json_fields.read_time(value) if value else None
    # Nothing is sent before it happens: a later time is a wrong clock.
    return sent_at if read is None else min(read, sent_at)


def _time_of(fields: JsonObject) -> object:
    return fields.get("time", fields.get("Time"))
