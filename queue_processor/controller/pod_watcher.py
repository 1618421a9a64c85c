"""One watch on pods for all drains, for as long as there are any.

A drain lists the pods of its node once and then needs every change. A watch for each node would
cost a request and a connection with its buffers and its TLS handshake, and in a storm hundreds of
nodes are drained at once. So there is one watch on all pods that are bound to a node, which brings
changes of pods that no drain is about, and it runs only while nodes are drained
(docs/decisions/0006-one-watch-for-all-drains.md).

How lists and the watch fit together:

- The first list that is answered gives the version that the watch starts from. Later lists ask
  for a state that is not older than what the watch has brought, so that no change is lost
  between a list and the watch. One that was on its way meanwhile is repeated if it is older: to
  let it wait for the first was rejected, because a list that hangs would delay all others.
- A list and the changes cross each other on their way. A subscriber may get changes that are older
  than the list that it gets afterwards, or newer; `node_pods` sorts that out by UID.
- A watch that was cut goes on from the last version. When that version is too old (410), all
  subscribers list again: only a list shows what was missed.

The watch never gives up. What is refused now need not be refused later, since permissions can be
mended, and until then the deadline of each drain bounds its wait.
"""

import asyncio
import contextlib
import dataclasses
import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping

import structlog

from queue_processor.controller import ports
from queue_processor.controller.limiter import PriorityLimiter
from queue_processor.controller.pod_lister import PodLister
from queue_processor.domain import errors, versions
from queue_processor.domain.identifiers import NodeName
from queue_processor.domain.pods import PodChange, PodList
from queue_processor.retrying import Backoff

_log = structlog.get_logger(__name__)

# The watch serves drains with different deadlines; none may lose more time than this to a
# `Retry-After`.
_LONGEST_PAUSE = dt.timedelta(seconds=10)


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
    """Lists the pods of nodes, and calls subscribers with each change after the list."""

    def __init__(
        self, source: ports.Pods, *, limiter: PriorityLimiter, count_nodes: Callable[[], int]
    ) -> None:
        """Build the watcher.

        Args:
            source: The pods of the cluster.
            limiter: Bounds the requests of all drains.
            count_nodes: Counts the nodes of the cluster.
        """
        self._source = source
        self._lister = PodLister(self._list, limiter=limiter, count_nodes=count_nodes)
        self._subscriptions: defaultdict[NodeName, list[Subscription]] = defaultdict(list)
        self._version: str | None = None
        self._first_version = ""
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

    async def pods_on(self, name: NodeName, *, ends_at: float) -> PodList:
        """List the pods of a node as `PodLister` does; its subscribers miss no later change."""
        return await self._lister.pods_on(name, ends_at=ends_at)

    async def _list(self, names: Collection[NodeName]) -> Mapping[NodeName, PodList]:
        while True:
            is_started, began_at = self._started.is_set(), self._first_version
            lists = await self._read(names)
            version = next(iter(lists.values())).version
            if is_started and began_at == self._first_version:
                return lists
            if not self._started.is_set():
                self._version = self._first_version = version
                self._started.set()
                return lists
            if not versions.is_later(self._first_version, version):
                return lists
            # Another list was answered first, and this one is older than the watch.

    async def _read(self, names: Collection[NodeName]) -> Mapping[NodeName, PodList]:
        if len(names) > 1:
            return await self._source.on_nodes(names)
        return {name: await self._source.on_node(name, not_before=self._version) for name in names}

    async def run(self) -> None:
        """List and watch whenever there are subscribers, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._lister.run(), name="start lists of pods")
            await self._watch()

    async def _watch(self) -> None:
        attempt = 0
        backoff = Backoff()
        while True:
            await self._started.wait()
            attempt += 1
            failure: Exception | None = None
            try:
                async with self._source.watch(self._version or "") as changes:
                    async for change in changes:
                        attempt = 0
                        self._pass_on(change)
            except errors.WatchExpired:
                self._have_all_listed_again()
            except (errors.TemporaryError, errors.PermanentError) as error:
                failure = error
                _log.info("pod_watch_interrupted", error=str(error))
            if attempt:
                # A watch that brings nothing, for whatever reason, does not start again at once.
                pause = min(backoff.after(attempt, failure), _LONGEST_PAUSE)
                await asyncio.sleep(pause.total_seconds())
            if not self._subscriptions:
                self._started.clear()
                self._version = None

    def _pass_on(self, change: PodChange) -> None:
        self._version = change.version
        if change.node_name is not None:
            for subscription in tuple(self._subscriptions.get(change.node_name, ())):
                subscription.on_change(change)

    def _have_all_listed_again(self) -> None:
        """Start over, but not from a state that is older than what subscribers have seen."""
        self._started.clear()
        for of_node in self._subscriptions.values():
            for subscription in of_node:
                subscription.on_gap()
