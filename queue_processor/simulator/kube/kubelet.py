"""The kubelets: start pods, end them with SIGTERM and, after their grace, with SIGKILL.

https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination
"""

import asyncio
import dataclasses

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


@dataclasses.dataclass(slots=True)
class _Ending:
    """A pod on its way out; times are of the loop's clock."""

    grace: float
    began: float
    due: float
    timer: clock.Timer


class Kubelets:
    """One for every node, except where the kubelet is dead."""

    def __init__(
        self,
        objects_store: store.Store,
        timers: clock.Timers,
        deletions: deletion.Deletions,
        record: history.History,
        delays: clock.Delays,
    ) -> None:
        self._store = objects_store
        self._timers = timers
        self._deletions = deletions
        self._history = record
        self._delays = delays
        self._dead: set[str] = set()
        self._starting: dict[str, clock.Timer] = {}
        self._ending: dict[str, _Ending] = {}

    def is_dead(self, node: str) -> bool:
        """Whether the kubelet of the node was killed."""
        return node in self._dead

    def kill(self, node: str) -> None:
        """Stop the kubelet: what runs on the node is not seen any more."""
        self._dead.add(node)
        for pod in self._store.pods_on(node):
            self._forget(pod.uid)

    def revive(self, node: str) -> None:
        """Start the kubelet again; it takes up what happened meanwhile."""
        self._dead.discard(node)
        for pod in list(self._store.pods_on(node)):
            self._consider(pod)

    def on_change(self, change: store.Change) -> None:
        """Start what was bound, end what was deleted."""
        if change.resource is resources.PODS:
            if change.current is None:
                self._forget(change.after.uid)
            else:
                self._consider(change.after)

    def _consider(self, pod: objects.Stored) -> None:
        if not pod.node_name or pod.node_name in self._dead:
            return
        if pod.is_terminating:
            grace = pod.metadata.get("deletionGracePeriodSeconds", 0)
            ending = self._ending.get(pod.uid)
            if ending is None or grace < ending.grace:
                key, uid = pod.key, pod.uid
                self._timers.later(0, lambda: self._end(key, uid))
        elif pod.uid not in self._starting and pod.status.get("phase") == "Pending":
            key, uid = pod.key, pod.uid
            delay = _seconds(pod, manifests.STARTUP_ANNOTATION, self._delays.startup_seconds)
            self._starting[uid] = self._timers.later(delay, lambda: self._start(key, uid))

    def _start(self, key: store.Key, uid: str) -> None:
        self._starting.pop(uid, None)
        pod = self._alive(key, uid)
        if pod is None or pod.is_terminating:
            return
        with self._store.acting(ACTOR):
            self._store.update(pod, manifests.running(pod.body, self._store.now()))

    def _end(self, key: store.Key, uid: str) -> None:
        pod = self._alive(key, uid)
        if pod is None:
            return
        grace = float(pod.metadata.get("deletionGracePeriodSeconds", 0))
        now = asyncio.get_running_loop().time()
        known = self._ending.get(uid)
        if known is None:
            began, due = now, now + min(grace, self._exit_seconds(pod))
        elif grace < known.grace:
            known.timer.cancel()
            began, due = known.began, min(known.due, now + grace)
        else:
            return
        timer = self._timers.later(max(due - now, 0), lambda: self._finish(key, uid))
        self._ending[uid] = _Ending(grace, began, due, timer)
        if known is None:
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
        ending = self._ending.pop(uid, None)
        if pod is None or ending is None:
            return
        killed = ending.due < ending.began + self._exit_seconds(pod)
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
        ending = self._ending.pop(uid, None)
        if ending is not None:
            ending.timer.cancel()


def _seconds(pod: objects.Stored, annotation: str, default: float) -> float:
    return float(pod.annotations.get(annotation, default))
