"""A node as the index keeps it, and everything that we write on it."""

import dataclasses
import datetime as dt
import enum

from queue_processor.domain.events import EventKind
from queue_processor.domain.holds import Hold
from queue_processor.domain.identifiers import InstanceId, NodeName

# Drills leave a node with this label alone.
PROTECTED_LABEL = "queue-processor/protected"

EVENT_ID_ANNOTATION = "queue-processor/event-id"
KIND_ANNOTATION = "queue-processor/kind"
DEADLINE_ANNOTATION = "queue-processor/deadline"
HOLDS_ANNOTATION = "queue-processor/holds"
# Each says that what it names was not so before us.
CORDONED_ANNOTATION = "queue-processor/cordoned"
EXCLUDED_ANNOTATION = "queue-processor/excluded"
OUT_OF_SERVICE_ANNOTATION = "queue-processor/out-of-service"

# https://kubernetes.io/docs/reference/labels-annotations-taints/#node-kubernetes-io-exclude-from-external-load-balancers
EXCLUDE_FROM_LOAD_BALANCERS_LABEL = "node.kubernetes.io/exclude-from-external-load-balancers"

OUT_OF_SERVICE_TAINT = "node.kubernetes.io/out-of-service"
# The cloud provider's own statement that the instance does not run.
# https://github.com/kubernetes/cloud-provider/blob/master/api/well_known_taints.go
SHUTDOWN_TAINT = "node.cloudprovider.kubernetes.io/shutdown"
UNINITIALIZED_TAINT = "node.cloudprovider.kubernetes.io/uninitialized"


def taint_key(kind: EventKind) -> str:
    """Return the key of the taint on a node that such an event named."""
    return f"queue-processor/{kind.kebab}"


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


@dataclasses.dataclass(frozen=True, slots=True)
class WrittenNotice:
    """An annotation that a watcher wrote, not parsed yet."""

    annotation: str
    value: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    """The fields of a Node object that we need.

    Attributes:
        resource_version: The next write holds only for it: another writer makes it stale.
        last_heartbeat_at: When its kubelet last wrote its Ready condition, true or not.
        ready_since: When it became Ready; None while it is not.
        is_deleted: Its deletion has begun.
        is_excluded: It is excluded from external load balancers.
        taints: All of them: the API replaces the list as a whole.
        holds: What holds it, as we wrote it down.
        has_damaged_holds: Somebody else wrote there, and some of it cannot be understood.
        is_cordoned_by_us: It was schedulable before, as `is_excluded_by_us` and
            `is_out_of_service_by_us` mean that it was not excluded and not out of service.
        notices: What the watcher on the node wrote and nobody has settled.
    """

    name: NodeName
    uid: str
    resource_version: str
    instance_id: InstanceId
    is_ready: bool
    is_unschedulable: bool
    taints: tuple[Taint, ...]
    created_at: dt.datetime | None = None
    last_heartbeat_at: dt.datetime | None = None
    ready_since: dt.datetime | None = None
    is_deleted: bool = False
    is_excluded: bool = False
    holds: tuple[Hold, ...] = ()
    has_damaged_holds: bool = False
    is_cordoned_by_us: bool = False
    is_excluded_by_us: bool = False
    is_out_of_service_by_us: bool = False
    notices: tuple[WrittenNotice, ...] = ()

    @property
    def is_shut_down(self) -> bool:
        """True if the cloud provider states that the instance does not run."""
        return SHUTDOWN_TAINT in self.taint_keys

    @property
    def taint_keys(self) -> frozenset[str]:
        """The keys of all its taints."""
        return frozenset(taint.key for taint in self.taints)

    @property
    def is_out_of_service(self) -> bool:
        """True if the control plane may delete its pods by force and detach its volumes."""
        return OUT_OF_SERVICE_TAINT in self.taint_keys

    @property
    def last_sign_of_life_at(self) -> dt.datetime | None:
        """The last moment when its kubelet was certainly at work, as far as the Node shows."""
        signs = (self.created_at, self.last_heartbeat_at, self.ready_since)
        return max((sign for sign in signs if sign is not None), default=None)

    @property
    def kinds_on_taints(self) -> frozenset[EventKind]:
        """The kinds of the events whose taint is on the node."""
        return frozenset(kind for kind in EventKind if taint_key(kind) in self.taint_keys)

    @property
    def is_marked(self) -> bool:
        """True if anything on the node is ours."""
        return bool(
            self.holds
            or self.kinds_on_taints
            or self.has_damaged_holds
            or self.is_cordoned_by_us
            or self.is_excluded_by_us
            or self.is_out_of_service_by_us
        )

    def hold(self, hold_id: str) -> Hold | None:
        """Return the hold with this id, if the node has it."""
        return next((hold for hold in self.holds if hold.id == hold_id), None)


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


class MarkScope(enum.IntEnum):
    """The parts of a mark that a cluster allows, from all to none."""

    EVERYTHING = 0
    WITHOUT_TAINTS = 1
    CORDON_ALONE = 2
    NOTHING = 3


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The holds of a node, written down for people and for the next process.

    A mark without holds restores what was there before the first one.

    Attributes:
        ruling: The hold that people see: its event, its kind and its deadline.
        effect: Of the taints.
        scope: The parts of it that the cluster allows.
    """

    holds: tuple[Hold, ...]
    ruling: Hold | None
    effect: TaintEffect
    scope: MarkScope = MarkScope.EVERYTHING

    @property
    def kinds(self) -> tuple[EventKind, ...]:
        """The kinds whose taints the node carries."""
        has_taints = self.scope is MarkScope.EVERYTHING
        return tuple(dict.fromkeys(hold.kind for hold in self.holds)) if has_taints else ()

    def taints_on(self, node: NodeView) -> tuple[Taint, ...]:
        """Return all taints of the node with the mark: those that stay, then the new ones."""
        ours = {(taint_key(kind), self.effect) for kind in self.kinds}
        staying = tuple(taint for taint in node.taints if self._stays(taint, node, ours))
        present = {(taint.key, taint.effect) for taint in staying}
        added = (Taint(key=key, effect=effect) for key, effect in sorted(ours - present))
        return (*staying, *added)

    def _stays(self, taint: Taint, node: NodeView, ours: set[tuple[str, TaintEffect]]) -> bool:
        if taint.key in _TAINT_KEYS:
            return (taint.key, taint.effect) in ours
        if taint.key == OUT_OF_SERVICE_TAINT and node.is_out_of_service_by_us:
            # A node that is Ready again runs pods: with the taint they would be deleted by force.
            return bool(self.holds) and not node.is_ready
        return True

    def differs_from(self, node: NodeView) -> bool:
        """Return True if the node does not carry exactly this mark."""
        if not self.holds:
            return node.is_marked
        if self.scope >= MarkScope.CORDON_ALONE:
            return self.scope is MarkScope.CORDON_ALONE and not node.is_unschedulable
        return (
            not node.is_unschedulable
            or not node.is_excluded
            or node.has_damaged_holds
            or node.holds != self.holds
            or node.taints != self.taints_on(node)
        )


_TAINT_KEYS = frozenset(taint_key(kind) for kind in EventKind)
