"""The pods that a drain has to move, kept current by a watch for as long as it lasts."""

import asyncio
from collections.abc import Callable

import structlog

from queue_processor.controller import ports
from queue_processor.controller.countdown import Pulse
from queue_processor.controller.retrying import Backoff
from queue_processor.domain import errors, pods
from queue_processor.domain.identifiers import NodeName
from queue_processor.domain.pods import PodView

_log = structlog.get_logger(__name__)


class PodSet:
    """Follows the pods of one node; those the scheduler binds late are caught.

    Attributes:
        left: The pods that have to go and are still there, by uid.
        staying: The pods that stay on the node, by uid.
        is_listed: Whether `left` is a statement about the node and not about us.
    """

    def __init__(
        self,
        node_name: NodeName,
        *,
        source: ports.Pods,
        changed: Pulse,
        arrived: Callable[[PodView], None],
    ) -> None:
        """Build the set.

        Args:
            node_name: Whose pods.
            source: Where they are listed and watched.
            changed: Fired whenever `left` changes.
            arrived: Called once for every pod that has to go.
        """
        self._node_name = node_name
        self._source = source
        self._arrived = arrived
        self._seen: set[str] = set()
        self.left: dict[str, PodView] = {}
        self.staying: dict[str, PodView] = {}
        self.is_listed = False
        self._changed = changed

    @property
    def seen(self) -> int:
        """How many pods have had to go so far."""
        return len(self._seen)

    async def follow(self) -> None:
        """List once, then watch, for ever; a lost watch resumes, an expired one lists again."""
        version: str | None = None
        attempt = 0
        backoff = Backoff()
        while True:
            try:
                if version is None:
                    version = await self._list()
                async with self._source.watch_node(self._node_name, version) as changes:
                    async for change in changes:
                        attempt = 0
                        version = change.version
                        if change.pod is not None:
                            self._take(change.pod, is_gone=change.is_gone)
                attempt = 0
            except errors.WatchExpired:
                version = None
            except errors.TemporaryFault as fault:
                attempt += 1
                _log.info("pods_lost_sight_of", node=self._node_name, fault=str(fault))
                await asyncio.sleep(backoff.after(attempt, fault).total_seconds())

    async def _list(self) -> str:
        listed = await self._source.on_node(self._node_name)
        present = {pod.ref.uid for pod in listed.pods}
        for uid in [uid for uid in self.left if uid not in present]:
            del self.left[uid]
        for pod in listed.pods:
            self._take(pod, is_gone=False)
        self.is_listed = True
        self._changed.fire()
        return listed.version

    def _take(self, pod: PodView, *, is_gone: bool) -> None:
        uid = pod.ref.uid
        self.staying.pop(uid, None)
        if not is_gone and pods.verdict_on(pod).is_kept:
            self.staying[uid] = pod
        if is_gone or not pods.verdict_on(pod).is_moved:
            if self.left.pop(uid, None) is not None:
                self._changed.fire()
            return
        self.left[uid] = pod
        if uid not in self._seen:
            self._seen.add(uid)
            self._arrived(pod)
