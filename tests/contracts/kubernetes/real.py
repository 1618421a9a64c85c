"""The real control plane, with the operator's account and roles."""

import base64
import contextlib
import datetime as dt
import itertools
import json
import secrets
from collections.abc import AsyncIterator, Mapping

from queue_processor.adapters.kube.api import KubeApi
from queue_processor.domain import errors
from tests.cluster import manifests, objects, plane, world
from tests.contracts.kubernetes.administrator import ATTACHMENTS, LABELS, Administrator
from tests.contracts.kubernetes.cluster import LEASE_NAME, OPERATOR_NAMESPACE
from tests.contracts.kubernetes.wire import Wire

_NODES = "/api/v1/nodes"
_LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{OPERATOR_NAMESPACE}/leases/{LEASE_NAME}"
# Older than the first version that the API server of the control plane has.
_ANCIENT = 1


class RealTarget:
    """A namespace and nodes for one test in a cluster that all tests share."""

    def __init__(self, control_plane: plane.ControlPlane, operator: plane.Access) -> None:
        self._plane = control_plane
        self._name = f"contract-{secrets.token_hex(4)}"
        self._numbers = itertools.count(1)
        self._nodes: set[str] = set()
        self._transports = [world.transport_for(each) for each in (operator, control_plane.admin)]
        self.wire = Wire(self._transports[0])
        self.api = KubeApi(self.wire)
        self.admin = Administrator(self._transports[1], namespace=self._name)

    async def open(self) -> None:
        """Create the namespace."""
        metadata = {"name": self._name}
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
        await self.admin.api.post("/api/v1/namespaces", namespace)
        # Pods need it, and its controller takes a moment.
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        with contextlib.suppress(errors.Conflict):
            accounts = f"/api/v1/namespaces/{self._name}/serviceaccounts"
            await self.admin.api.post(accounts, account)

    async def close(self) -> None:
        """Remove the objects that other tests could see, and close the connections."""
        within = f"namespaces/{self._name}"
        for path in (
            f"/apis/apps/v1/{within}/daemonsets",
            f"/api/v1/{within}/pods",
            ATTACHMENTS,
            _LEASE,
            *(f"{_NODES}/{name}" for name in self._nodes),
        ):
            await self.admin.remove(path)
        for transport in self._transports:
            await transport.close()

    def clock(self) -> dt.datetime:
        return dt.datetime.now(dt.UTC)

    async def add_node(
        self,
        name: str = "",
        *,
        labels: Mapping[str, str] | None = None,
        instance_id: str = "",
        is_ready: bool = True,
    ) -> str:
        number = next(self._numbers)
        body = manifests.node(
            name or f"{self._name}-{number}",
            instance_id or f"i-{number:017x}",
            labels=labels,
        )
        if not is_ready:
            body["metadata"]["annotations"] = {"cluster.test/kubelet": "dead"}
            body["status"] = {"conditions": [{"type": "Ready", "status": "False"}]}
        made: str = (await self.admin.api.post(_NODES, body))["metadata"]["name"]
        self._nodes.add(made)

        async def is_settled() -> bool:
            node = await self.admin.node(made)
            is_clean, reports_ready = "taints" not in node["spec"], objects.is_true(node, "Ready")
            return is_clean is is_ready and reports_ready is is_ready

        await self.admin.until(is_settled)
        return made

    async def add_daemon_pod(self, node: str) -> None:
        body = manifests.owned("DaemonSet", "agent", manifests.PodShape(labels=LABELS))
        body["metadata"]["namespace"] = self._name
        body["spec"]["template"]["spec"]["nodeSelector"] = {"kubernetes.io/hostname": node}
        await self.admin.api.post(f"/apis/apps/v1/namespaces/{self._name}/daemonsets", body)
        pods = f"/api/v1/namespaces/{self._name}/pods"

        async def runs() -> bool:
            found = await self.admin.items(pods)
            return any(pod["metadata"]["labels"].get("app") == "agent" for pod in found)

        await self.admin.until(runs)

    @contextlib.asynccontextmanager
    async def paused_budget_controller(self) -> AsyncIterator[None]:
        with self._plane.paused("kube-controller-manager"):
            yield

    async def expired_version(self) -> str:
        return str(_ANCIENT)

    async def expired_page(self, token: str) -> str:
        listed = await self.admin.api.list(_NODES, query={"limit": "1"})
        self._plane.forget(int(listed["metadata"]["resourceVersion"]))
        # https://github.com/kubernetes/apiserver/blob/master/pkg/storage/continue.go
        place = json.loads(base64.urlsafe_b64decode(token + "=="))
        aged = json.dumps(place | {"rv": _ANCIENT}).encode()
        return base64.urlsafe_b64encode(aged).rstrip(b"=").decode()
