"""A whole cluster: the store, its controllers, and methods that seed and change it."""

import dataclasses
import datetime as dt
from collections.abc import Callable, Mapping, Sequence

from queue_processor.simulator.kube import (
    clock,
    deletion,
    disruption,
    garbage_collection,
    history,
    kubelet,
    listing,
    manifests,
    node_lifecycle,
    objects,
    replicasets,
    resources,
    scheduler,
    statuses,
    store,
    watches,
)

_CLOUD = store.Actor("cloud-node-lifecycle-controller", store.Cause.CONTROLLER)


class SimulatedCluster:
    """A cluster on the running event loop.

    ``now`` stamps objects and history: real UTC by default, ``clock.LoopClock`` for virtual time.
    """

    def __init__(
        self,
        delays: clock.Delays | None = None,
        now: Callable[[], dt.datetime] = clock.utc_now,
    ) -> None:
        delays = delays or clock.Delays()
        self.names = manifests.NameGenerator()
        self.store = store.Store(now)
        self.history = history.History(self.store)
        self.deletions = deletion.Deletions(self.store)
        self.listing = listing.Listing(self.store)
        self.kubelets = kubelet.Kubelets(self.store, self.deletions, self.history, delays)
        self.disruption = disruption.DisruptionController(self.store, self.history, delays)
        # The order of the observers is the order in which they see a change.
        for observer in (
            self.history,
            replicasets.ReplicaSetController(self.store, self.deletions, self.names),
            scheduler.Scheduler(self.store),
            self.kubelets,
            self.disruption,
            node_lifecycle.NodeLifecycleController(self.store, self.kubelets),
            node_lifecycle.TaintEvictionController(self.store, self.deletions),
            garbage_collection.PodGarbageCollector(self.store, self.deletions, delays),
            garbage_collection.NamespaceController(self.store, self.deletions),
            garbage_collection.AttachDetachController(self.store, delays),
        ):
            self.store.observe(observer.on_change)
        self.hub = watches.Hub(self.store)
        for namespace in ("default", "kube-system"):
            self.add_namespace(namespace)

    # Watching and history

    def subscribe(self, callback: Callable[[store.Change], None]) -> Callable[[], None]:
        """Call back on every change, at once; return what ends it. It must not write."""
        return self.store.observe(callback)

    def compact(self) -> None:
        """Forget all history: older watches and paged lists get 410 Expired."""
        self.store.compact()

    def drop_watches(self) -> None:
        """End every open watch."""
        self.hub.drop_all()

    def fail_watches(self, plural: str, error: statuses.ApiError) -> None:
        """End the open watches of a resource with an error in their streams."""
        self.hub.fail(plural, error)

    # Nodes

    def add_node(
        self,
        name: str,
        *,
        instance_id: str,
        zone: str = "us-east-1a",
        labels: Mapping[str, str] | None = None,
        ready: bool = True,
        max_pods: int = 110,
    ) -> objects.Stored:
        """Add a node with ``providerID`` ``aws:///{zone}/{instance_id}``."""
        all_labels = {
            "kubernetes.io/arch": "amd64",
            "kubernetes.io/hostname": name,
            "kubernetes.io/os": "linux",
            "node.kubernetes.io/instance-type": "m7i.large",
            "topology.kubernetes.io/region": zone[:-1],
            "topology.kubernetes.io/zone": zone,
        } | dict(labels or {})
        provider_id = f"aws:///{zone}/{instance_id}"
        now = self.store.now()
        body = manifests.node(provider_id, all_labels, now, max_pods=max_pods)
        if not ready:
            # Part of the creation: no watch may ever see the node Ready.
            not_ready = manifests.node_ready("False", now)
            body["status"] = objects.with_conditions(body["status"], not_ready)
        self.kubelets.start(name)
        return self.store.create(resources.NODES, ("", name), body)

    def remove_node(self, name: str) -> None:
        """Remove the Node, as the cloud controller does when the instance is gone.

        Its kubelet ends with it; its pods are removed ``orphan_seconds`` later.
        """
        self.kubelets.kill(name)
        with self.store.acting(_CLOUD):
            self.deletions.delete(self._node(name), deletion.DeleteOptions())

    def set_ready(self, name: str, *, ready: bool) -> objects.Stored:
        """Set the node's condition Ready, as its kubelet does."""
        return self._set_ready(name, "True" if ready else "False")

    def kill_kubelet(self, name: str) -> None:
        """Kill the kubelet: Ready becomes Unknown, pods there stay Terminating for ever."""
        self.kubelets.kill(name)
        self._set_ready(name, "Unknown")

    def _set_ready(self, name: str, status: str) -> objects.Stored:
        node = self._node(name)
        condition = manifests.node_ready(status, self.store.now())
        if status == "Unknown":
            # The control plane writes this, because the kubelet has stopped reporting.
            before = objects.condition(node.status.get("conditions"), "Ready") or {}
            condition["lastHeartbeatTime"] = before.get("lastHeartbeatTime")
        with self.store.acting(kubelet.ACTOR):
            changed = objects.with_conditions(node.status, condition)
            return self.store.update(node, node.body | {"status": changed})

    def _node(self, name: str) -> objects.Stored:
        node = self.store.node(name)
        if node is None:
            raise LookupError(f"no node {name!r}")
        return node

    # Namespaces

    def add_namespace(self, name: str) -> objects.Stored:
        """Add a namespace."""
        body: objects.JsonObject = {
            "metadata": {"labels": {"kubernetes.io/metadata.name": name}},
            "spec": {"finalizers": ["kubernetes"]},
            "status": {"phase": "Active"},
        }
        return self.store.create(resources.NAMESPACES, ("", name), body)

    def terminate_namespace(self, name: str) -> None:
        """Delete a namespace: its pods end gracefully, creates and evictions in it get 403."""
        namespace = self.store.get(resources.NAMESPACES, "", name)
        if namespace is None:
            raise LookupError(f"no namespace {name!r}")
        self.deletions.delete(namespace, deletion.DeleteOptions())

    # Workloads

    def add_replica_set(  # noqa: PLR0913 - independent facts, nearly all optional
        self,
        name: str,
        *,
        replicas: int,
        labels: Mapping[str, str],
        namespace: str = "default",
        grace_seconds: int = 30,
        exit_seconds: float | None = None,
        startup_seconds: float | None = None,
        volumes: Sequence[str] = (),
        nodes: Sequence[str] | None = None,
        pod: manifests.PodSpec | None = None,
    ) -> objects.Stored:
        """Add a ReplicaSet.

        With ``nodes`` its pods run there, in turn, and are Ready at once; without, the
        controllers create and place them. ``volumes`` are claims that all its pods share. ``pod``
        is the template as a whole, instead of the arguments that describe the pods.
        """
        spec = pod or manifests.PodSpec(
            labels=labels,
            grace_seconds=grace_seconds,
            exit_seconds=exit_seconds,
            startup_seconds=startup_seconds,
            volumes=volumes,
        )
        body: objects.JsonObject = {
            "metadata": {"labels": dict(labels)},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": dict(labels)},
                "template": dataclasses.replace(spec, labels=labels).template(),
            },
        }
        owner = self.store.create(resources.REPLICA_SETS, (namespace, name), body)
        for index in range(replicas if nodes else 0):
            node = (nodes or ())[index % len(nodes or ())]
            replicasets.create_replica(self.store, self.names, owner, node)
        return owner

    def add_daemon_set(
        self,
        name: str,
        *,
        labels: Mapping[str, str],
        nodes: Sequence[str],
        namespace: str = "kube-system",
    ) -> objects.Stored:
        """Add a DaemonSet with a running pod on each of the nodes; nothing replaces them."""
        spec = manifests.PodSpec(labels=labels, tolerations=[{"operator": "Exists"}])
        body: objects.JsonObject = {
            "metadata": {"labels": dict(labels)},
            "spec": {"selector": {"matchLabels": dict(labels)}, "template": spec.template()},
            "status": {"desiredNumberScheduled": len(nodes)},
        }
        owner = self.store.create(resources.DAEMON_SETS, (namespace, name), body)
        for node in nodes:
            pod_name = f"{name}-{self.names.suffix()}"
            self.add_pod(pod_name, namespace=namespace, node=node, spec=spec, owner=owner)
        return owner

    def add_pod(  # noqa: PLR0913 - independent facts, nearly all optional
        self,
        name: str,
        *,
        namespace: str = "default",
        node: str = "",
        spec: manifests.PodSpec | None = None,
        owner: objects.Stored | None = None,
        phase: str = "Running",
        ready: bool = True,
        mirror: bool = False,
    ) -> objects.Stored:
        """Add one pod, bare or with an owner that controls it.

        With a node the pod is in this phase there: ``Running`` (and Ready, or not), ``Pending``
        (the kubelet will start it), ``Succeeded`` or ``Failed``. Without, it waits for the
        scheduler. ``mirror`` makes it the mirror of a static pod.
        """
        body = (spec or manifests.PodSpec()).template()
        metadata = body["metadata"]
        if mirror:
            mark = {manifests.MIRROR_ANNOTATION: name}
            metadata["annotations"] = metadata.get("annotations", {}) | mark
        if owner is not None:
            metadata["ownerReferences"] = [manifests.owner(owner)]
        body = manifests.with_pod_defaults(body)
        now = self.store.now()
        if node:
            body = manifests.bound(body, node, now)
        if node and phase != "Pending":
            body = manifests.running(body, now)
            if phase != "Running":
                body = manifests.unready(body, now, "PodCompleted")
            elif not ready:
                body = manifests.unready(body, now, "ContainersNotReady")
            body["status"]["phase"] = phase
        return self.store.create(resources.PODS, (namespace, name), body)

    def add_budget(
        self,
        name: str,
        *,
        match_labels: Mapping[str, str],
        namespace: str = "default",
        min_available: int | str | None = None,
        max_unavailable: int | str | None = None,
    ) -> objects.Stored:
        """Add a PodDisruptionBudget; amounts are numbers or percentages like ``"50%"``."""
        spec: objects.JsonObject = {"selector": {"matchLabels": dict(match_labels)}}
        if min_available is not None:
            spec["minAvailable"] = min_available
        if max_unavailable is not None:
            spec["maxUnavailable"] = max_unavailable
        body = {"metadata": {}, "spec": spec}
        return self.store.create(resources.BUDGETS, (namespace, name), body)
