"""What happened in the cluster: for the checks of end states and for the demo's table.

Times are readings of the clock that also stamps the objects.
"""

import collections
import dataclasses
import datetime as dt
import enum
from collections.abc import Mapping, Sequence
from typing import Any

from queue_processor.simulator.kube import objects, resources, store


class PodTermination(enum.Enum):
    """How a pod ended."""

    EXITED = "exited"  # by itself, within its grace
    KILLED = "killed"  # by SIGKILL, at the end of its grace
    REMOVED = "removed"  # the object was removed without the kubelet seeing the end


@dataclasses.dataclass(frozen=True, slots=True)
class PodRecord:
    """The life of one pod; ``None`` where it has not come to that (yet).

    ``removal_cause`` and ``removal_by`` tell which kind of request asked for its end first, and
    the user agent (or controller) behind it; ``grace_seconds`` is the grace that counted at last.
    """

    namespace: str
    name: str
    uid: str
    owner_uid: str
    created: dt.datetime
    node: str = ""
    bound: dt.datetime | None = None
    ready: dt.datetime | None = None
    removal_requested: dt.datetime | None = None
    removal_cause: store.Cause | None = None
    removal_by: str = ""
    grace_seconds: int | None = None
    signalled: dt.datetime | None = None
    removed: dt.datetime | None = None
    termination: PodTermination | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class CordonRecord:
    """When a node was first made unschedulable, and by which user agent."""

    node: str
    at: dt.datetime
    by: str


@dataclasses.dataclass(frozen=True, slots=True)
class LowPoint:
    """The fewest ready pods seen: against what is wanted, and when."""

    namespace: str
    name: str
    count: int
    wanted: int
    at: dt.datetime


@dataclasses.dataclass(frozen=True, slots=True)
class Breach:
    """A pod was lost while its budget needed it.

    ``healthy`` (after the loss) is below ``desired``. ``cause`` and ``by`` tell which kind of
    request took the pod, and who sent it.
    """

    namespace: str
    budget: str
    pod: str
    at: dt.datetime
    healthy: int
    desired: int
    cause: store.Cause
    by: str


@dataclasses.dataclass(frozen=True, slots=True)
class EvictionRecord:
    """One request to evict: what the answer's code was."""

    at: dt.datetime
    by: str
    namespace: str
    pod: str
    code: int

    @property
    def is_granted(self) -> bool:
        """Whether the pod was evicted."""
        return self.code == 201  # noqa: PLR2004 - the HTTP status Created


@dataclasses.dataclass(frozen=True, slots=True)
class RequestKind:
    """A kind of request: ``get``, ``list``, ``watch``, ``create``, ``patch`` … of a resource.

    A subresource follows its resource after a slash: ``pods/eviction``.
    """

    verb: str
    resource: str
    user_agent: str


