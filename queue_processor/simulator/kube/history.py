"""A record of what happened in the cluster, for checks of end states and for the demo's table.

Times are of the clock that also stamps the objects.
"""

import collections
import dataclasses
import datetime as dt
import enum
from collections.abc import Mapping, Sequence
from typing import Any

from queue_processor.simulator.kube import objects, resources, store


class PodTermination(enum.Enum):
    """The ways in which a pod ends."""

    EXITED = "exited"  # by itself, within its grace period
    KILLED = "killed"  # by SIGKILL, at the end of its grace period
    REMOVED = "removed"  # the object was removed without the kubelet seeing the end


@dataclasses.dataclass(frozen=True, slots=True)
class PodRecord:
    """The life of one pod; ``None`` for what has not happened.

    ``removal_cause`` and ``removal_by`` are the kind of the first request that removed the pod,
    and its user agent (or controller); ``grace_seconds`` is the last grace period.
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
    """The first time that a node was made unschedulable, and the user agent that did it."""

    node: str
    at: dt.datetime
    by: str


@dataclasses.dataclass(frozen=True, slots=True)
class LowPoint:
    """The fewest ready pods of a ReplicaSet, and when."""

    namespace: str
    name: str
    count: int
    desired: int
    at: dt.datetime


@dataclasses.dataclass(frozen=True, slots=True)
class Breach:
    """The loss of a pod that its budget needed.

    ``healthy`` (after the loss) is below ``desired``. ``cause`` and ``by`` are the kind of request
    that removed the pod, and its user agent.

    ``is_race`` is true for an eviction that the status of the budget allowed, because it lagged
    behind losses by others. The real API server grants it, too: it looks at nothing else.
    https://github.com/kubernetes/kubernetes/blob/master/pkg/registry/core/pod/storage/eviction.go
    """

    namespace: str
    budget: str
    pod: str
    at: dt.datetime
    healthy: int
    desired: int
    cause: store.Cause
    by: str
    is_race: bool = False

    @property
    def is_violation(self) -> bool:
        """Return True for a granted eviction that the API server should have refused."""
        return self.cause is store.Cause.EVICTION and not self.is_race


@dataclasses.dataclass(frozen=True, slots=True)
class EvictionRecord:
    """One eviction request and the code of its response."""

    at: dt.datetime
    by: str
    namespace: str
    pod: str
    code: int

    @property
    def is_granted(self) -> bool:
        """Return True if the pod was evicted."""
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
    """Records changes and requests; everything that is read from it is a value."""

    def __init__(self, objects_store: store.Store) -> None:
        self._store = objects_store
        self._pods: dict[str, PodRecord] = {}
        self._cordons: dict[str, CordonRecord] = {}
        self._ready_counts: collections.Counter[str] = collections.Counter()
        self._full: set[str] = set()
        self._replica_lows: dict[str, LowPoint] = {}
        self._breaches: list[Breach] = []
        self._evictions: list[EvictionRecord] = []
        self._requests: collections.Counter[RequestKind] = collections.Counter()

    # Reading

    @property
    def pods(self) -> Sequence[PodRecord]:
        """Return every pod that ever existed, in the order of creation."""
        return tuple(self._pods.values())

    def pod(self, uid: str) -> PodRecord:
        """Return the record of a pod that exists or existed."""
        return self._pods[uid]

    @property
    def cordons(self) -> Mapping[str, CordonRecord]:
        """Return the first cordon of each node, by node name."""
        return dict(self._cordons)

    @property
    def replica_lows(self) -> Sequence[LowPoint]:
        """Return the fewest ready pods of each ReplicaSet since it was complete first."""
        return tuple(self._replica_lows.values())

    @property
    def breaches(self) -> Sequence[Breach]:
        """Return every loss of a pod that a budget needed, whatever removed it."""
        return tuple(self._breaches)

    @property
    def budget_violations(self) -> Sequence[Breach]:
        """Return the losses by evictions that a correct API server does not grant."""
        return tuple(loss for loss in self._breaches if loss.is_violation)

    @property
    def budget_races(self) -> Sequence[Breach]:
        """Return the losses by evictions that the status of the budget still allowed."""
        return tuple(loss for loss in self._breaches if loss.is_race)

    @property
    def budget_overrides(self) -> Sequence[Breach]:
        """Return the losses by plain DELETE, which does not ask the budget."""
        return tuple(loss for loss in self._breaches if loss.cause is store.Cause.DELETE)

    @property
    def evictions(self) -> Sequence[EvictionRecord]:
        """Return every eviction request, in order."""
        return tuple(self._evictions)

    @property
    def writers(self) -> Mapping[str, Sequence[dt.datetime]]:
        """Return the times of the granted evictions, by user agent."""
        times: dict[str, list[dt.datetime]] = {}
        for record in self._evictions:
            if record.is_granted:
                times.setdefault(record.by, []).append(record.at)
        return times

    @property
    def requests(self) -> Mapping[RequestKind, int]:
        """Return the number of requests of each kind."""
        return dict(self._requests)

    def count_requests(self, verb: str = "", resource: str = "", user_agent: str = "") -> int:
        """Count requests; an empty argument matches all."""
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
        """Record the response to an eviction request."""
        self._evictions.append(EvictionRecord(self._store.now(), by, key[0], key[1], code))

    def signalled(self, pod: objects.Stored) -> None:
        """Record that the pod got SIGTERM."""
        self._record(pod.uid, {"signalled": self._store.now()})

    def ended(self, pod: objects.Stored, *, killed: bool) -> None:
        """Record how the containers of the pod ended."""
        self._record(
            pod.uid, {"termination": PodTermination.KILLED if killed else PodTermination.EXITED}
        )

    def breached(
        self, budget: objects.Stored, change: store.Change, *, healthy: int, is_race: bool
    ) -> None:
        """Record that a change removed a pod that the budget needed."""
        self._breaches.append(
            Breach(
                namespace=budget.namespace,
                budget=budget.name,
                pod=change.after.name,
                at=self._store.now(),
                healthy=healthy,
                desired=budget.status["desiredHealthy"],
                cause=change.actor.cause,
                by=change.actor.name,
                is_race=is_race,
            )
        )

    def on_change(self, change: store.Change) -> None:
        """Record a change."""
        if change.resource is resources.PODS:
            self._on_pod(change)
        elif change.resource is resources.NODES:
            self._on_node(change)

    def _record(self, uid: str, facts: dict[str, Any]) -> None:
        # A new record each time: the records that readers have do not change.
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
            self._record(pod.uid, facts)
        self._count_ready(change, now)

    def _count_ready(self, change: store.Change, now: dt.datetime) -> None:
        owner = change.after.controller_uid
        was, is_now = objects.is_healthy(change.before), objects.is_healthy(change.current)
        if not owner or was is is_now:
            return
        self._ready_counts[owner] += 1 if is_now else -1
        count = self._ready_counts[owner]
        name = next(
            (
                reference["name"]
                for reference in change.after.metadata["ownerReferences"]
                if reference["uid"] == owner and reference["kind"] == "ReplicaSet"
            ),
            "",
        )
        replica_set = self._store.get(resources.REPLICA_SETS, change.after.namespace, name)
        if replica_set is None:
            return
        desired = int(replica_set.spec.get("replicas", 1))
        if count >= desired:
            self._full.add(owner)
        lowest = self._replica_lows.get(owner)
        if owner in self._full and (lowest is None or count < lowest.count):
            low = LowPoint(replica_set.namespace, replica_set.name, count, desired, now)
            self._replica_lows[owner] = low

    def _on_node(self, change: store.Change) -> None:
        name = change.after.name
        if change.after.spec.get("unschedulable") and name not in self._cordons:
            self._cordons[name] = CordonRecord(name, self._store.now(), change.actor.name)
