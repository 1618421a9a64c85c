"""A node as the index keeps it, and everything that we write on it."""

import dataclasses
import datetime as dt
import enum
from collections.abc import Mapping

from queue_processor.domain.events import EventKind
from queue_processor.domain.identifiers import InstanceId, NodeName

EVENT_ID_ANNOTATION = "queue-processor/event-id"
KIND_ANNOTATION = "queue-processor/kind"
DEADLINE_ANNOTATION = "queue-processor/deadline"
CORDONED_ANNOTATION = "queue-processor/cordoned"

# https://kubernetes.io/docs/reference/labels-annotations-taints/#node-kubernetes-io-exclude-from-external-load-balancers
EXCLUDE_FROM_LOAD_BALANCERS_LABEL = "node.kubernetes.io/exclude-from-external-load-balancers"

OUT_OF_SERVICE_TAINT = "node.kubernetes.io/out-of-service"
# The cloud provider's own statement that the instance does not run.
# https://github.com/kubernetes/cloud-provider/blob/master/api/well_known_taints.go
SHUTDOWN_TAINT = "node.cloudprovider.kubernetes.io/shutdown"
UNINITIALIZED_TAINT = "node.cloudprovider.kubernetes.io/uninitialized"


def taint_key(kind: EventKind) -> str:
    """Return the key of the taint on a node that such an event named."""
    return f"queue-processor/{kind.value.replace('_', '-')}"


# https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/
class TaintEffect(enum.StrEnum):
    """The effects of a taint."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class DrainProgress(enum.Enum):
    """The progress of a drain; the value is the reason of the node's drain conditions."""

    IN_PROGRESS = "InProgress"
    DRAINED = "Drained"
    STOPPED = "Stopped"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Taint:
    """A taint of a node, as the API has it.

    Attributes:
        added_at: When a NoExecute taint was put on, in the API's own format.
    """

    key: str
    effect: str
    value: str | None = None
    added_at: str | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    """The fields of a Node object that we need.

    Attributes:
        resource_version: The next write holds only for it: another writer makes it stale.
        taints: All of them: the API replaces the list as a whole.
        annotations: Only those that are ours.
        last_heartbeat_at: When its kubelet last reported, whatever it reported.
        ready_since: Since when it is Ready; None while it is not.
        is_deleted: Its deletion has been requested.
    """

    name: NodeName
    uid: str
    resource_version: str
    instance_id: InstanceId
    is_ready: bool
    is_unschedulable: bool
    taints: tuple[Taint, ...]
    annotations: Mapping[str, str]
    created_at: dt.datetime | None = None
    last_heartbeat_at: dt.datetime | None = None
    ready_since: dt.datetime | None = None
    is_deleted: bool = False

    @property
    def is_shut_down(self) -> bool:
        """True if the cloud provider states that the instance does not run."""
        return SHUTDOWN_TAINT in self.taint_keys

    @property
    def taint_keys(self) -> frozenset[str]:
        """The keys of all its taints."""
        return frozenset(taint.key for taint in self.taints)

    def tainted_with(self, taint: Taint) -> tuple[Taint, ...]:
        """Its taints together with one more, which replaces its like."""
        others = (
            each for each in self.taints if (each.key, each.effect) != (taint.key, taint.effect)
        )
        return (*others, taint)

    @property
    def was_cordoned_by_us(self) -> bool:
        """True if the node was schedulable before we cordoned it."""
        return CORDONED_ANNOTATION in self.annotations

    @property
    def holding_kinds(self) -> frozenset[EventKind]:
        """The kinds of the events whose taint is on the node, or whose mark has none."""
        by_taint = frozenset(kind for kind in EventKind if taint_key(kind) in self.taint_keys)
        if by_taint:
            return by_taint
        annotated = self.annotations.get(KIND_ANNOTATION)
        return frozenset(kind for kind in EventKind if kind.value == annotated)

    def marked_deadline(self, event_id: str) -> dt.datetime | None:
        """Return the deadline that an earlier process wrote for this very event, if one did."""
        if self.annotations.get(EVENT_ID_ANNOTATION) != event_id:
            return None
        try:
            marked = dt.datetime.fromisoformat(self.annotations.get(DEADLINE_ANNOTATION, ""))
        except ValueError:
            return None
        # People can write annotations too; ours has an offset.
        return None if marked.tzinfo is None else marked


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class UnmappedNode:
    """A Node that may run on any EC2 instance: nothing on it names one that we can read.

    Attributes:
        cause: Why, for people; None while the cloud provider has not initialized the node.
    """

    name: NodeName
    uid: str
    resource_version: str
    cause: str | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The taint and annotations of a cordoned node, for people and the next process.

    Attributes:
        taint: The kind of the event that is being marked; taints of other kinds stay.
        event_id: Of the event whose deadline rules, as are `kind` and `deadline_at`.
        has_taint: False where the cluster does not allow our taint.
    """

    taint: EventKind
    event_id: str
    kind: EventKind
    deadline_at: dt.datetime
    effect: TaintEffect
    has_taint: bool = True

    def adds_to(self, node: NodeView) -> bool:
        """Return True if the node does not carry all this already."""
        marked = node.marked_deadline(self.event_id)
        return (
            not node.is_unschedulable
            or (self.has_taint and taint_key(self.taint) not in node.taint_keys)
            or marked is None
            or marked > self.deadline_at
        )
