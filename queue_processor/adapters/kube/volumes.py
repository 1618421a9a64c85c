"""Volumes that are attached to nodes."""

import asyncio
import contextlib
import datetime as dt
from collections import defaultdict
from collections.abc import AsyncIterator, Collection

from queue_processor.adapters.kube import api
from queue_processor.adapters.kube.api import KubeApi
from queue_processor.adapters.kube.transport import JsonObject
from queue_processor.domain import errors
from queue_processor.domain.identifiers import NodeName
from queue_processor.retrying import retrying

_LONGEST_DELAY = dt.timedelta(seconds=1)
# One watch serves nodes with different deadlines; this bounds what a `Retry-After` costs them.
_TIME_TO_WATCH = dt.timedelta(seconds=30)
_ATTACHMENTS = "/apis/storage.k8s.io/v1/volumeattachments"


class KubeVolumes:
    """VolumeAttachments on the API server; they have no field selector for the node.

    So one list and one watch serve all nodes that wait, for as long as any of them does.
    """

    def __init__(self, api: KubeApi) -> None:
        self._api = api
        self._attachments = _Attachments()
        self._following: asyncio.Task[None] | None = None
        self._waiting = 0

    async def await_detached(self, name: NodeName, *, staying: Collection[tuple[str, str]]) -> None:
        kept = {await self._volume_of(*claim) for claim in staying}
        async with self._followed() as following, self._attachments.changes_on(name) as changed:
            while not self._attachments.is_listed or self._attachments.volumes_on(name) - kept:
                waking = asyncio.ensure_future(changed.wait())
                try:
                    await asyncio.wait((waking, following), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    waking.cancel()
                if following.done():
                    following.result()
                changed.clear()

    async def _volume_of(self, namespace: str, claim: str) -> str | None:
        try:
            read = await self._api.get(
                f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{claim}"
            )
        except errors.NotFound:
            return None
        volume: str | None = read.get("spec", {}).get("volumeName")
        return volume

    @contextlib.asynccontextmanager
    async def _followed(self) -> AsyncIterator["asyncio.Task[None]"]:
        """Follow the attachments until the last one that waits has left."""
        if self._following is None or self._following.done():
            self._attachments.forget()
            self._following = asyncio.create_task(self._follow(), name="volume attachments")
        following = self._following
        self._waiting += 1
        try:
            yield following
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._following = None
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)

    async def _follow(self) -> None:
        async for attempt in retrying(
            longest_delay=_LONGEST_DELAY,
            time_left=lambda: _TIME_TO_WATCH,
            on=(errors.TemporaryError, errors.WatchExpired),
        ):
            with attempt:
                version = await self._list()
                async with self._api.watch(
                    _ATTACHMENTS, query={"resourceVersion": version}
                ) as events:
                    async for event in events:
                        self._attachments.take(event)
                raise errors.TemporaryError("the watch has ended")

    async def _list(self) -> str:
        """List all attachments, out of the API server's cache; return their version."""
        items: list[JsonObject] = []
        version = ""
        async for page in self._api.pages(_ATTACHMENTS, query={"resourceVersion": "0"}):
            version = api.version_of(page)
            items += page["items"]
        self._attachments.replace(items)
        return version


class _Attachments:
    """The volumes that are attached to each node.

    Attributes:
        is_listed: True once all of them have been listed.
    """

    def __init__(self) -> None:
        self.is_listed = False
        self._by_node: defaultdict[str, dict[str, str | None]] = defaultdict(dict)
        self._waiters: defaultdict[str, list[asyncio.Event]] = defaultdict(list)

    def volumes_on(self, node: str) -> set[str | None]:
        """Return the volumes attached to a node; None for one that has no PersistentVolume."""
        return set(self._by_node.get(node, {}).values())

    @contextlib.asynccontextmanager
    async def changes_on(self, node: str) -> AsyncIterator[asyncio.Event]:
        """Yield an event that is set whenever something may have changed on a node."""
        changed = asyncio.Event()
        self._waiters[node].append(changed)
        try:
            yield changed
        finally:
            self._waiters[node].remove(changed)
            if not self._waiters[node]:
                del self._waiters[node]

    def forget(self) -> None:
        """Forget all attachments, until the next list."""
        self.is_listed = False
        self._by_node.clear()

    def replace(self, items: Collection[JsonObject]) -> None:
        """Take in a complete list."""
        self._by_node.clear()
        for item in items:
            self._put(item)
        self.is_listed = True
        for waiters in self._waiters.values():
            for changed in waiters:
                changed.set()

    def take(self, event: JsonObject) -> None:
        """Take in an event of the watch."""
        if event["type"] == "BOOKMARK":
            return
        item = event["object"]
        if event["type"] == "DELETED":
            self._by_node[item["spec"]["nodeName"]].pop(item["metadata"]["name"], None)
        else:
            self._put(item)
        for changed in self._waiters.get(item["spec"]["nodeName"], ()):
            changed.set()

    def _put(self, item: JsonObject) -> None:
        spec = item["spec"]
        volume = spec["source"].get("persistentVolumeName")
        self._by_node[spec["nodeName"]][item["metadata"]["name"]] = volume
