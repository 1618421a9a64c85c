"""The cluster as its administrator sees and changes it."""

import asyncio
import contextlib
import dataclasses
import pathlib
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import yaml
from kubernetes.aio import client

from queue_processor.adapters.kube.api import KubeApi, error_of
from queue_processor.adapters.kube.transport import HttpTransport, Request
from queue_processor.domain import errors
from tests.cluster import manifests, objects, plane
from tests.cluster.manifests import JsonObject
from tests.cluster.observer import Observer

_COLLECTIONS = {
    "ClusterRole": "clusterroles",
    "ClusterRoleBinding": "clusterrolebindings",
    "DaemonSet": "daemonsets",
    "Deployment": "deployments",
    "Namespace": "namespaces",
    "Node": "nodes",
    "Pod": "pods",
    "PodDisruptionBudget": "poddisruptionbudgets",
    "ReplicaSet": "replicasets",
    "Role": "roles",
    "RoleBinding": "rolebindings",
    "ServiceAccount": "serviceaccounts",
    "StatefulSet": "statefulsets",
    "ValidatingAdmissionPolicy": "validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": "validatingadmissionpolicybindings",
    "VolumeAttachment": "volumeattachments",
}
# What tests leave in a namespace; owners before what they own.
_NAMESPACED = (
    *(
        f"/apis/apps/v1/namespaces/{{namespace}}/{kind}"
        for kind in ("deployments", "replicasets", "statefulsets", "daemonsets")
    ),
    "/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets",
    "/api/v1/namespaces/{namespace}/persistentvolumeclaims",
    "/api/v1/namespaces/{namespace}/pods",
    "/apis/events.k8s.io/v1/namespaces/{namespace}/events",
    "/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases",
)
_AT_ONCE = 24
_ORPHAN = {"gracePeriodSeconds": 0, "propagationPolicy": "Background"}
OPERATOR = ("queue-processor", "queue-processor")
OPERATOR_USER = f"system:serviceaccount:{':'.join(OPERATOR)}"


def configuration_for(access: plane.Access) -> client.Configuration:
    """This access, as the official client holds it."""
    return client.Configuration(
        host=access.server,
        ssl_ca_cert=str(access.ca_file),
        api_key={"BearerToken": f"Bearer {access.token}"},
    )


def transport_for(access: plane.Access) -> HttpTransport:
    """The operator's own transport, with this access."""
    return HttpTransport(configuration_for(access))


def path_of(body: JsonObject) -> str:
    """The path under which such an object is created."""
    version, kind = body["apiVersion"], body["kind"]
    prefix = f"/api/{version}" if version == "v1" else f"/apis/{version}"
    namespace = body["metadata"].get("namespace")
    within = f"/namespaces/{namespace}" if namespace else ""
    return f"{prefix}{within}/{_COLLECTIONS[kind]}"


