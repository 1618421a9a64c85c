"""The scheduler: binds waiting pods to nodes that take them, the least loaded first.

https://kubernetes.io/docs/concepts/scheduling-eviction/kube-scheduler/
"""

import heapq
from collections.abc import Collection

from queue_processor.simulator.kube import clock, manifests, objects, resources, store

ACTOR = store.Actor("kube-scheduler", store.Cause.CONTROLLER)
_NAME = "default-scheduler"
_BLOCKING = frozenset({"NoSchedule", "NoExecute"})


class Scheduler:
    """Binds pods whenever a pod waits and a change may have made room.

    The heap holds (pods, node) for nodes; an entry whose count is outdated is dropped when it
    comes up, so a change of one node costs one push.
    """

    def __init__(self, objects_store: store.Store) -> None:
        self._store = objects_store
        self._queue: clock.WorkQueue[None] = clock.WorkQueue(self._run)
        self._waiting: dict[store.Key, None] = {}
        self._heap: list[tuple[int, str]] = []

    def on_change(self, change: store.Change) -> None:
        """Remember which pods wait, and which nodes have room."""
        if change.resource is resources.NODES:
            if change.current is not None and _schedulability_differs(change):
                self._offer(change.after.name)
        elif change.resource is resources.PODS:
            self._on_pod(change)

    def _on_pod(self, change: store.Change) -> None:
        pod = change.current
        if pod is not None and _is_ours(pod) and not pod.node_name and objects.is_active(pod):
            if change.kind is store.ChangeKind.ADDED:
                self._waiting[pod.key] = None
                self._queue.add(None)
            return
        self._waiting.pop(change.after.key, None)
        node = change.after.node_name
        was_there = change.before is not None and change.before.node_name == node
        if node and (pod is None or not was_there):
            self._offer(node)

    def _offer(self, node: str) -> None:
        heapq.heappush(self._heap, (len(self._store.pods_on(node)), node))
        if self._waiting:
            self._queue.add(None)

    def _run(self, _: Collection[None]) -> None:
        unschedulable: set[str] = set()
        with self._store.acting(ACTOR):
            for key in list(self._waiting):
                pod = self._store.get(resources.PODS, *key)
                if pod is None or pod.node_name:
                    self._waiting.pop(key, None)
                    continue
                # What had no place for one pod has none for another with the same needs.
                needs = repr((pod.spec.get("tolerations"), pod.spec.get("nodeSelector")))
                node = None if needs in unschedulable else self._choose(pod)
                if node is None:
                    unschedulable.add(needs)
                else:
                    self._store.update(pod, manifests.bound(pod.body, node, self._store.now()))

    def _choose(self, pod: objects.Stored) -> str | None:
        passed_over: list[tuple[int, str]] = []
        target = None
        while self._heap and target is None:
            count, name = heapq.heappop(self._heap)
            node = self._store.node(name)
            if node is None or count != len(self._store.pods_on(name)) or not _is_open(node):
                # Outdated, or closed: the node is offered again when it opens.
                continue
            if passed_over and passed_over[-1] == (count, name):
                continue
            if count < _capacity(node) and _fits(node, pod):
                target = name
            passed_over.append((count, name))
        for entry in passed_over:
            heapq.heappush(self._heap, entry)
        return target


def _schedulability_differs(change: store.Change) -> bool:
    before, after = change.before, change.after
    return (
        before is None
        or before.spec != after.spec
        or before.labels != after.labels
        or objects.is_ready(before) is not objects.is_ready(after)
        or _capacity(before) != _capacity(after)
    )


def _is_ours(pod: objects.Stored) -> bool:
    return bool(pod.spec.get("schedulerName", _NAME) == _NAME)


def _is_open(node: objects.Stored) -> bool:
    return not node.spec.get("unschedulable") and objects.is_ready(node) and not node.is_terminating


def _capacity(node: objects.Stored) -> int:
    return int((node.status.get("allocatable") or {}).get("pods", 110))


def _fits(node: objects.Stored, pod: objects.Stored) -> bool:
    selector = pod.spec.get("nodeSelector") or {}
    if any(node.labels.get(key) != value for key, value in selector.items()):
        return False
    return all(
        taint.get("effect") not in _BLOCKING or objects.tolerates(pod, taint) is not None
        for taint in node.spec.get("taints") or ()
    )
