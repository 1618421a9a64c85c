"""The ReplicaSet controller: keeps as many pods as the spec requires."""

from collections.abc import Collection

from queue_processor.simulator.kube import clock, deletion, manifests, objects, resources, store

ACTOR = store.Actor("replicaset-controller", store.Cause.CONTROLLER)


class ReplicaSetController:
    """Creates and deletes pods of ReplicaSets and keeps their status."""

    def __init__(
        self,
        objects_store: store.Store,
        deletions: deletion.Deletions,
        names: manifests.NameGenerator,
    ) -> None:
        self._store = objects_store
        self._deletions = deletions
        self._names = names
        self._queue: clock.WorkQueue[str] = clock.WorkQueue(self._sync_all)
        self._by_uid: dict[str, store.Key] = {}

    def on_change(self, change: store.Change) -> None:
        """Enqueue the ReplicaSet that the change concerns."""
        if change.resource is resources.REPLICA_SETS:
            self._by_uid[change.after.uid] = change.after.key
            self._queue.add(change.after.uid)
        elif change.resource is resources.PODS and change.after.controller_uid in self._by_uid:
            self._queue.add(change.after.controller_uid)

    def _sync_all(self, uids: Collection[str]) -> None:
        with self._store.acting(ACTOR):
            for uid in uids:
                owner = self._store.get(resources.REPLICA_SETS, *self._by_uid[uid])
                if owner is not None and owner.uid == uid and not owner.is_terminating:
                    self._sync(owner)

    def _sync(self, owner: objects.Stored) -> None:
        active = self._active_pods(owner)
        desired = int(owner.spec.get("replicas", 1))
        if len(active) < desired and self._may_create(owner.namespace):
            for _ in range(desired - len(active)):
                create_replica(self._store, self._names, owner)
        # The least useful go first: unbound before bound, unready before ready.
        active.sort(key=lambda pod: (bool(pod.node_name), objects.is_ready(pod)))
        for pod in active[: max(len(active) - desired, 0)]:
            self._deletions.delete(pod, deletion.DeleteOptions())
        self._write_status(owner)

    def _active_pods(self, owner: objects.Stored) -> list[objects.Stored]:
        return [pod for pod in self._store.pods_of(owner.uid) if objects.is_active(pod)]

    def _may_create(self, name: str) -> bool:
        namespace = self._store.get(resources.NAMESPACES, "", name)
        return namespace is not None and not namespace.is_terminating

    def _write_status(self, owner: objects.Stored) -> None:
        active = self._active_pods(owner)
        ready = sum(1 for pod in active if objects.is_ready(pod))
        counts = {
            "replicas": len(active),
            "fullyLabeledReplicas": len(active),
            "readyReplicas": ready,
            "availableReplicas": ready,
        }
        status = {name: count for name, count in counts.items() if count or name == "replicas"}
        status["observedGeneration"] = owner.metadata.get("generation", 1)
        self._store.update(owner, owner.body | {"status": status})


def create_replica(
    objects_store: store.Store,
    names: manifests.NameGenerator,
    owner: objects.Stored,
    node: str = "",
) -> objects.Stored:
    """Create one pod from the owner's template; with a node it runs there and is Ready at once."""
    template = owner.spec["template"]
    prefix = f"{owner.name}-"
    metadata = template["metadata"] | {
        "generateName": prefix,
        "ownerReferences": [manifests.owner(owner)],
    }
    body = manifests.with_pod_defaults({"metadata": metadata, "spec": template["spec"]})
    if node:
        now = objects_store.now()
        body = manifests.running(manifests.bound(body, node, now), now)
    name = prefix + names.suffix()
    return objects_store.create(resources.PODS, (owner.namespace, name), body)
