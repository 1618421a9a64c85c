"""The pods that a drain evicts, their order and their grace periods."""

import dataclasses
import datetime as dt
import enum
from collections.abc import Iterable, Mapping

from queue_processor.domain.identifiers import NodeName

# https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination
DEFAULT_GRACE = dt.timedelta(seconds=30)
# The API allows 2^63-1 seconds, which no date can hold; "for ever" is as good as a year.
# https://github.com/kubernetes/kubernetes/issues/84298
LONGEST_GRACE = dt.timedelta(days=365)

_CRITICAL_CLASSES = frozenset({"system-cluster-critical", "system-node-critical"})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PodRef:
    """Names one pod, and not another of the same name that came after it."""

    namespace: str
    name: str
    uid: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PodView:
    """The fields of a Pod object that a drain needs.

    Attributes:
        grace: How long its containers may take to stop after SIGTERM.
        owner_kind: The kind of its controller, or None for a bare pod.
        is_terminating: Its deletion has begun.
        claims: The names of the volume claims that it uses, in its namespace.
    """

    ref: PodRef
    grace: dt.timedelta = DEFAULT_GRACE
    owner_kind: str | None = None
    priority_class: str = ""
    is_mirror: bool = False
    is_finished: bool = False
    is_terminating: bool = False
    claims: tuple[str, ...] = ()


class PodVerdict(enum.StrEnum):
    """The decision of a drain about a pod."""

    EVICT = "evict"
    SKIP_MIRROR = "skip: mirror of a static pod"
    SKIP_DAEMON_SET = "skip: its DaemonSet would put it back"
    SKIP_FINISHED = "skip: finished"

    @property
    def is_moved(self) -> bool:
        """True if the drain waits until the pod is gone."""
        return self is PodVerdict.EVICT

    @property
    def is_kept(self) -> bool:
        """True if the pod goes on running on the node."""
        return self in {PodVerdict.SKIP_MIRROR, PodVerdict.SKIP_DAEMON_SET}


class EvictionGroup(enum.IntEnum):
    """A group is evicted when the pods of the groups before it are gone."""

    ORDINARY = 0
    CRITICAL = 1
    OURSELVES = 2


# How much of a drain's time is kept for a group and those after it. The groups before it may take
# the rest; then its pods are evicted as well, whether the others are gone or not.
TIME_KEPT: Mapping[EvictionGroup, float] = {
    EvictionGroup.ORDINARY: 1.0,
    EvictionGroup.CRITICAL: 0.5,
    EvictionGroup.OURSELVES: 0.25,
}


def verdict_on(pod: PodView) -> PodVerdict:
    """Decide about a pod; one that fits no rule is evicted, never a reason to stop.

    The rules are those of `kubectl drain --ignore-daemonsets --delete-emptydir-data
    --force`: https://kubernetes.io/docs/tasks/administer-cluster/safely-drain-node/
    """
    if pod.is_mirror:
        return PodVerdict.SKIP_MIRROR
    if pod.is_finished:
        return PodVerdict.SKIP_FINISHED
    if pod.owner_kind == "DaemonSet":
        return PodVerdict.SKIP_DAEMON_SET
    return PodVerdict.EVICT


def slowest(several: Iterable[PodView]) -> PodView | None:
    """Return the pod with the longest grace period of those that a drain evicts."""
    moved = (pod for pod in several if verdict_on(pod).is_moved)
    return max(moved, key=lambda pod: pod.grace, default=None)


def grace_of(seconds: int | None) -> dt.timedelta:
    """Return the grace period that a Pod object sets, within what we can calculate with."""
    if seconds is None:
        return DEFAULT_GRACE
    return dt.timedelta(seconds=min(max(seconds, 0), LONGEST_GRACE.total_seconds()))


def group_of(pod: PodView, *, own_pod: tuple[str, str] | None) -> EvictionGroup:
    """Return the group that a pod is evicted with.

    Args:
        pod: The pod.
        own_pod: Namespace and name of the pod that this program runs in, if it does.
    """
    if own_pod == (pod.ref.namespace, pod.ref.name):
        return EvictionGroup.OURSELVES
    if pod.priority_class in _CRITICAL_CLASSES:
        return EvictionGroup.CRITICAL
    return EvictionGroup.ORDINARY


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PodList:
    """The pods of a node, and the version that a watch goes on from."""

    pods: tuple[PodView, ...]
    version: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PodChange:
    """A pod that came or changed (`is_gone` false), or went.

    Attributes:
        pod: None when nothing happened but the version.
        node_name: Where the pod runs; None without a pod.
        version: Where a watch that is lost goes on from.
    """

    pod: PodView | None
    node_name: NodeName | None = None
    version: str
    is_gone: bool = False


class EvictionAnswer(enum.StrEnum):
    """Answers of the API server to an eviction.

    https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/
    """

    ACCEPTED = "accepted"
    GONE = "gone"
    BLOCKED = "blocked by a disruption budget"
    BUSY = "the API server is busy"
    AMBIGUOUS = "more than one disruption budget"
    NAMESPACE_TERMINATING = "its namespace is terminating"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Eviction:
    """The answer to one eviction.

    Attributes:
        message: In the API server's own words.
        retry_after: The pause that the API server asks for, or None.
    """

    answer: EvictionAnswer
    message: str = ""
    retry_after: dt.timedelta | None = None
