"""The catalogue of reasons of Kubernetes Events; no reason is defined anywhere else.

`make docs` generates docs/events.md from this file.
"""

import dataclasses
import enum
from collections.abc import Mapping
from typing import Literal

from queue_processor.domain.events import EventKind


class EventType(enum.StrEnum):
    """The types of Events."""

    NORMAL = "Normal"
    WARNING = "Warning"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EventReason:
    """A reason, with the type and the kind of object of its Events.

    Attributes:
        name: Short, unique and in UpperCamelCase, as the Kubernetes API asks for.
        regarding: The kind of the object that the Event is on.
        meaning: When the Event is recorded, and what its note contains.
    """

    name: str
    type: EventType
    regarding: Literal["Node", "Pod"]
    meaning: str


def _interruption(kind: EventKind, cause: str) -> EventReason:
    return EventReason(
        name="".join(word.capitalize() for word in kind.value.split("_")),
        type=EventType.NORMAL,
        regarding="Node",
        meaning=f"{cause}; the node has been cordoned. The note contains the action, its deadline"
        " and the id of the event.",
    )


INTERRUPTIONS: Mapping[EventKind, EventReason] = {
    kind: _interruption(kind, cause)
    for kind, cause in (
        (EventKind.SPOT_INTERRUPTION, "EC2 interrupts the Spot instance"),
        (
            EventKind.CAPACITY_RESERVATION_INTERRUPTION,
            "The capacity reservation or Capacity Block of the instance ends",
        ),
        (
            EventKind.REBALANCE_RECOMMENDATION,
            "The Spot instance is at elevated risk of interruption",
        ),
        (
            EventKind.AUTOSCALING_TERMINATION,
            "The Auto Scaling group terminates the instance and waits at a lifecycle hook",
        ),
        (EventKind.STATE_CHANGE, "The instance is stopping, shutting down, stopped or terminated"),
        (EventKind.SCHEDULED_CHANGE, "AWS Health announces maintenance of the instance"),
    )
}
"""By the kind of the event that cordons a node; a launch does not."""

DRAINED = EventReason(
    name="Drained",
    type=EventType.NORMAL,
    regarding="Node",
    meaning="The drain has ended, and all pods that it evicts are gone. The note has the number of"
    " pods, and the names of those that were deleted at the deadline.",
)
DRAIN_STOPPED = EventReason(
    name="DrainStopped",
    type=EventType.WARNING,
    regarding="Node",
    meaning="The drain has ended before all pods were gone: at its deadline, or because the event"
    " was cancelled. The note has the names of the remaining pods.",
)
OUT_OF_SERVICE = EventReason(
    name="OutOfService",
    type=EventType.WARNING,
    regarding="Node",
    meaning="The node is dead and has the taint `node.kubernetes.io/out-of-service`: the control"
    " plane deletes its pods and detaches their volumes. The note has the number of pods.",
)
UNCORDONED = EventReason(
    name="Uncordoned",
    type=EventType.NORMAL,
    regarding="Node",
    meaning="The event was cancelled, or the drain gave up at a soft deadline, and no other event"
    " applies to the node: the taint is removed, and the node is schedulable unless somebody else"
    " cordoned it.",
)
HOLDS_REBUILT = EventReason(
    name="HoldsRebuilt",
    type=EventType.WARNING,
    regarding="Node",
    meaning="Somebody changed the annotation `queue-processor/holds` so that some of it cannot be"
    " understood: it is written again from the rest, from taints and from the work in progress.",
)
MALFORMED_NOTICE = EventReason(
    name="MalformedNotice",
    type=EventType.WARNING,
    regarding="Node",
    meaning="An annotation `queue-processor/notice-…` cannot be understood, or is about another"
    " instance, and was removed. The note has the name of the annotation and the reason.",
)
EVICTION_BLOCKED = EventReason(
    name="EvictionBlocked",
    type=EventType.WARNING,
    regarding="Pod",
    meaning="More than one PodDisruptionBudget selects the pod, so the API server never evicts it."
    " The note is the answer of the API server.",
)
DELETED_AT_DEADLINE = EventReason(
    name="DeletedAtDeadline",
    type=EventType.WARNING,
    regarding="Pod",
    meaning="The eviction of the pod was not granted until shortly before the instance goes away,"
    " so the pod was deleted, with the rest of its grace period. The note is the last refusal.",
)

REASONS = (
    *INTERRUPTIONS.values(),
    DRAINED,
    DRAIN_STOPPED,
    OUT_OF_SERVICE,
    UNCORDONED,
    HOLDS_REBUILT,
    MALFORMED_NOTICE,
    EVICTION_BLOCKED,
    DELETED_AT_DEADLINE,
)
