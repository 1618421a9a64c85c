"""Lists the pods of nodes: one by one, or all of them in one list when many nodes wait.

A drain begins with the pods of its node. For one node, one small list is the fastest way to them:
the API server answers it from its cache, which is indexed by node. In a storm, hundreds of small
lists compete with thousands of evictions. So only a few lists are under way at once, the other
nodes wait for their turn, and when a good part of all nodes waits, the next list is of the whole
cluster, page by page, and answers all of them.

Which of the two comes next is decided when a list gets its slot, and not before: cordons go first,
so by then the nodes that a storm is about are all waiting. The number of lists at once grows with
the number of nodes that wait. So all of them are listed within seconds, and none is unlisted at its
deadline because others were ahead of it.

Nodes that come while a list of the cluster is under way wait for the next one: a storm of 1,000
comes over some seconds, and would begin such a list again and again.

A list that hangs, or a list of the whole cluster that fails, must not hold up the nodes behind it.
After a second a list does not count any more, or after ten seconds if it is of the cluster. After a
failure the nodes are listed one by one until none waits.

Rejected: to wait a moment for company, since a single node would wait for nobody; and a watch that
begins with all pods, since it would read the whole cluster for a single node.
"""

import asyncio
import dataclasses
import itertools
from collections.abc import Awaitable, Callable, Collection, Mapping

from queue_processor.controller.limiter import PriorityLimiter
from queue_processor.controller.ranks import Priority
from queue_processor.domain import errors
from queue_processor.domain.identifiers import NodeName
from queue_processor.domain.pods import PodList

_AT_ONCE = 2
# One more list at once for so many nodes that wait.
_WAITING_PER_LIST = 40
# The whole cluster is listed when so many nodes wait, and when they are this part of all nodes.
_MANY = 4
_PART_OF_ALL = 1 / 4
_PROMPT_SECONDS = 1.0
_SHARED_PROMPT_SECONDS = 10.0


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _ListRequest:
    """A drain that waits for the pods of its node, until a time of the loop's clock."""

    node_name: NodeName
    ends_at: float
    pods: asyncio.Future[PodList]


class PodLister:
    """Lists the pods of nodes for drains; nothing is listed unless `run` is running."""

    def __init__(
        self,
        list_pods: Callable[[Collection[NodeName]], Awaitable[Mapping[NodeName, PodList]]],
        *,
        limiter: PriorityLimiter,
        count_nodes: Callable[[], int],
    ) -> None:
        """Build the lister.

        Args:
            list_pods: Lists the pods of each of these nodes.
            limiter: Bounds the requests of all drains.
            count_nodes: Counts the nodes of the cluster.
        """
        self._list_pods = list_pods
        self._limiter = limiter
        self._count_nodes = count_nodes
        self._waiting: dict[_ListRequest, None] = {}
        self._prompt: set[asyncio.Task[None]] = set()
        self._shared: asyncio.Task[None] | None = None
        self._lists_together = True
        self._changed = asyncio.Event()

    async def pods_on(self, node_name: NodeName, *, ends_at: float) -> PodList:
        """List the pods of a node.

        Args:
            node_name: The node.
            ends_at: The deadline of the drain, on the loop's clock.

        Raises:
            TemporaryError: The list is not available now.
            PermanentError: The API server refuses it.
        """
        request = _ListRequest(node_name, ends_at, asyncio.get_running_loop().create_future())
        self._waiting[request] = None
        self._changed.set()
        try:
            return await request.pods
        finally:
            self._waiting.pop(request, None)

    async def run(self) -> None:
        """List pods whenever drains wait for them, until cancelled."""
        async with asyncio.TaskGroup() as lists:
            while True:
                await self._changed.wait()
                self._changed.clear()
                if self._awaits_shared:
                    continue
                limit = _AT_ONCE + len(self._waiting) // _WAITING_PER_LIST
                for request in itertools.islice(self._waiting, max(0, limit - len(self._prompt))):
                    listing = lists.create_task(self._list_next(request), name="list pods")
                    self._prompt.add(listing)
                    listing.add_done_callback(self._count_no_more)

    def _count_for_a_while(self, listing: "asyncio.Task[None]", *, is_shared: bool) -> None:
        if is_shared:
            self._shared = listing
        asyncio.get_running_loop().call_later(
            _SHARED_PROMPT_SECONDS if is_shared else _PROMPT_SECONDS, self._count_no_more, listing
        )

    def _count_no_more(self, listing: "asyncio.Task[None]") -> None:
        self._prompt.discard(listing)
        if self._shared is listing:
            self._shared = None
        self._changed.set()

    async def _list_next(self, oldest: _ListRequest) -> None:
        """Get a slot, and list the pods of the node that waits longest, or of all that wait."""
        listing = asyncio.current_task()
        assert listing is not None  # noqa: S101 - only for the types: a coroutine runs in a task
        try:
            async with self._limiter.slot(Priority.LIST, oldest.ends_at):
                if requests := self._take_next():
                    self._count_for_a_while(listing, is_shared=len(requests) > 1)
                    await self._answer(requests)
        except errors.TemporaryError as error:
            # There was no slot in time.
            _fail((oldest,), error)

    async def _answer(self, requests: Collection[_ListRequest]) -> None:
        try:
            lists = await self._list_pods({request.node_name for request in requests})
        except errors.QueueProcessorError as error:
            self._lists_together = self._lists_together and len(requests) == 1
            _fail(requests, error)
            return
        for request in requests:
            if not request.pods.done():
                request.pods.set_result(lists[request.node_name])
        # Not after a failure: those who list again are not waiting yet.
        self._lists_together = self._lists_together or not self._waiting

    @property
    def _may_share(self) -> bool:
        enough = max(_MANY, self._count_nodes() * _PART_OF_ALL)
        return self._lists_together and len(self._waiting) >= enough

    @property
    def _awaits_shared(self) -> bool:
        """True while the next list would be of the cluster, and such a list is under way."""
        return self._may_share and self._shared is not None

    def _take_next(self) -> Collection[_ListRequest]:
        """Take the requests that the next list answers; none while it has to wait."""
        if self._awaits_shared:
            return ()
        taken = tuple(itertools.islice(self._waiting, None if self._may_share else 1))
        for request in taken:
            del self._waiting[request]
        return taken


def _fail(requests: Collection[_ListRequest], error: errors.QueueProcessorError) -> None:
    for request in requests:
        if not request.pods.done():
            request.pods.set_exception(error)
