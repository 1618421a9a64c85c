"""The reasons of the Kubernetes Events that the program records: all of them, and none elsewhere.

docs/events.md is made from this file.
"""

import dataclasses
import enum
from collections.abc import Mapping
from typing import Literal

from queue_processor.domain.events import EventKind


class EventType(enum.StrEnum):
    """The types of Events that the API has."""

    NORMAL = "Normal"
    WARNING = "Warning"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EventReason:
    """A reason, with the one type and the one kind of object that it is recorded with.

    Attributes:
        name: As Kubernetes wants it: short, unique, in UpperCamelCase.
        regarding: The kind of the object that the Event is about.
        meaning: When it is recorded, and what its note holds.
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
        meaning=f"{cause}; the node has been cordoned. The note holds the action, its deadline and"
        " the id of the event.",
    )


INTERRUPTIONS: Mapping[EventKind, EventReason] = {
    kind: _interruption(kind, cause)
    for kind, cause in (
        (EventKind.SPOT_INTERRUPTION, "AWS interrupts the Spot instance"),
        (
            EventKind.CAPACITY_RESERVATION_INTERRUPTION,
            "AWS takes back the capacity reservation that the instance runs in",
        ),
        (
            EventKind.REBALANCE_RECOMMENDATION,
            "AWS recommends to replace the Spot instance, which is at an elevated risk",
        ),
        (
            EventKind.AUTOSCALING_TERMINATION,
            "The instance's Auto Scaling group terminates it, and waits for us",
        ),
        (EventKind.STATE_CHANGE, "The instance stops or terminates, or has done so"),
        (EventKind.SCHEDULED_CHANGE, "AWS has scheduled a change of the instance"),
    )
}
"""By the kind of the event that marks a node; a launch marks none."""

DRAINED = EventReason(
    name="Drained",
    type=EventType.NORMAL,
    regarding="Node",
    meaning="The drain has ended, and no pod that had to go is left. The note counts the pods, and"
    " names those that were deleted at the deadline.",
)
DRAIN_STOPPED = EventReason(
    name="DrainStopped",
    type=EventType.WARNING,
    regarding="Node",
    meaning="The drain has ended before all pods were gone: at its deadline, or because the event"
    " was cancelled. The note names the pods that are left.",
)
OUT_OF_SERVICE = EventReason(
    name="OutOfService",
    type=EventType.WARNING,
    regarding="Node",
    meaning="The node is dead, and has got the taint `node.kubernetes.io/out-of-service`: the"
    " control plane deletes its pods and detaches their volumes. The note counts the pods.",
)
UNCORDONED = EventReason(
    name="Uncordoned",
    type=EventType.NORMAL,
    regarding="Node",
    meaning="The event has been cancelled, or a soft drain has given up, and no other event holds"
    " the node: our taints are off. The node is schedulable, unless somebody else cordoned it.",
)
EVICTION_BLOCKED = EventReason(
    name="EvictionBlocked",
    type=EventType.WARNING,
    regarding="Pod",
    meaning="The pod is covered by more than one PodDisruptionBudget, so that the API server never"
    " evicts it. The note is the API server's answer.",
)
DELETED_AT_DEADLINE = EventReason(
    name="DeletedAtDeadline",
    type=EventType.WARNING,
    regarding="Pod",
    meaning="The pod's eviction was refused until shortly before the instance goes, so it was"
    " deleted, with what was left of its grace period. The note holds the last refusal.",
)

REASONS = (
    *INTERRUPTIONS.values(),
    DRAINED,
    DRAIN_STOPPED,
    OUT_OF_SERVICE,
    UNCORDONED,
    EVICTION_BLOCKED,
    DELETED_AT_DEADLINE,
)
