"""Arranges what is in a cluster, and looks at it, without the limits of any role."""

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
# What the simulated kubelets read; those of the real cluster read what PodShape writes.
_SIMULATED_EXIT = "simulator/exit-seconds"
_NOW = {"gracePeriodSeconds": 0}


class Administrator(Observer):
    """Makes objects, in one namespace where they lie in one, and looks at them.

    Attributes:
        namespace: Where pods, budgets and claims are made.
    """

    patience_seconds = 10.0
    pause_seconds = 0.01

    def __init__(self, transport: api.Transport, *, namespace: str) -> None:
        super().__init__(KubeApi(transport))
        self.namespace = namespace

    # Looking.

    async def node(self, name: str) -> JsonObject:
        """A node that is there."""
        return await self.api.get(f"/api/v1/nodes/{name}")

    async def pod(self, pod: PodRef) -> JsonObject | None:
        """A pod; None when it is gone, also when another one has its name."""
        found = await self.get(self.path_of(pod))
        return found if found is not None and found["metadata"]["uid"] == pod.uid else None

    async def is_told_to_stop(self, pod: PodRef) -> bool:
        """Whether a pod is on its way out, or gone."""
        found = await self.pod(pod)
        return found is None or "deletionTimestamp" in found["metadata"]

    async def grace_of(self, pod: PodRef) -> tuple[int, dt.datetime]:
        """Within how many seconds, and by when, a pod has been told to stop."""
        metadata = (await self.api.get(self.path_of(pod)))["metadata"]
        ends_at = dt.datetime.fromisoformat(metadata["deletionTimestamp"])
        return metadata["deletionGracePeriodSeconds"], ends_at

    # Arranging.

    async def add_pod(
        self, node: str, name: str = "web", *, shape: manifests.PodShape | None = None
    ) -> PodRef:
        """Let a pod run on a node; by default it stays for long after its SIGTERM."""
        body = self.pod_body(name, shape or manifests.PodShape(labels=LABELS), node=node)
        made = await self.add(body)

        async def runs() -> bool:
            found = await self.pod(made)
            return found is not None and found["status"].get("phase") == "Running"

        await self.until(runs)
        return made

    async def add_unbound_pod(self) -> PodRef:
        """Make a pod that no scheduler cares about."""
        body = self.pod_body("unbound", manifests.PodShape(labels=LABELS))
        body["spec"]["schedulerName"] = "nobody"
        return await self.add(body)

    async def add(self, pod: JsonObject) -> PodRef:
        """Make a pod."""
        metadata = (await self.api.post(self._collection("pods"), pod))["metadata"]
        return PodRef(namespace=metadata["namespace"], name=metadata["name"], uid=metadata["uid"])

    def pod_body(
        self, name: str, shape: manifests.PodShape, *, node: str | None = None
    ) -> JsonObject:
        """A pod that ignores its SIGTERM."""
        body = manifests.pod(name, shape, node_name=node, namespace=self.namespace)
        exits = {"cluster.test/exits-after": manifests.NEVER, _SIMULATED_EXIT: "3600"}
        body["metadata"]["annotations"] |= exits
        return body

    async def remove(self, path: str) -> None:
        """Remove an object, at once; nothing when there is none."""
        with contextlib.suppress(errors.NotFound):
            await self.api.delete(path, dict(_NOW))

    async def set_status(self, path: str, status: JsonObject) -> None:
        """Write a status as those do who own it."""
        await self.api.patch(f"{path}/status", {"status": status})

    async def touch(self, node: str) -> None:
        """Change a node, as others do all the time."""
        note = {"metadata": {"annotations": {"somebody.example/else": "was here"}}}
        await self.api.patch(f"/api/v1/nodes/{node}", note)

    async def add_budget(self, name: str, **limits: int) -> str:
        """Make a budget over the pods with our labels; its path."""
        body = manifests.budget(name, LABELS, **limits)
        body["metadata"]["namespace"] = self.namespace
        collection = f"/apis/policy/v1/namespaces/{self.namespace}/poddisruptionbudgets"
        await self.api.post(collection, body)
        return f"{collection}/{name}"

    async def add_observed_budget(self, name: str, *, healthy: int, **limits: int) -> str:
        """The same, and wait until its controller has counted so many healthy pods."""
        path = await self.add_budget(name, **limits)

        async def is_observed() -> bool:
            status = (await self.api.get(path)).get("status") or {}
            seen = (status.get("observedGeneration"), status.get("currentHealthy"))
            return seen == (1, healthy)

        await self.until(is_observed)
        return path

    async def attach(self, claim: str, node: str) -> str:
        """Make a claim and its volume's attachment to a node; the attachment's path."""
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
        """Where a pod is."""
        return f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}"

    def _collection(self, plural: str) -> str:
        return f"/api/v1/namespaces/{self.namespace}/{plural}"
