"""The node lifecycle and taint eviction controllers: node taints, pod readiness, evictions.

https://kubernetes.io/docs/concepts/architecture/nodes/#node-controller
"""

import asyncio
from collections.abc import Collection

from queue_processor.simulator.kube import (
    clock,
    deletion,
    kubelet,
    manifests,
    objects,
    resources,
    store,
)

ACTOR = store.Actor("node-controller", store.Cause.CONTROLLER)
EVICTOR = store.Actor("taint-eviction-controller", store.Cause.CONTROLLER)

UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
_OWN_KEYS = frozenset({UNSCHEDULABLE, NOT_READY, UNREACHABLE})


class NodeLifecycleController:
    """Taints nodes by their conditions, and marks the pods of nodes that are not Ready."""

    def __init__(self, objects_store: store.Store, kubelets: kubelet.Kubelets) -> None:
        self._store = objects_store
        self._kubelets = kubelets
        self._queue: clock.WorkQueue[str] = clock.WorkQueue(self._sync_all)

    def on_change(self, change: store.Change) -> None:
        """Enqueue a node that changed."""
        if change.resource is resources.NODES and change.current is not None:
            self._queue.add(change.after.name)

    def _sync_all(self, names: Collection[str]) -> None:
        with self._store.acting(ACTOR):
            for name in names:
                node = self._store.node(name)
                if node is not None:
                    self._sync_taints(node)
                    self._sync_pods(node)

    def _sync_taints(self, node: objects.Stored) -> None:
        desired = set(_taints_for(node))
        taints = list(node.spec.get("taints") or ())
        present = {(taint["key"], taint["effect"]) for taint in taints if taint["key"] in _OWN_KEYS}
        if desired == present:
            return
        moment = clock.stamp(self._store.now())
        kept = [
            taint
            for taint in taints
            if taint["key"] not in _OWN_KEYS or (taint["key"], taint["effect"]) in desired
        ]
        added = [
            {"key": key, "effect": effect, "timeAdded": moment}
            for key, effect in sorted(desired - present)
        ]
        spec = {name: value for name, value in node.spec.items() if name != "taints"}
        if kept or added:
            spec["taints"] = kept + added
        self._store.update(node, node.body | {"spec": spec})

    def _sync_pods(self, node: objects.Stored) -> None:
        ready = objects.is_ready(node)
        if ready and self._kubelets.is_dead(node.name):
            return
        now = self._store.now()
        for pod in list(self._store.pods_on(node.name)):
            if pod.status.get("phase") != "Running" or pod.is_terminating:
                continue
            if not ready and objects.is_ready(pod):
                self._store.update(pod, manifests.unready(pod.body, now, "NodeNotReady"))
            elif ready and _was_lost(pod):
                self._store.update(pod, manifests.running(pod.body, now))


def _was_lost(pod: objects.Stored) -> bool:
    ready = objects.condition(pod.status.get("conditions"), "Ready") or {}
    return ready.get("status") == "False" and ready.get("reason") == "NodeNotReady"


def _taints_for(node: objects.Stored) -> list[tuple[str, str]]:
    ready = objects.condition(node.status.get("conditions"), "Ready") or {}
    taints = []
    if node.spec.get("unschedulable"):
        taints.append((UNSCHEDULABLE, "NoSchedule"))
    if ready.get("status") == "False":
        taints += [(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")]
    elif ready.get("status") == "Unknown":
        taints += [(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")]
    return taints


class TaintEvictionController:
    """Deletes pods that do not tolerate a NoExecute taint of their node (any more).

    https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/#taint-based-evictions
    """

    def __init__(self, objects_store: store.Store, deletions: deletion.Deletions) -> None:
        self._store = objects_store
        self._deletions = deletions
        self._tainted: set[str] = set()
        self._pending: dict[str, asyncio.Handle] = {}

    def on_change(self, change: store.Change) -> None:
        """Schedule evictions for a node whose taints changed, and for a pod on a tainted node."""
        if change.resource is resources.NODES:
            self._on_node(change)
        elif change.resource is resources.PODS:
            pod = change.current
            if pod is None or pod.is_terminating:
                self._cancel(change.after.uid)
            elif pod.node_name in self._tainted and pod.uid not in self._pending:
                self._schedule(pod)

    def _on_node(self, change: store.Change) -> None:
        name = change.after.name
        taints = _no_execute_taints(change.current)
        if taints == _no_execute_taints(change.before):
            return
        if taints:
            self._tainted.add(name)
        else:
            self._tainted.discard(name)
        for pod in self._store.pods_on(name):
            self._cancel(pod.uid)
            self._schedule(pod)

    def _schedule(self, pod: objects.Stored) -> None:
        delay = _allowed_seconds(pod, _no_execute_taints(self._store.node(pod.node_name)))
        if delay is None or pod.is_terminating:
            return
        key, uid = pod.key, pod.uid
        self._pending[uid] = clock.later(delay, lambda: self._evict(key, uid))

    def _evict(self, key: store.Key, uid: str) -> None:
        self._pending.pop(uid, None)
        pod = self._store.get(resources.PODS, *key)
        if pod is None or pod.uid != uid or pod.is_terminating:
            return
        condition = manifests.condition(
            "DisruptionTarget",
            "True",
            self._store.now(),
            reason="DeletionByTaintManager",
            message="Taint manager: deleting due to NoExecute taint",
        )
        with self._store.acting(EVICTOR):
            status = objects.with_conditions(pod.status, condition)
            pod = self._store.update(pod, pod.body | {"status": status})
            self._deletions.delete(pod, deletion.DeleteOptions())

    def _cancel(self, uid: str) -> None:
        timer = self._pending.pop(uid, None)
        if timer is not None:
            timer.cancel()


def _no_execute_taints(node: objects.Stored | None) -> list[objects.JsonObject]:
    taints = (node.spec.get("taints") or ()) if node is not None else ()
    return [taint for taint in taints if taint.get("effect") == "NoExecute"]


def _allowed_seconds(pod: objects.Stored, taints: list[objects.JsonObject]) -> float | None:
    """Return how long the pod may stay; ``None`` for ever."""
    limits: list[float] = []
    for taint in taints:
        toleration = objects.tolerates(pod, taint)
        if toleration is None:
            return 0.0
        seconds = toleration.get("tolerationSeconds")
        if seconds is not None:
            limits.append(max(float(seconds), 0.0))
    return min(limits) if limits else None
