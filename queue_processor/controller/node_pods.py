"""The pods that a drain has to move, kept current for as long as it lasts."""

import asyncio
import datetime as dt
from collections import defaultdict
from collections.abc import Callable

from queue_processor.controller.pod_watcher import PodWatcher, Subscription
from queue_processor.controller.waiting import OneTimeEvent
from queue_processor.domain import errors, pods
from queue_processor.domain.identifiers import NodeName
from queue_processor.domain.pods import PodChange, PodView
from queue_processor.observability import metrics
from queue_processor.retrying import retrying

# What is refused now need not be refused later; the deadline of the drain bounds the attempts.
_ANY_FAILURE = (errors.QueueProcessorError,)


class NodePods:
    """Follows the pods of one node; those the scheduler binds late are caught.

    Attributes:
        left: The pods that have to go and are still there, by UID.
        staying: The pods that stay on the node, by UID.
        is_listed: True once `left` is a statement about the node and not about us.
        list_failure: Why they are not listed yet.
    """

    def __init__(
        self,
        node_name: NodeName,
        *,
        watcher: PodWatcher,
        ends_at: Callable[[], float],
        time_left: Callable[[], dt.timedelta],
        on_change: Callable[[], None],
        on_arrival: Callable[[PodView], None],
    ) -> None:
        """Build the set.

        Args:
            node_name: Whose pods.
            watcher: Where they are listed and watched.
            ends_at: The deadline of the drain, on the loop's clock.
            time_left: Until the deadline of the drain.
            on_change: Called whenever `left` has changed.
            on_arrival: Called once for every pod that has to go.
        """
        self._node_name = node_name
        self._watcher = watcher
        self._ends_at = ends_at
        self._time_left = time_left
        self._on_change = on_change
        self._on_arrival = on_arrival
        self._seen: set[str] = set()
        self._gone: set[str] = set()
        self._departures: defaultdict[str, OneTimeEvent] = defaultdict(OneTimeEvent)
        self._outdated = asyncio.Event()
        self.is_listed = False
        self.list_failure = "the list has not been answered, or has not had its turn"
        self.left: dict[str, PodView] = {}
        self.staying: dict[str, PodView] = {}

    @property
    def seen(self) -> int:
        """Return the number of evictable pods seen so far."""
        return len(self._seen)

    def departure_of(self, uid: str) -> OneTimeEvent:
        """Return the event of a pod that the list or the watch shows as terminating, or gone."""
        return self._departures[uid]

    async def follow(self) -> None:
        """List once, then take in what changes, until cancelled; list again after each gap."""
        subscription = Subscription(
            self._node_name, on_change=self._take_change, on_gap=self._outdated.set
        )
        with self._watcher.subscribed(subscription):
            while True:
                self._outdated.clear()
                async for attempt in retrying(
                    metrics.Call.LIST_PODS, time_left=self._time_left, on=_ANY_FAILURE
                ):
                    with attempt:
                        await self._try_to_list()
                await self._outdated.wait()

    async def _try_to_list(self) -> None:
        try:
            await self._list()
        except errors.QueueProcessorError as error:
            self.list_failure = str(error)
            raise

    async def _list(self) -> None:
        # Those that come while the list is on its way may be newer than it.
        before = set(self.left)
        listed = await self._watcher.pods_on(self._node_name, ends_at=self._ends_at())
        for uid in before - {pod.ref.uid for pod in listed.pods}:
            self.left.pop(uid, None)
            self._departures[uid].set()
        for pod in listed.pods:
            self._take(pod, is_gone=False)
        self.is_listed = True
        self._on_change()

    def _take_change(self, change: PodChange) -> None:
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
        if is_gone or not verdict.is_moved or pod.is_terminating:
            self._departures[uid].set()
        if is_gone or not verdict.is_moved:
            if self.left.pop(uid, None) is not None:
                self._on_change()
            return
        self.left[uid] = pod
        if uid not in self._seen:
            self._seen.add(uid)
            self._on_arrival(pod)
