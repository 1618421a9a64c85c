"""Notices: what instance metadata (IMDS) announces about an instance, written on its Node.

A watcher on each node polls instance metadata and writes what is new into an annotation of its own
Node. The operator reads the annotation as an event, and removes it when the event is settled. So
the notice survives a restart of either, and the watcher needs no right but to patch Nodes.

Both sides use this module, and it imports nothing but the standard library: the watcher has to be
small. Annotations are untrusted input, since people and other programs can write them too.

The bodies:
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/rebalance-recommendations.html
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/viewing_scheduled_events.html
https://docs.aws.amazon.com/autoscaling/ec2/userguide/retrieving-target-lifecycle-state-through-imds.html
"""

import dataclasses
import datetime as dt
import enum
import json
import re
from collections.abc import Callable, Mapping

from queue_processor.domain import errors, identifiers, json_fields
from queue_processor.domain.events import EventKind, InterruptionEvent
from queue_processor.domain.json_fields import JsonObject

ANNOTATION_PREFIX = "queue-processor/notice-"


class MetadataPath(enum.StrEnum):
    """The paths that announce something, below `/latest/meta-data/`."""

    INSTANCE_ACTION = "spot/instance-action"
    TERMINATION_TIME = "spot/termination-time"
    REBALANCE = "events/recommendations/rebalance"
    SCHEDULED = "events/maintenance/scheduled"
    HISTORY = "events/maintenance/history"
    TARGET_STATE = "autoscaling/target-lifecycle-state"


# In bytes. A longer body is not from EC2, and the annotations of an object share 256 KiB.
LONGEST_BODY = 1024

# The one target lifecycle state that takes a node away.
TARGET_TERMINATED = "Terminated"