class History:
    """Records what it sees; everything that is read from it is a value."""

    def __init__(self, objects_store: store.Store) -> None:
        self._store = objects_store
        self._pods: dict[str, PodRecord] = {}
        self._cordons: dict[str, CordonRecord] = {}
        self._ready_counts: collections.Counter[str] = collections.Counter()
        self._full: set[str] = set()
        self._replica_lows: dict[str, LowPoint] = {}
        self._budget_lows: dict[store.Key, LowPoint] = {}
        self._breaches: list[Breach] = []
        self._evictions: list[EvictionRecord] = []
        self._requests: collections.Counter[RequestKind] = collections.Counter()

    # Reading

    @property
    def pods(self) -> Sequence[PodRecord]:
        """Every pod that ever was, in the order of creation."""
        return tuple(self._pods.values())

    def pod(self, uid: str) -> PodRecord:
        """The record of one pod; KeyError when it never was."""
        return self._pods[uid]

    @property
    def cordons(self) -> Mapping[str, CordonRecord]:
        """The first cordon of each node, by node name."""
        return dict(self._cordons)

    @property
    def replica_lows(self) -> Sequence[LowPoint]:
        """For each ReplicaSet that was complete once: the fewest ready pods since then."""
        return tuple(self._replica_lows.values())

    @property
    def budget_lows(self) -> Sequence[LowPoint]:
        """For each budget: the status with the least room between healthy and desired."""
        return tuple(self._budget_lows.values())

    @property
    def breaches(self) -> Sequence[Breach]:
        """Every loss of a pod that a budget needed, whatever took it."""
        return tuple(self._breaches)

    @property
    def budget_violations(self) -> Sequence[Breach]:
        """The losses by granted evictions: with a right API server there are none."""
        return tuple(loss for loss in self._breaches if loss.cause is store.Cause.EVICTION)

    @property
    def budget_overrides(self) -> Sequence[Breach]:
        """The losses by plain DELETE: somebody decided not to wait for the budget."""
        return tuple(loss for loss in self._breaches if loss.cause is store.Cause.DELETE)

    @property
    def evictions(self) -> Sequence[EvictionRecord]:
        """Every request to evict, in order."""
        return tuple(self._evictions)

    @property
    def writers(self) -> Mapping[str, Sequence[dt.datetime]]:
        """When each user agent had an eviction granted."""
        found: dict[str, list[dt.datetime]] = {}
        for record in self._evictions:
            if record.is_granted:
                found.setdefault(record.by, []).append(record.at)
        return found

    @property
    def requests(self) -> Mapping[RequestKind, int]:
        """How many requests of each kind came."""
        return dict(self._requests)

    def count_requests(self, verb: str = "", resource: str = "", user_agent: str = "") -> int:
        """How many requests came; an empty argument stands for all."""
        return sum(
            count
            for kind, count in self._requests.items()
            if verb in ("", kind.verb)
            and resource in ("", kind.resource)
            and user_agent in ("", kind.user_agent)
        )

    # Writing

    def requested(self, kind: RequestKind) -> None:
        """Count a request."""
        self._requests[kind] += 1

    def eviction_answered(self, by: str, key: store.Key, code: int) -> None:
        """Record the answer to a request to evict."""
        self._evictions.append(EvictionRecord(self._store.now(), by, key[0], key[1], code))

    def signalled(self, pod: objects.Stored) -> None:
        """Record that the pod got SIGTERM."""
        self._note(pod.uid, {"signalled": self._store.now()})

    def ended(self, pod: objects.Stored, *, killed: bool) -> None:
        """Record how the containers of the pod ended."""
        self._note(
            pod.uid, {"termination": PodTermination.KILLED if killed else PodTermination.EXITED}
        )

    def breached(
        self, budget: objects.Stored, change: store.Change, healthy: int, desired: int
    ) -> None:
        """Record that a change took a pod that the budget needed."""
        self._breaches.append(
            Breach(
                namespace=budget.namespace,
                budget=budget.name,
                pod=change.after.name,
                at=self._store.now(),
                healthy=healthy,
                desired=desired,
                cause=change.actor.cause,
                by=change.actor.name,
            )
        )

    def on_change(self, change: store.Change) -> None:
        """Record what a change tells."""
        if change.resource is resources.PODS:
            self._on_pod(change)
        elif change.resource is resources.NODES:
            self._on_node(change)
        elif change.resource is resources.BUDGETS and change.current is not None:
            self._on_budget(change.after)

    def _note(self, uid: str, facts: dict[str, Any]) -> None:
        # A new record each time: what a reader holds stays as it was.
        self._pods[uid] = dataclasses.replace(self._pods[uid], **facts)

    def _on_pod(self, change: store.Change) -> None:
        pod, before, now = change.after, change.before, self._store.now()
        facts: dict[str, Any] = {}
        if before is None:
            self._pods[pod.uid] = PodRecord(
                pod.namespace, pod.name, pod.uid, pod.controller_uid, now
            )
        record = self._pods[pod.uid]
        if pod.node_name and record.bound is None:
            facts |= {"node": pod.node_name, "bound": now}
        if record.ready is None and objects.is_ready(pod):
            facts["ready"] = now
        gone = change.current is None
        if (pod.is_terminating or gone) and record.removal_requested is None:
            facts |= {
                "removal_requested": now,
                "removal_cause": change.actor.cause,
                "removal_by": change.actor.name,
            }
        grace = pod.metadata.get("deletionGracePeriodSeconds")
        if grace is not None and grace != record.grace_seconds and not gone:
            facts["grace_seconds"] = grace
        if gone:
            facts |= {"removed": now, "termination": record.termination or PodTermination.REMOVED}
        if facts:
            self._note(pod.uid, facts)
        self._count_ready(change, now)

    def _count_ready(self, change: store.Change, now: dt.datetime) -> None:
        owner = change.after.controller_uid
        was, is_now = objects.is_healthy(change.before), objects.is_healthy(change.current)
        if not owner or was is is_now:
            return
        self._ready_counts[owner] += 1 if is_now else -1
        count = self._ready_counts[owner]
        found = next(
            (
                reference["name"]
                for reference in change.after.metadata["ownerReferences"]
                if reference["uid"] == owner and reference["kind"] == "ReplicaSet"
            ),
            "",
        )
        replica_set = self._store.get(resources.REPLICA_SETS, change.after.namespace, found)
        if replica_set is None:
            return
        wanted = int(replica_set.spec.get("replicas", 1))
        if count >= wanted:
            self._full.add(owner)
        known = self._replica_lows.get(owner)
        if owner in self._full and (known is None or count < known.count):
            low = LowPoint(replica_set.namespace, replica_set.name, count, wanted, now)
            self._replica_lows[owner] = low

    def _on_node(self, change: store.Change) -> None:
        name = change.after.name
        if change.after.spec.get("unschedulable") and name not in self._cordons:
            self._cordons[name] = CordonRecord(name, self._store.now(), change.actor.name)

    def _on_budget(self, budget: objects.Stored) -> None:
        status = budget.status
        if "currentHealthy" not in status:
            return
        healthy, desired = status["currentHealthy"], status["desiredHealthy"]
        known = self._budget_lows.get(budget.key)
        if known is None or healthy - desired < known.count - known.wanted:
            self._budget_lows[budget.key] = LowPoint(
                budget.namespace, budget.name, healthy, desired, self._store.now()
            )
