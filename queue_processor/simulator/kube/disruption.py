"""The disruption controller: keeps the status of disruption budgets up to date.

https://kubernetes.io/docs/tasks/run-application/configure-pdb/
"""

import contextlib
import datetime as dt
import math
from collections.abc import Collection, Iterable, Iterator

from queue_processor.simulator.kube import (
    clock,
    history,
    manifests,
    objects,
    pdb_index,
    resources,
    store,
)

ACTOR = store.Actor("disruption-controller", store.Cause.CONTROLLER)
# How long a granted eviction counts as a disruption although the pod is not deleted yet.
_DELETION_TIMEOUT = dt.timedelta(minutes=2)
_SCALABLE = (resources.REPLICA_SETS,)


class UnknownScaleError(Exception):
    """A budget needs the scale of the pods' controllers, and one of them has no scale."""


class DisruptionController:
    """Recomputes a budget ``budget_lag_seconds`` after one of its pods changed."""

    def __init__(
        self,
        objects_store: store.Store,
        record: history.History,
        delays: clock.Delays,
    ) -> None:
        self._store = objects_store
        self._history = record
        self._queue: clock.WorkQueue[store.Key] = clock.WorkQueue(
            self._sync_all, delays.budget_lag_seconds
        )
        self._is_paused = False
        self._postponed: dict[store.Key, None] = {}
        self.pdb_index = pdb_index.PdbIndex(objects_store)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Pause the controller; afterwards it catches up."""
        self._is_paused = True
        try:
            yield
        finally:
            self._is_paused = False
            postponed, self._postponed = self._postponed, {}
            self._enqueue(postponed)

    def on_change(self, change: store.Change) -> None:
        """Enqueue the budgets that the change concerns."""
        if change.resource is resources.PODS:
            self._on_pod(change)
        elif change.resource is resources.BUDGETS:
            self._on_budget(change)
        elif change.resource in _SCALABLE:
            for pod in self._store.pods_of(change.after.uid):
                self._enqueue(self.pdb_index.budgets_of(pod.key))

    def _enqueue(self, budgets: Iterable[store.Key]) -> None:
        for budget in budgets:
            self._queue.add(budget)

    def _on_budget(self, change: store.Change) -> None:
        self.pdb_index.follow_budget(change)
        budget, before = change.current, change.before
        if budget is None:
            return
        if before is None or before.spec != budget.spec or change.actor.name != ACTOR.name:
            self._enqueue([budget.key])

    def _on_pod(self, change: store.Change) -> None:
        key = change.after.key
        left = self.pdb_index.budgets_of(key) if change.before is not None else ()
        self.pdb_index.follow_pod(change)
        joined = self.pdb_index.budgets_of(key)
        was, is_now = objects.is_healthy(change.before), objects.is_healthy(change.current)
        if was and not is_now:
            self._record_breaches(left, change)
        if was is not is_now or change.kind is not store.ChangeKind.MODIFIED or left != joined:
            self._enqueue([*left, *joined])

    def _record_breaches(self, budgets: Iterable[store.Key], change: store.Change) -> None:
        for key in budgets:
            budget = self._store.get(resources.BUDGETS, *key)
            if budget is None:
                continue
            pods = self.pdb_index.pods_of(key)
            healthy = sum(1 for pod in pods if objects.is_healthy(pod))
            if healthy < budget.status.get("desiredHealthy", 0):
                is_race = _allowed(budget, change, pods)
                self._history.breached(budget, change, healthy=healthy, is_race=is_race)

    def _sync_all(self, keys: Collection[store.Key]) -> None:
        if self._is_paused:
            self._postponed |= dict.fromkeys(keys)
            return
        with self._store.acting(ACTOR):
            for key in keys:
                budget = self._store.get(resources.BUDGETS, *key)
                if budget is not None:
                    self._sync(budget)

    def _sync(self, budget: objects.Stored) -> None:
        pods = self.pdb_index.pods_of(budget.key)
        try:
            expected, desired = self._expectations(budget, pods)
        except UnknownScaleError as error:
            self._fail(budget, str(error))
            return
        now = self._store.now()
        disrupted = self._disrupted(budget, pods, now)
        healthy = sum(1 for pod in pods if objects.is_healthy(pod) and pod.name not in disrupted)
        allowed = max(healthy - desired, 0) if expected > 0 else 0
        status = {
            "currentHealthy": healthy,
            "desiredHealthy": desired,
            "disruptionsAllowed": allowed,
            "expectedPods": expected,
            "observedGeneration": budget.metadata.get("generation", 0),
            "conditions": budget.status.get("conditions") or [],
        }
        if disrupted:
            status["disruptedPods"] = disrupted
        condition = manifests.budget_condition(budget, allowed, now)
        status = objects.with_conditions(status, condition)
        self._store.update(budget, budget.body | {"status": status})

    def _fail(self, budget: objects.Stored, message: str) -> None:
        condition = manifests.budget_condition(budget, 0, self._store.now())
        condition |= {"reason": "SyncFailed", "message": message}
        status = objects.with_conditions(budget.status | {"disruptionsAllowed": 0}, condition)
        self._store.update(budget, budget.body | {"status": status})

    def _disrupted(
        self, budget: objects.Stored, pods: Iterable[objects.Stored], now: dt.datetime
    ) -> dict[str, str]:
        granted = budget.status.get("disruptedPods") or {}
        if not granted:
            return {}
        names = {pod.name for pod in pods if not pod.is_terminating}
        left = {
            name: moment
            for name, moment in granted.items()
            if name in names and clock.parse_stamp(moment) + _DELETION_TIMEOUT >= now
        }
        if left:
            key = budget.key
            wait = _DELETION_TIMEOUT.total_seconds() + 1
            clock.later(wait, lambda: self._enqueue([key]))
        return left

    def _expectations(self, budget: objects.Stored, pods: list[objects.Stored]) -> tuple[int, int]:
        """Return how many pods are expected, and how many of them have to be healthy."""
        least, most = budget.spec.get("minAvailable"), budget.spec.get("maxUnavailable")
        if most is not None:
            scale = self._scale(pods)
            return scale, max(scale - scaled(most, scale), 0)
        if isinstance(least, str):
            scale = self._scale(pods)
            return scale, scaled(least, scale)
        return len(pods), int(least or 0)

    def _scale(self, pods: list[objects.Stored]) -> int:
        controllers = {
            (pod.controller_uid, owner["kind"], owner["name"], pod.namespace, pod.name)
            for pod in pods
            for owner in pod.metadata.get("ownerReferences") or ()
            if owner.get("controller")
        }
        scales: dict[str, int] = {}
        for uid, kind, name, namespace, pod_name in sorted(controllers):
            if uid in scales:
                continue
            owner = (
                self._store.get(resources.REPLICA_SETS, namespace, name)
                if kind == resources.REPLICA_SETS.kind
                else None
            )
            if owner is None or owner.uid != uid:
                raise UnknownScaleError(_why_no_scale(kind, pod_name))
            scales[uid] = int(owner.spec.get("replicas", 1))
        return sum(scales.values())


def _allowed(budget: objects.Stored, change: store.Change, pods: list[objects.Stored]) -> bool:
    """Return True for an eviction that a budget allowed, by what its status counted then."""
    status = budget.status
    granted = status.get("disruptedPods") or {}
    staying = {pod.name for pod in pods if not pod.is_terminating}
    counted = status["currentHealthy"] - sum(name not in staying for name in granted)
    is_charged = change.actor.cause is store.Cause.EVICTION and change.after.name in granted
    return is_charged and bool(counted >= status["desiredHealthy"])


def _why_no_scale(kind: str, pod_name: str) -> str:
    for resource in resources.ALL:
        if resource.kind == kind and resource not in _SCALABLE:
            return f"{resource.qualified} does not implement the scale subresource"
    return f'found no controllers for pod "{pod_name}"'


def scaled(value: int | str, total: int) -> int:
    """Return an amount, or a percentage of the total rounded up."""
    if isinstance(value, str):
        return math.ceil(int(value.rstrip("%")) * total / 100)
    return int(value)
