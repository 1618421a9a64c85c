"""Creates, changes and reads objects of a cluster, with the permissions of an administrator."""

import contextlib
import datetime as dt

from queue_processor.adapters.kube import api
from queue_processor.adapters.kube.api import KubeApi
from queue_processor.adapters.kube.transport import JsonObject
from queue_processor.domain import errors
from queue_processor.domain.pods import PodRef
from tests.cluster import manifests
from tests.cluster.observer import Observer

LABELS = {"tier": "web"}
ATTACHMENTS = "/apis/storage.k8s.io/v1/volumeattachments"
# For the simulated kubelets; those of the real cluster read the annotations of PodShape.
_SIMULATED_EXIT = "simulator/exit-seconds"
_NOW = {"gracePeriodSeconds": 0}


class Administrator(Observer):
    """Creates and reads objects, the namespaced ones in one namespace.

    Attributes:
        namespace: The namespace of pods, budgets and claims.
    """

    patience_seconds = 10.0
    pause_seconds = 0.01

    def __init__(self, transport: api.Transport, *, namespace: str) -> None:
        super().__init__(KubeApi(transport))
        self.namespace = namespace

    # Reading.

    async def node(self, name: str) -> JsonObject:
        """Return a node that exists."""
        return await self.api.get(f"/api/v1/nodes/{name}")

    async def pod(self, pod: PodRef) -> JsonObject | None:
        """Return a pod, or None if it is gone, also if another one has its name."""
        found = await self.get(self.path_of(pod))
        return found if found is not None and found["metadata"]["uid"] == pod.uid else None

    async def is_terminating_or_gone(self, pod: PodRef) -> bool:
        """Return True if a pod is terminating, or gone."""
        found = await self.pod(pod)
        return found is None or "deletionTimestamp" in found["metadata"]

    async def grace_of(self, pod: PodRef) -> tuple[int, dt.datetime]:
        """Return the grace period of a terminating pod in seconds, and its end."""
        metadata = (await self.api.get(self.path_of(pod)))["metadata"]
        ends_at = dt.datetime.fromisoformat(metadata["deletionTimestamp"])
        return metadata["deletionGracePeriodSeconds"], ends_at

    # Writing.

    async def add_pod(
        self, node: str, name: str = "web", *, shape: manifests.PodShape | None = None
    ) -> PodRef:
        """Run a pod on a node; by default it keeps running long after its SIGTERM."""
        body = self.pod_body(name, shape or manifests.PodShape(labels=LABELS), node=node)
        made = await self.add(body)

        async def runs() -> bool:
            found = await self.pod(made)
            return found is not None and found["status"].get("phase") == "Running"

        await self.until(runs)
        return made

    async def add_unbound_pod(self) -> PodRef:
        """Create a pod that no scheduler binds."""
        body = self.pod_body("unbound", manifests.PodShape(labels=LABELS))
        body["spec"]["schedulerName"] = "nobody"
        return await self.add(body)

    async def add(self, pod: JsonObject) -> PodRef:
        """Create a pod."""
        metadata = (await self.api.post(self._collection("pods"), pod))["metadata"]
        return PodRef(namespace=metadata["namespace"], name=metadata["name"], uid=metadata["uid"])

    def pod_body(
        self, name: str, shape: manifests.PodShape, *, node: str | None = None
    ) -> JsonObject:
        """Build a pod that ignores its SIGTERM."""
        body = manifests.pod(name, shape, node_name=node, namespace=self.namespace)
        exits = {"cluster.test/exits-after": manifests.NEVER, _SIMULATED_EXIT: "3600"}
        body["metadata"]["annotations"] |= exits
        return body

    async def remove(self, path: str) -> None:
        """Remove an object at once, if it exists."""
        with contextlib.suppress(errors.NotFound):
            await self.api.delete(path, dict(_NOW))

    async def set_status(self, path: str, status: JsonObject) -> None:
        """Write the status of an object."""
        await self.api.patch(f"{path}/status", {"status": status})

    async def touch(self, node: str) -> None:
        """Change a node, as other clients do all the time."""
        note = {"metadata": {"annotations": {"somebody.example/else": "was here"}}}
        await self.api.patch(f"/api/v1/nodes/{node}", note)

    async def add_budget(self, name: str, **limits: int) -> str:
        """Create a budget for the pods with our labels; return its path."""
        body = manifests.budget(name, LABELS, **limits)
        body["metadata"]["namespace"] = self.namespace
        collection = f"/apis/policy/v1/namespaces/{self.namespace}/poddisruptionbudgets"
        await self.api.post(collection, body)
        return f"{collection}/{name}"

    async def add_observed_budget(self, name: str, *, healthy: int, **limits: int) -> str:
        """Create a budget, and wait until its controller has counted the healthy pods."""
        path = await self.add_budget(name, **limits)

        async def is_observed() -> bool:
            status = (await self.api.get(path)).get("status") or {}
            seen = (status.get("observedGeneration"), status.get("currentHealthy"))
            return seen == (1, healthy)

        await self.until(is_observed)
        return path

    async def attach(self, claim: str, node: str) -> str:
        """Create a claim and the attachment of its volume to a node; return the path."""
        volume, name = f"{self.namespace}-{claim}", f"{node}-{claim}"
        await self.api.post(
            self._collection("persistentvolumeclaims"),
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {"name": claim, "namespace": self.namespace},
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "resources": {"requests": {"storage": "1Gi"}},
                    "storageClassName": "",
                    "volumeName": volume,
                },
            },
        )
        await self.api.post(
            ATTACHMENTS,
            {
                "apiVersion": "storage.k8s.io/v1",
                "kind": "VolumeAttachment",
                "metadata": {"name": name},
                "spec": {
                    "attacher": "ebs.csi.aws.com",
                    "nodeName": node,
                    "source": {"persistentVolumeName": volume},
                },
            },
        )
        return f"{ATTACHMENTS}/{name}"

    def path_of(self, pod: PodRef) -> str:
        """Return the path of a pod."""
        return f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}"

    def _collection(self, plural: str) -> str:
        return f"/api/v1/namespaces/{self.namespace}/{plural}"
