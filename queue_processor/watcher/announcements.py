"""The paths of instance metadata that announce something, and the notices that follow from a body.

Each reader returns the text for each annotation, and raises MalformedMessage for a body that is not
what the path has. That an interruption is announced is decided by parsing, not by the status code:
captive portals, proxies and emulators answer everything with 200.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import TypeAlias

from queue_processor.domain import errors, json_fields, notices
from queue_processor.domain.events import EventKind
from queue_processor.domain.notices import MetadataPath

_META_DATA = "/latest/meta-data"
INSTANCE_ID_PATH = f"{_META_DATA}/instance-id"

SPOT = notices.annotation_name(EventKind.SPOT_INTERRUPTION)
REBALANCE = notices.annotation_name(EventKind.REBALANCE_RECOMMENDATION)
TERMINATION = notices.annotation_name(EventKind.AUTOSCALING_TERMINATION)
_SCHEDULED_PREFIX = f"{notices.annotation_name(EventKind.SCHEDULED_CHANGE)}-"

# https://docs.aws.amazon.com/autoscaling/ec2/userguide/retrieving-target-lifecycle-state-through-imds.html
_OTHER_TARGET = re.compile(r"InService|Standby|Detached|Warmed:[A-Za-z]{1,20}")

# The body of each announcement, by the annotation it belongs to.
Announcements: TypeAlias = Mapping[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class AnnouncementPath:
    """A path, and the reader of its body without white space around it."""

    path: str
    read: Callable[[str], Announcements]


def is_scheduled(annotation: str) -> bool:
    """Return True if an annotation is about a scheduled event, which can be cancelled."""
    return annotation.startswith(_SCHEDULED_PREFIX)


def _spot_interruption(body: str) -> Announcements:
    return {SPOT: body}


def _termination_time(body: str) -> Announcements:
    """Read the older path of a Spot interruption, which may contain what is not a time.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
    """
    return {} if json_fields.read_time(body) is None else {SPOT: body}


def _rebalance_recommendation(body: str) -> Announcements:
    return {REBALANCE: body}


def _target_lifecycle_state(body: str) -> Announcements:
    if body == notices.TARGET_TERMINATED:
        return {TERMINATION: body}
    if _OTHER_TARGET.fullmatch(body):
        return {}
    raise errors.MalformedMessage(f"{body[:60]!r} is no target lifecycle state")


def _scheduled_events(body: str) -> Announcements:
    return {
        notices.annotation_name(EventKind.SCHEDULED_CHANGE, change_id=event_id): event
        for event_id, event in notices.parse_scheduled_events(body).items()
    }


def _past_events(body: str) -> Announcements:
    events = _scheduled_events(body)
    return {name: event for name, event in events.items() if notices.is_over(event)}


def _path(path: MetadataPath) -> str:
    return f"{_META_DATA}/{path}"


SCHEDULED_EVENTS = AnnouncementPath(_path(MetadataPath.SCHEDULED), _scheduled_events)
PAST_EVENTS = AnnouncementPath(_path(MetadataPath.HISTORY), _past_events)
TERMINATION_TIME = AnnouncementPath(_path(MetadataPath.TERMINATION_TIME), _termination_time)

# The most urgent first.
POLLED = (
    AnnouncementPath(_path(MetadataPath.INSTANCE_ACTION), _spot_interruption),
    AnnouncementPath(_path(MetadataPath.TARGET_STATE), _target_lifecycle_state),
    SCHEDULED_EVENTS,
    AnnouncementPath(_path(MetadataPath.REBALANCE), _rebalance_recommendation),
)
