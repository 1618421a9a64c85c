"""One watch on pods for all drains, for as long as there are any."""

import asyncio
import contextlib
import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterator

import structlog

from queue_processor.controller import ports
from queue_processor.domain import errors
from queue_processor.domain.identifiers import NodeName
from queue_processor.domain.pods import PodChange, PodList
from queue_processor.retrying import Backoff

_log = structlog.get_logger(__name__)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Subscription:
    """A wish to be called about the pods of one node.

    Attributes:
        node_name: Whose pods.
        on_change: Called for each change.
        on_gap: Called when changes may have been missed: the pods have to be listed again.
    """

    node_name: NodeName
    on_change: Callable[[PodChange], None]
    on_gap: Callable[[], None]


class PodWatcher:
    """Lists the pods of nodes, and tells of every change after the list.

    A watch for each node costs a connection, with its buffers and its TLS handshake, and a
    request; one for all of them costs the changes of pods that nobody asked about, but only
    while nodes are drained (docs/decisions/0006-one-watch-for-all-drains.md).

    A list and the changes cross each other on their way: a follower has to bear changes that are
    older than the list that it gets afterwards, or newer.
    """

    def __init__(self, source: ports.Pods) -> None:
        self._source = source
        self._subscriptions: defaultdict[NodeName, list[Subscription]] = defaultdict(list)
        self._version: str | None = None
        self._starting = asyncio.Lock()
        self._started = asyncio.Event()

    @contextlib.contextmanager
    def subscribed(self, subscription: Subscription) -> Iterator[None]:
        """Call the subscriber about its node for as long as this lasts."""
        of_node = self._subscriptions[subscription.node_name]
        of_node.append(subscription)
        try:
            yield
        finally:
            of_node.remove(subscription)
            if not of_node:
                del self._subscriptions[subscription.node_name]

    async def pods_on(self, name: NodeName) -> PodList:
        """List the pods of a node; who follows it misses nothing that happens afterwards.

        Raises:
            TemporaryError: The list cannot be had now.
        """
        async with self._starting:
            if not self._started.is_set():
                listed = await self._source.on_node(name, not_before=self._version)
                self._version = listed.version
                self._started.set()
                return listed
        return await self._source.on_node(name, not_before=self._version)

    async def run(self) -> None:
        """Watch whenever there is somebody who wants to know, for ever."""
        attempt = 0
        backoff = Backoff()
        while True:
            await self._started.wait()
            attempt += 1
            ended: Exception | None = None
            try:
                async with self._source.watch(self._version or "") as changes:
                    async for change in changes:
                        attempt = 0
                        self._tell(change)
            except errors.WatchExpired:
                self._lose()
            except (errors.TemporaryError, errors.PermanentError) as error:
                # Refused now is not refused for ever: permissions get mended in mid-drain.
                ended = error
                _log.info("pod_watch_interrupted", error=str(error))
            if attempt:
                # A watch that brings nothing, for whatever reason, is not begun again at once.
                await asyncio.sleep(backoff.after(attempt, ended).total_seconds())
            if not self._subscriptions:
                self._started.clear()
                self._version = None

    def _tell(self, change: PodChange) -> None:
        self._version = change.version
        if change.node_name is not None:
            for subscription in tuple(self._subscriptions.get(change.node_name, ())):
                subscription.on_change(change)

    def _lose(self) -> None:
        """Have everything listed again, but not as it was before what has been told."""
        self._started.clear()
        for of_node in self._subscriptions.values():
            for subscription in of_node:
                subscription.on_gap()