# EC2 gives two minutes, and a drill may give more. Further ahead, a clock or a person is wrong.
_LONGEST_SPOT_NOTICE = dt.timedelta(hours=1)
_LONGEST_TEXT = 4 * LONGEST_BODY
_FIELD_LIMIT = 120
_OVER = frozenset({"canceled", "cancelled", "completed"})
# It ends the name of an annotation, which has 63 characters at most after the slash.
_CHANGE_ID = re.compile(r"[0-9A-Za-z](?:[0-9A-Za-z._-]{0,36}[0-9A-Za-z])?", re.ASCII)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One notice.

    Attributes:
        annotation: The name of its annotation.
        instance_id: The instance, by its own account.
        seen_at: When the watcher read it first (UTC).
        body: The text that instance metadata has; of scheduled events, one from the list.
        is_cancelled: Instance metadata does not announce it any more.
    """

    annotation: str
    instance_id: str
    seen_at: dt.datetime
    body: str
    is_cancelled: bool = False

    def to_json(self) -> str:
        """Return the value of the annotation."""
        fields = {
            "instance": self.instance_id,
            "seen": self.seen_at.isoformat(timespec="milliseconds"),
            "said": self.body,
        }
        if self.is_cancelled:
            return json.dumps({**fields, "cancelled": True})
        return json.dumps(fields)


def annotation_name(kind: EventKind, *, change_id: str | None = None) -> str:
    """Return the name of the annotation for a notice.

    Args:
        kind: The kind.
        change_id: The id of a scheduled change: a node may have several.
    """
    name = f"{ANNOTATION_PREFIX}{kind.kebab}"
    return name if change_id is None else f"{name}-{change_id}"


def parse_scheduled_events(body: str) -> dict[str, str]:
    """Return each scheduled event that instance metadata lists, as JSON by its id.

    Raises:
        MalformedMessage: The body is not a list of scheduled events.
    """
    try:
        listed = json.loads(body)
    except (ValueError, RecursionError) as cause:
        raise errors.MalformedMessage(f"scheduled events: not JSON: {cause}") from cause
    if not isinstance(listed, list):
        raise errors.MalformedMessage("scheduled events: not a list")
    by_id: dict[str, str] = {}
    for each in listed:
        if not isinstance(each, dict):
            raise errors.MalformedMessage("scheduled events: an item is not an object")
        by_id[_change_id_of(each)] = _shortened(each)
    return by_id


def is_over(scheduled_event: str) -> bool:
    """Return True if a scheduled event, as `parse_scheduled_events` returns it, is over."""
    return _is_over(json_fields.load(scheduled_event, "a scheduled event"))


def parse(
    annotation: str, value: str, *, instance_id: identifiers.InstanceId, received_at: dt.datetime
) -> InterruptionEvent:
    """Parse a notice.

    Args:
        annotation: The name of the annotation.
        value: Its value.
        instance_id: The instance that the Node with the annotation runs on.
        received_at: The present (UTC): nothing was seen later than that.

    Raises:
        MalformedMessage: It is not a notice, or it is about another instance.
    """
    kind, parse_body = _parser_of(annotation)
    if len(value) > _LONGEST_TEXT:
        raise errors.MalformedMessage(f"the notice has {len(value)} characters")
    fields = json_fields.load(value, "the notice")
    named = json_fields.instance_id_at(fields, "instance")
    if named != instance_id:
        raise errors.MalformedMessage(f"instance: {named}, and the Node runs on {instance_id}")
    body = json_fields.text_at(fields, "said")
    if len(body.encode(errors="replace")) > LONGEST_BODY:
        raise errors.MalformedMessage(f"said: longer than {LONGEST_BODY} bytes")
    seen = json_fields.read_time(json_fields.optional_text_at(fields, "seen") or "")
    event = InterruptionEvent(
        event_id=f"imds-{kind.kebab}-{instance_id}",
        kind=kind,
        instance_ids=(instance_id,),
        occurred_at=received_at if seen is None else min(seen, received_at),
    )
    event = parse_body(event, body, received_at)
    return dataclasses.replace(
        event, is_cancelled=event.is_cancelled or fields.get("cancelled") is True
    )


def _spot_interruption(
    event: InterruptionEvent, body: str, received_at: dt.datetime
) -> InterruptionEvent:
    """Read `spot/instance-action`, or the bare time of the older `spot/termination-time`."""
    at = json_fields.read_time(body)
    if at is None:
        fields = json_fields.load(body, "instance-action")
        json_fields.text_at(fields, "action")
        at = json_fields.read_time(json_fields.text_at(fields, "time"))
    if at is None:
        raise errors.MalformedMessage(f"time: {body[:100]!r} has no time that can be read")
    return dataclasses.replace(
        event,
        event_id=f"{event.event_id}-{json_fields.iso_time(at)}",
        scheduled_at=at if at <= received_at + _LONGEST_SPOT_NOTICE else None,
    )


def _rebalance_recommendation(
    event: InterruptionEvent, body: str, received_at: dt.datetime
) -> InterruptionEvent:
    text = json_fields.text_at(json_fields.load(body, "rebalance"), "noticeTime")
    at = json_fields.read_time(text)
    if at is None:
        raise errors.MalformedMessage(f"noticeTime: {text[:60]!r} is no time")
    return dataclasses.replace(
        event,
        event_id=f"{event.event_id}-{json_fields.iso_time(at)}",
        occurred_at=min(at, received_at),
    )


def _scheduled_change(
    event: InterruptionEvent, body: str, received_at: dt.datetime
) -> InterruptionEvent:
    del received_at
    fields = json_fields.load(body, "a scheduled event")
    change_id = _change_id_of(fields)
    starts_at = json_fields.read_time(json_fields.text_at(fields, "NotBefore"))
    # A postponed change is a new event about the same change.
    suffix = change_id if starts_at is None else f"{change_id}-{json_fields.iso_time(starts_at)}"
    return dataclasses.replace(
        event,
        event_id=f"imds-{suffix}",
        change_id=change_id,
        scheduled_at=starts_at,
        is_cancelled=_is_over(fields),
    )


def _autoscaling_termination(
    event: InterruptionEvent, body: str, received_at: dt.datetime
) -> InterruptionEvent:
    """Read `autoscaling/target-lifecycle-state`, which names neither a hook nor its token."""
    del received_at
    if body != TARGET_TERMINATED:
        raise errors.MalformedMessage(f"target-lifecycle-state: {body[:60]!r} takes no node away")
    return event


_BodyParser = Callable[[InterruptionEvent, str, dt.datetime], InterruptionEvent]

_PARSERS: Mapping[EventKind, _BodyParser] = {
    EventKind.SPOT_INTERRUPTION: _spot_interruption,
    EventKind.REBALANCE_RECOMMENDATION: _rebalance_recommendation,
    EventKind.SCHEDULED_CHANGE: _scheduled_change,
    EventKind.AUTOSCALING_TERMINATION: _autoscaling_termination,
}

# What instance metadata can announce.
KINDS = tuple(_PARSERS)


def _parser_of(annotation: str) -> tuple[EventKind, _BodyParser]:
    for kind, parser in _PARSERS.items():
        name = annotation_name(kind)
        is_change = kind is EventKind.SCHEDULED_CHANGE and annotation.startswith(f"{name}-")
        if annotation == name or is_change:
            return kind, parser
    raise errors.MalformedMessage(f"{annotation[:100]!r} is the annotation of no kind of notice")


def _change_id_of(fields: JsonObject) -> str:
    change_id = json_fields.text_at(fields, "EventId")
    if not _CHANGE_ID.fullmatch(change_id):
        raise errors.MalformedMessage(f"EventId: {change_id[:60]!r} is no id")
    return change_id


def _shortened(event: Mapping[str, object]) -> str:
    """Return a scheduled event as JSON: the fields that it always has, and no endless text."""
    keys = ("NotBefore", "NotAfter", "Code", "Description", "EventId", "State")
    texts = {key: value for key in keys if isinstance(value := event.get(key), str)}
    return json.dumps({key: text[:_FIELD_LIMIT] for key, text in texts.items()}, ensure_ascii=False)


def _is_over(fields: JsonObject) -> bool:
    return (json_fields.optional_text_at(fields, "State") or "").lower() in _OVER
