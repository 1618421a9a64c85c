"""The Lease that decides which process works."""

import datetime as dt
from collections.abc import Mapping

from queue_processor.adapters.kube.api import KubeApi
from queue_processor.adapters.kube.transport import JsonObject
from queue_processor.domain import errors
from queue_processor.domain.leases import Lease


class KubeLeases:
    """One Lease on the API server."""

    def __init__(self, api: KubeApi, *, namespace: str, name: str) -> None:
        self._api = api
        self._namespace = namespace
        self._name = name
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"

    async def read(self) -> Lease | None:
        try:
            return _lease(await self._api.get(f"{self._collection}/{self._name}"))
        except errors.NotFound:
            return None

    async def write(self, lease: Lease) -> Lease:
        body: JsonObject = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": {
                "holderIdentity": lease.holder,
                "leaseDurationSeconds": max(1, round(lease.duration.total_seconds())),
                "acquireTime": _micro_time(lease.acquired_at),
                "renewTime": _micro_time(lease.renewed_at),
                "leaseTransitions": lease.transitions,
            },
        }
        if lease.resource_version is None:
            return await self._create(body)
        body["metadata"]["resourceVersion"] = lease.resource_version
        return await self._replace(body)

    async def _create(self, body: JsonObject) -> Lease:
        try:
            return _lease(await self._api.post(self._collection, body))
        except errors.NotFound as missing:
            raise errors.PermanentError(f"there is no such namespace: {missing}") from missing

    async def _replace(self, body: JsonObject) -> Lease:
        try:
            return _lease(await self._api.put(f"{self._collection}/{self._name}", body))
        except errors.NotFound as gone:
            raise errors.Conflict(f"the Lease has been deleted: {gone}") from gone


async def in_all_namespaces(api: KubeApi, name: str) -> Mapping[str, Lease]:
    """Return the Leases of a name by namespace.

    Raises:
        Forbidden: The account may read only some of them.
        TemporaryError: The API server does not answer.
    """
    query = {"fieldSelector": f"metadata.name={name}"}
    listed = await api.list("/apis/coordination.k8s.io/v1/leases", query=query)
    return {body["metadata"]["namespace"]: _lease(body) for body in listed["items"]}


def _lease(body: JsonObject) -> Lease:
    spec = body.get("spec") or {}
    return Lease(
        holder=spec.get("holderIdentity") or "",
        duration=dt.timedelta(seconds=spec.get("leaseDurationSeconds") or 0),
        acquired_at=_time(spec.get("acquireTime")),
        renewed_at=_time(spec.get("renewTime")),
        transitions=spec.get("leaseTransitions") or 0,
        resource_version=body["metadata"]["resourceVersion"],
    )


def _micro_time(time: dt.datetime | None) -> str | None:
    """Format a MicroTime: six digits after the point, always, in UTC."""
    return None if time is None else time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _time(text: str | None) -> dt.datetime | None:
    return None if text is None else dt.datetime.fromisoformat(text)
