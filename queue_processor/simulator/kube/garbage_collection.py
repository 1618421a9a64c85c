"""Garbage collection: of orphaned pods, of namespaces that terminate, of volume attachments."""

import hashlib
from collections.abc import Callable, Collection

from queue_processor.simulator.kube import (
    clock,
    deletion,
    node_lifecycle,
    objects,
    resources,
    store,
)

ACTOR = store.Actor("pod-garbage-collector", store.Cause.CONTROLLER)
_NAMESPACES = store.Actor("namespace-controller", store.Cause.CONTROLLER)
_ATTACHER = store.Actor("attachdetach-controller", store.Cause.CONTROLLER)
_ATTACHER_NAME = "ebs.csi.aws.com"


def _is_out_of_service(node: objects.Stored) -> bool:
    taints = node.spec.get("taints") or ()
    return not objects.is_ready(node) and any(
        taint.get("key") == node_lifecycle.OUT_OF_SERVICE for taint in taints
    )


class PodGarbageCollector:
    """Removes pods that have no kubelet to remove them.

    https://kubernetes.io/docs/concepts/cluster-administration/node-shutdown/#non-graceful-node-shutdown
    """

    def __init__(
        self,
        objects_store: store.Store,
        deletions: deletion.Deletions,
        delays: clock.Delays,
    ) -> None:
        self._store = objects_store
        self._deletions = deletions
        self._delays = delays
        self._queue: clock.WorkQueue[str] = clock.WorkQueue(self._collect_terminating)

    def on_change(self, change: store.Change) -> None:
        """Enqueue nodes that are gone or out of service, also when a pod terminates there."""
        if change.resource is resources.NODES:
            name = change.after.name
            if change.current is None:
                self._collect_orphans_later(name)
            elif _is_out_of_service(change.after):
                self._queue.add(name)
        elif change.resource is resources.PODS and change.current is not None:
            name = change.after.node_name
            node = self._store.node(name) if name else None
            if node is not None and change.after.is_terminating and _is_out_of_service(node):
                self._queue.add(name)
            elif name and node is None and change.before is None:
                self._collect_orphans_later(name)

    def _collect_orphans_later(self, node: str) -> None:
        clock.later(self._delays.orphan_seconds, lambda: self._collect_orphans(node))

    def _collect_orphans(self, node: str) -> None:
        if self._store.node(node) is None:
            self._remove(list(self._store.pods_on(node)))

    def _collect_terminating(self, names: Collection[str]) -> None:
        for name in names:
            node = self._store.node(name)
            if node is not None and _is_out_of_service(node):
                self._remove([pod for pod in self._store.pods_on(name) if pod.is_terminating])

    def _remove(self, pods: list[objects.Stored]) -> None:
        with self._store.acting(ACTOR):
            for pod in pods:
                if not objects.is_finished(pod):
                    failed = pod.body | {"status": pod.status | {"phase": "Failed"}}
                    self._deletions.force(self._store.update(pod, failed))
                else:
                    self._deletions.force(pod)


class NamespaceController:
    """Deletes the objects of terminating namespaces, then the namespaces."""

    def __init__(self, objects_store: store.Store, deletions: deletion.Deletions) -> None:
        self._store = objects_store
        self._deletions = deletions
        self._queue: clock.WorkQueue[str] = clock.WorkQueue(self._sync_all)

    def on_change(self, change: store.Change) -> None:
        """Enqueue a terminating namespace when it, or an object in it, changes."""
        name = change.after.namespace or change.after.name
        if change.resource.namespaced or change.resource is resources.NAMESPACES:
            namespace = self._store.get(resources.NAMESPACES, "", name)
            if namespace is not None and namespace.is_terminating:
                self._queue.add(name)

    def _sync_all(self, names: Collection[str]) -> None:
        with self._store.acting(_NAMESPACES):
            for name in names:
                self._sync(name)

    def _sync(self, name: str) -> None:
        left = 0
        for resource in resources.ALL:
            if not resource.namespaced:
                continue
            for stored in self._store.ordered(resource, name):
                result = self._deletions.delete(stored, deletion.DeleteOptions())
                left += not result.is_gone
        namespace = self._store.get(resources.NAMESPACES, "", name)
        if namespace is not None and not left:
            self._store.remove(namespace)


