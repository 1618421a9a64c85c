"""The kubelets: start pods, end them with SIGTERM and, after the grace period, with SIGKILL.

https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination
"""

import asyncio
import dataclasses
import datetime as dt
from collections.abc import Iterable

from queue_processor.simulator.kube import (
    clock,
    deletion,
    history,
    manifests,
    objects,
    resources,
    store,
)

ACTOR = store.Actor("kubelet", store.Cause.CONTROLLER)

# How often a kubelet reports a state that has not changed (nodeStatusReportFrequency).
# https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/
_REPORT_INTERVAL = dt.timedelta(minutes=5)
_REPORTED = frozenset({"Ready", "MemoryPressure", "DiskPressure", "PIDPressure"})


@dataclasses.dataclass(slots=True)
class _Shutdown:
    """A pod that is terminating; times are of the loop's clock."""

    grace: float
    began: float
    due: float
    timer: asyncio.Handle


class Kubelets:
    """One for every node, except where the kubelet is dead."""

    def __init__(
        self,
        objects_store: store.Store,
        deletions: deletion.Deletions,
        record: history.History,
        delays: clock.Delays,
    ) -> None:
        self._store = objects_store
        self._deletions = deletions
        self._history = record
        self._delays = delays
        self._dead: set[str] = set()
        self._starting: dict[str, asyncio.Handle] = {}
        self._shutdowns: dict[str, _Shutdown] = {}

    def is_dead(self, node: str) -> bool:
        """Return True if the kubelet of the node was killed."""
        return node in self._dead

    def kill(self, node: str) -> None:
        """Stop the kubelet for good: the state of its pods does not change any more."""
        self._dead.add(node)
        for pod in self._store.pods_on(node):
            self._forget(pod.uid)

    def start(self, node: str) -> None:
        """Start the kubelet of a node that registers; one that is back finds its pods."""
        self._dead.discard(node)
        for pod in self._store.pods_on(node):
            self._follow(pod)

    def on_change(self, change: store.Change) -> None:
        """Start a pod that was bound, stop a pod that was deleted; come alive with a new node."""
        if change.resource is resources.NODES and change.before is None:
            self._dead.discard(change.after.name)
        if change.resource is not resources.PODS:
            return
        pod = change.current
        if pod is None:
            self._forget(change.after.uid)
            return
        if pod.node_name and pod.node_name not in self._dead:
            self._follow(pod)

    def _follow(self, pod: objects.Stored) -> None:
        key, uid = pod.key, pod.uid
        if pod.is_terminating:
            grace = pod.metadata.get("deletionGracePeriodSeconds", 0)
            shutdown = self._shutdowns.get(uid)
            if shutdown is None or grace < shutdown.grace:
                clock.later(0, lambda: self._stop(key, uid))
        elif uid not in self._starting and pod.status.get("phase") == "Pending":
            delay = _seconds(pod, manifests.STARTUP_ANNOTATION, self._delays.startup_seconds)
            self._starting[uid] = clock.later(delay, lambda: self._start(key, uid))

    def report(self, nodes: Iterable[objects.Stored]) -> None:
        """Write the heartbeats that the living kubelets have sent by now.

        They are written when a node is read, so that an idle cluster has no timers.
        """
        now = self._store.now()
        latest = clock.stamp(now - _REPORT_INTERVAL)
        with self._store.acting(ACTOR):
            for node in tuple(nodes):
                ready = objects.condition(node.status.get("conditions"), "Ready") or {}
                reported = ready.get("lastHeartbeatTime")
                if reported and reported <= latest and not self.is_dead(node.name):
                    age = now - clock.parse_stamp(reported)
                    self._renew(node, clock.stamp(now - age % _REPORT_INTERVAL))

    def _renew(self, node: objects.Stored, heartbeat: str) -> None:
        conditions = [
            each | {"lastHeartbeatTime": heartbeat} if each.get("type") in _REPORTED else each
            for each in node.status["conditions"]
        ]
        self._store.update(node, node.body | {"status": node.status | {"conditions": conditions}})

    def _start(self, key: store.Key, uid: str) -> None:
        self._starting.pop(uid, None)
        pod = self._alive(key, uid)
        if pod is None or pod.is_terminating:
            return
        with self._store.acting(ACTOR):
            self._store.update(pod, manifests.running(pod.body, self._store.now()))

    def _stop(self, key: store.Key, uid: str) -> None:
        """Begin the shutdown of a pod, or hurry it when its grace period got shorter."""
        pod = self._alive(key, uid)
        if pod is None:
            return
        grace = float(pod.metadata.get("deletionGracePeriodSeconds", 0))
        now = asyncio.get_running_loop().time()
        current = self._shutdowns.get(uid)
        if current is None:
            began, due = now, now + min(grace, self._exit_seconds(pod))
        elif grace < current.grace:
            current.timer.cancel()
            began, due = current.began, min(current.due, now + grace)
        else:
            return
        timer = clock.later(max(due - now, 0), lambda: self._finish(key, uid))
        self._shutdowns[uid] = _Shutdown(grace, began, due, timer)
        if current is None:
            self._terminate(pod)

    def _exit_seconds(self, pod: objects.Stored) -> float:
        if pod.status.get("phase") != "Running":
            # Nothing runs yet, so nothing has to end.
            return 0.0
        return _seconds(pod, manifests.EXIT_ANNOTATION, self._delays.exit_seconds)

    def _terminate(self, pod: objects.Stored) -> None:
        if pod.status.get("phase") != "Running":
            return
        self._history.signalled(pod)
        with self._store.acting(ACTOR):
            body = manifests.unready(pod.body, self._store.now(), "PodTerminating")
            self._store.update(pod, body)

    def _finish(self, key: store.Key, uid: str) -> None:
        pod = self._alive(key, uid)
        shutdown = self._shutdowns.pop(uid, None)
        if pod is None or shutdown is None:
            return
        killed = shutdown.due < shutdown.began + self._exit_seconds(pod)
        self._history.ended(pod, killed=killed)
        with self._store.acting(ACTOR):
            phase = {"phase": "Failed" if killed else "Succeeded"}
            if pod.metadata.get("finalizers"):
                pod = self._store.update(pod, pod.body | {"status": pod.status | phase})
            self._deletions.force(pod)

    def _alive(self, key: store.Key, uid: str) -> objects.Stored | None:
        pod = self._store.get(resources.PODS, *key)
        if pod is None or pod.uid != uid or pod.node_name in self._dead:
            return None
        return pod

    def _forget(self, uid: str) -> None:
        starting = self._starting.pop(uid, None)
        if starting is not None:
            starting.cancel()
        shutdown = self._shutdowns.pop(uid, None)
        if shutdown is not None:
            shutdown.timer.cancel()


def _seconds(pod: objects.Stored, annotation: str, default: float) -> float:
    return float(pod.annotations.get(annotation, default))
