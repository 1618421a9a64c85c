"""Volumes that are attached to nodes."""

import contextlib
from collections.abc import Collection

from queue_processor.adapters.kube.api import KubeApi
from queue_processor.domain import errors
from queue_processor.domain.identifiers import NodeName

_ATTACHMENTS = "/apis/storage.k8s.io/v1/volumeattachments"


class KubeVolumes:
    """VolumeAttachments on the API server; they have no field selector for the node."""

    def __init__(self, api: KubeApi) -> None:
        self._api = api

    async def await_detached(self, name: NodeName, *, staying: Collection[tuple[str, str]]) -> None:
        """Return when no volume is attached to the node but those of pods that stay.

        Args:
            name: The node.
            staying: Namespace and name of the claims that the pods use that stay.
        """
        kept = {await self._volume_of(*claim) for claim in staying}
        while True:
            with contextlib.suppress(errors.WatchExpired):
                attached, version = await self._attached_to(name, kept)
                if not attached or await self._see_detached(attached, version):
                    return

    async def _volume_of(self, namespace: str, claim: str) -> str | None:
        try:
            found = await self._api.get(
                f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{claim}"
            )
        except errors.NotFound:
            return None
        volume: str | None = found.get("spec", {}).get("volumeName")
        return volume

    async def _attached_to(
        self, name: NodeName, kept: Collection[str | None]
    ) -> tuple[set[str], str]:
        attached: set[str] = set()
        version = ""
        async for page in self._api.pages(_ATTACHMENTS, query={"resourceVersion": "0"}):
            version = page["metadata"]["resourceVersion"]
            attached.update(
                item["metadata"]["name"]
                for item in page["items"]
                if item["spec"]["nodeName"] == name
                and item["spec"]["source"].get("persistentVolumeName") not in kept
            )
        return attached, version

    async def _see_detached(self, attached: set[str], version: str) -> bool:
        async with self._api.watch(_ATTACHMENTS, query={"resourceVersion": version}) as events:
            async for event in events:
                if event["type"] == "DELETED":
                    attached.discard(event["object"]["metadata"]["name"])
                if not attached:
                    return True
        return False