class AttachDetachController:
    """Attaches the volumes of pods to their nodes, and detaches them after the last pod.

    Claims are bound to volumes by name: ``pvc-<namespace>-<claim>``.
    https://kubernetes.io/docs/reference/kubernetes-api/config-and-storage-resources/volume-attachment-v1/
    """

    def __init__(self, objects_store: store.Store, delays: clock.Delays) -> None:
        self._store = objects_store
        self._delays = delays

    def on_change(self, change: store.Change) -> None:
        """Attach the volumes of a pod that is bound, detach those of a pod that is gone."""
        if change.resource is not resources.PODS or "volumes" not in change.after.spec:
            return
        pod = change.after
        volumes = volumes_of(pod)
        if not volumes or not pod.node_name:
            return
        node, before = pod.node_name, change.before
        if before is None:
            clock.later(0, lambda: self._provision(pod))
        if change.current is None:
            for volume in volumes:
                self._later(self._detach_delay(node), self._detach, volume, node)
        elif before is None or before.node_name != node:
            for volume in volumes:
                self._later(0, self._attach, volume, node)

    def _later(
        self, seconds: float, action: Callable[[str, str], None], volume: str, node: str
    ) -> None:
        clock.later(seconds, lambda: action(volume, node))

    def _detach_delay(self, name: str) -> float:
        node = self._store.node(name)
        if node is None or objects.is_ready(node) or _is_out_of_service(node):
            return self._delays.detach_seconds
        return self._delays.unsafe_detach_seconds

    def _is_used(self, volume: str, node: str) -> bool:
        return any(volume in volumes_of(pod) for pod in self._store.pods_on(node))

    def _provision(self, pod: objects.Stored) -> None:
        """Create the missing claims of a pod, bound to their volumes."""
        for claim in claims_of(pod):
            if self._store.get(resources.CLAIMS, pod.namespace, claim) is None:
                volume = volume_name(pod.namespace, claim)
                spec, status = {"volumeName": volume}, {"phase": "Bound"}
                body: objects.JsonObject = {"metadata": {}, "spec": spec, "status": status}
                self._store.create(resources.CLAIMS, (pod.namespace, claim), body)

    def _attach(self, volume: str, node: str) -> None:
        name = attachment_name(volume, node)
        present = self._store.get(resources.ATTACHMENTS, "", name)
        if present is None and self._is_used(volume, node):
            with self._store.acting(_ATTACHER):
                body = attachment(volume, node)
                self._store.create(resources.ATTACHMENTS, ("", name), body)

    def _detach(self, volume: str, node: str) -> None:
        present = self._store.get(resources.ATTACHMENTS, "", attachment_name(volume, node))
        if present is not None and not self._is_used(volume, node):
            with self._store.acting(_ATTACHER):
                self._store.remove(present)


def claims_of(pod: objects.Stored) -> list[str]:
    """Return the names of the volume claims of a pod."""
    return [
        volume["persistentVolumeClaim"]["claimName"]
        for volume in pod.spec.get("volumes") or ()
        if "persistentVolumeClaim" in volume
    ]


def volume_name(namespace: str, claim: str) -> str:
    """Return the name of the persistent volume that a claim is bound to."""
    return f"pvc-{namespace}-{claim}"


def volumes_of(pod: objects.Stored) -> list[str]:
    """Return the names of the persistent volumes of a pod."""
    return [volume_name(pod.namespace, claim) for claim in claims_of(pod)]


def attachment_name(volume: str, node: str) -> str:
    """Return the name of the VolumeAttachment of a volume on a node."""
    return "csi-" + hashlib.sha256(f"{volume}{_ATTACHER_NAME}{node}".encode()).hexdigest()


def attachment(volume: str, node: str) -> objects.JsonObject:
    """Build a VolumeAttachment that is attached."""
    source = {"persistentVolumeName": volume}
    return {
        "metadata": {},
        "spec": {"attacher": _ATTACHER_NAME, "nodeName": node, "source": source},
        "status": {"attached": True},
    }