class World(Observer):
    """The objects in the cluster, read and changed without the limits of any role."""

    def __init__(self, control_plane: plane.ControlPlane) -> None:
        self.plane = control_plane
        self._transport = transport_for(control_plane.admin)
        super().__init__(KubeApi(self._transport))
        self._at_once = asyncio.Semaphore(_AT_ONCE)

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()

    async def create(self, body: JsonObject) -> JsonObject:
        """Create an object."""
        async with self._at_once:
            return await self.api.post(path_of(body), body)

    async def create_all(self, bodies: Iterable[JsonObject]) -> list[JsonObject]:
        """Create objects, many at a time."""
        return list(await asyncio.gather(*(self.create(body) for body in bodies)))

    async def apply(self, bodies: Iterable[JsonObject]) -> None:
        """Create or change objects, one after the other, as `kubectl apply` does on the server.

        https://kubernetes.io/docs/reference/using-api/server-side-apply/

        Raises:
            PermanentError: The API server knows a field not, or refuses its value.
        """
        for body in bodies:
            path = f"{path_of(body)}/{body['metadata']['name']}"
            answer = await self._transport.send(
                Request(
                    "PATCH",
                    path,
                    query={"fieldManager": "tests", "force": "true", "fieldValidation": "Strict"},
                    body=body,
                    content_type="application/apply-patch+yaml",
                )
            )
            if not answer.is_success:
                raise error_of(answer, f"APPLY {path}")

    async def delete(self, path: str, **options: Any) -> None:  # noqa: ANN401 - JSON
        """Delete an object at once, or as the DeleteOptions say; nothing when it is gone."""
        with contextlib.suppress(errors.NotFound):
            await self.api.delete(path, options or _ORPHAN)

    async def make_namespace(self, name: str = manifests.NAMESPACE) -> None:
        """Make a namespace in which pods may be made."""
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        with contextlib.suppress(errors.Conflict):
            await self.create(body)
        account = f"/api/v1/namespaces/{name}/serviceaccounts/default"
        await self.until(lambda: self.get(account))

    async def make_nodes(self, instances: Iterable[tuple[str, str]], **labels: str) -> None:
        """Make nodes, by name and instance id, and wait until pods may be bound to them."""
        pairs = list(instances)
        await self.create_all(
            manifests.node(name, instance_id, labels=labels) for name, instance_id in pairs
        )
        names = {name for name, _ in pairs}

        async def usable() -> bool:
            nodes = await self.items("/api/v1/nodes")
            return names <= {node["metadata"]["name"] for node in nodes if objects.is_usable(node)}

        await self.until(usable)

    async def stop_kubelet(self, name: str) -> None:
        """Let a node fall silent, and the control plane know it at once."""
        path = f"/api/v1/nodes/{name}"
        dead = {"metadata": {"annotations": {"cluster.test/kubelet": "dead"}}}
        for pod in await self.pods_on(name):
            metadata = pod["metadata"]
            pods = f"/api/v1/namespaces/{metadata['namespace']}/pods"
            await self.api.patch(f"{pods}/{metadata['name']}", dead)
        await self.api.patch(path, dead)
        silent = {"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"}
        await self.api.patch(f"{path}/status", {"status": {"conditions": [silent]}})

    async def make_replicas(
        self, name: str, shape: manifests.PodShape, on: Mapping[str, int]
    ) -> None:
        """Make a ReplicaSet whose pods are where they are wanted.

        It adopts pods that run already: the scheduler would put them anywhere.

        Args:
            name: The name of the ReplicaSet, and the label `app` of its pods.
            shape: Its pods.
            on: How many of them are on each node.
        """
        labelled = dataclasses.replace(shape, labels={**shape.labels, "app": name})
        places = [node for node, count in on.items() for _ in range(count)]
        await self.create_all(
            manifests.pod(f"{name}-{number}", labelled, node_name=node)
            for number, node in enumerate(places)
        )
        await self._until_controllers_count(name, len(places))
        made = await self.create(manifests.owned("ReplicaSet", name, shape, replicas=len(places)))
        path = f"{path_of(made)}/{name}"

        async def complete() -> bool:
            found = await self.get(path)
            return found is not None and found["status"].get("readyReplicas") == len(places)

        await self.until(complete)

    async def _until_controllers_count(self, app: str, count: int) -> None:
        """Wait until the controllers know so many healthy pods of an app, and not the server alone.

        All of them look at the same cache: where it lags behind, a ReplicaSet that misses a pod
        makes another, and then takes any of them away. What counts for budgets is in the cache.
        """
        made = await self.create(manifests.budget(f"{app}-count", {"app": app}, minAvailable=0))
        path = f"{path_of(made)}/{app}-count"

        async def counted() -> bool:
            found = await self.get(path)
            status = {} if found is None else found.get("status", {})
            return status.get("currentHealthy") == status.get("expectedPods") == count

        await self.until(counted)
        await self.delete(path)

    async def make_budget(self, app: str, **limits: int) -> None:
        """Put a budget over an app, and wait until the control plane has counted its pods."""
        made = await self.create(manifests.budget(app, {"app": app}, **limits))
        path = f"{path_of(made)}/{app}"

        async def counted() -> bool:
            found = await self.get(path)
            return found is not None and found.get("status", {}).get("currentHealthy", 0) > 0

        await self.until(counted)

    async def node(self, name: str) -> JsonObject | None:
        """A node; None when there is none."""
        return await self.get(f"/api/v1/nodes/{name}")

    async def pods_on(self, name: str) -> list[JsonObject]:
        """The pods that are bound to a node."""
        return await self.items("/api/v1/pods", fieldSelector=f"spec.nodeName={name}")

    async def running(self, **labels: str) -> list[JsonObject]:
        """The pods with these labels that are Ready and not on their way out."""
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        pods = await self.items(
            f"/api/v1/namespaces/{manifests.NAMESPACE}/pods", labelSelector=selector
        )
        return [pod for pod in pods if objects.is_healthy(pod)]

    async def until_running(self, app: str, count: int) -> None:
        """Wait until an app has so many healthy pods."""

        async def enough() -> bool:
            return len(await self.running(app=app)) == count

        await self.until(enough)

    async def operator_access(self, account: str = OPERATOR[1]) -> plane.Access:
        """Access as the operator: a token of an account that deploy/ makes."""
        namespace, _ = OPERATOR
        answer = await self.api.post(
            f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token",
            {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}},
        )
        return self.plane.access(answer["status"]["token"])

    async def clear(
        self, namespaces: Iterable[str] = (manifests.NAMESPACE, OPERATOR[0], "default")
    ) -> None:
        """Take away what a test has put here, and wait until it is gone."""
        for namespace in namespaces:
            for collection in _NAMESPACED:
                await self.delete(collection.format(namespace=namespace), **_ORPHAN)
        await self.delete("/api/v1/nodes", **_ORPHAN)
        await self.delete("/apis/storage.k8s.io/v1/volumeattachments", **_ORPHAN)

        async def empty() -> bool:
            return not await self.items("/api/v1/pods") and not await self.items("/api/v1/nodes")

        await self.until(empty)


def rbac_of(manifest: pathlib.Path) -> list[JsonObject]:
    """The documents of a manifest that say who may do what, and the namespace they lie in."""
    return rbac_in(yaml.safe_load_all(manifest.read_text(encoding="utf-8")))


def rbac_in(documents: Iterable[JsonObject]) -> list[JsonObject]:
    """Those of the documents that say who may do what, and the namespace they lie in."""
    kinds = {"Namespace", "ServiceAccount", "Role", "RoleBinding"}
    kinds |= {f"Cluster{kind}" for kind in kinds}
    return [document for document in documents if document["kind"] in kinds]


@contextlib.asynccontextmanager
async def opened(control_plane: plane.ControlPlane) -> AsyncIterator[World]:
    """A world that is closed at the end."""
    world = World(control_plane)
    try:
        yield world
    finally:
        await world.close()
