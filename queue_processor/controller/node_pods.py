"""The pods that a drain has to move, kept current for as long as it lasts."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from queue_processor.controller.deadline_timer import Pulse
from queue_processor.controller.pod_watcher import PodWatcher, Subscription
from queue_processor.controller.retrying import retrying
from queue_processor.domain import pods
from queue_processor.domain.identifiers import NodeName
from queue_processor.domain.pods import PodChange, PodView
from queue_processor.observability import metrics


class NodePods:
    """Follows the pods of one node; those the scheduler binds late are caught.

    Attributes:
        left: The pods that have to go and are still there, by uid.
        staying: The pods that stay on the node, by uid.
    """

    def __init__(
        self,
        node_name: NodeName,
        *,
        feed: PodWatcher,
        slot: Callable[[], AbstractAsyncContextManager[None]],
        changed: Pulse,
        arrived: Callable[[PodView], None],
    ) -> None:
        """Build the set.

        Args:
            node_name: Whose pods.
            feed: Where they are listed and watched.
            slot: Held while they are listed.
            changed: Fired whenever `left` changes.
            arrived: Called once for every pod that has to go.
        """
        self._node_name = node_name
        self._feed = feed
        self._slot = slot
        self._arrived = arrived
        self._seen: set[str] = set()
        self._gone: set[str] = set()
        self._outdated = asyncio.Event()
        self._listed = asyncio.Event()
        self.left: dict[str, PodView] = {}
        self.staying: dict[str, PodView] = {}
        self._changed = changed

    @property
    def seen(self) -> int:
        """How many pods have had to go so far."""
        return len(self._seen)

    @property
    def is_listed(self) -> bool:
        """True once `left` is a statement about the node and not about us."""
        return self._listed.is_set()

    async def until_listed(self) -> None:
        """Wait for the first list."""
        await self._listed.wait()

    async def follow(self) -> None:
        """List once, then take in what changes, for ever; what was missed is listed again."""
        follower = Subscription(self._node_name, take=self._on_change, lose=self._outdated.set)
        with self._feed.following(follower):
            while True:
                self._outdated.clear()
                async for attempt in retrying(metrics.Call.LIST_PODS):
                    with attempt:
                        await self._list()
                await self._outdated.wait()

    async def _list(self) -> None:
        async with self._slot():
            # Those that come while the list is on its way may be newer than it.
            known = set(self.left)
            listed = await self._feed.pods_on(self._node_name)
        for uid in known - {pod.ref.uid for pod in listed.pods}:
            self.left.pop(uid, None)
        for pod in listed.pods:
            self._take(pod, is_gone=False)
        self._listed.set()
        self._changed.fire()

    def _on_change(self, change: PodChange) -> None:
        if change.pod is not None:
            self._take(change.pod, is_gone=change.is_gone)

    def _take(self, pod: PodView, *, is_gone: bool) -> None:
        uid = pod.ref.uid
        if is_gone:
            # For ever: a list that is older than that must not bring it back.
            self._gone.add(uid)
        is_gone = uid in self._gone
        verdict = pods.verdict_on(pod)
        self.staying.pop(uid, None)
        if not is_gone and verdict.is_kept:
            self.staying[uid] = pod
        if is_gone or not verdict.is_moved:
            if self.left.pop(uid, None) is not None:
                self._changed.fire()
            return
        self.left[uid] = pod
        if uid not in self._seen:
            self._seen.add(uid)
            self._arrived(pod)
