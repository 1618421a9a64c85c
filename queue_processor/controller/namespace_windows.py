"""Windows for the evictions of each namespace, so that a slow one leaves slots for the others.

A webhook that hangs on one namespace must not slow down evictions in others. An eviction that is
not answered promptly waits for something that is not the API server, so it gives its slot back and
goes on without one. Each namespace has a window, as a TCP connection has: half of the slots at
first, and one more with every prompt answer; namespaces that answer late share one half. Waiters
behind a full window are parked there, outside of the heap, so an admission costs O(log n). A single
node is drained at once, a storm in one namespace has all slots after a few answers, and a namespace
that hangs holds half of them for a second. A fixed bound was rejected: it makes storms slower.
"""

import asyncio
import dataclasses
import heapq
from collections.abc import Sequence
from typing import TypeAlias

from queue_processor.controller.adaptive_limit import AdaptiveLimit
from queue_processor.controller.ranks import Rank

Heap: TypeAlias = "list[tuple[Rank, Waiter]]"


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Waiter:
    """A request that waits for a slot.

    Attributes:
        rank: Its place among all; the lowest is first.
        namespace: That of the pod, for an eviction.
        admitted: Set when it has a slot.
    """

    rank: Rank
    namespace: str | None
    admitted: asyncio.Future[None]


@dataclasses.dataclass(slots=True, eq=False)
class _Window:
    """The evictions of one namespace.

    Attributes:
        size: How many may be under way.
        under_way: How many are, with a slot or without.
        parked: Those that wait for the window.
    """

    size: int
    under_way: int = 0
    parked: Heap = dataclasses.field(default_factory=list)

    @property
    def has_room(self) -> bool:
        return self.under_way < self.size


class NamespaceWindows:
    """Bounds the evictions that are under way in each namespace."""

    def __init__(self, limit: AdaptiveLimit) -> None:
        self._limit = limit
        self._windows: dict[str, _Window] = {}
        self._late: set[str] = set()

    @property
    def has_prompt_waiters(self) -> bool:
        """True if evictions wait for a window that grows; one that is late may never grow."""
        windows = self._windows.items()
        return any(window.parked and name not in self._late for name, window in windows)

    def enter(self, waiter: Waiter) -> bool:
        """Take a place in the window of the waiter's namespace, or park the waiter there."""
        if waiter.namespace is None:
            return True
        window = self._windows.get(waiter.namespace)
        if window is None:
            window = self._windows[waiter.namespace] = _Window(self._half)
        if window.has_room:
            window.under_way += 1
            return True
        heapq.heappush(window.parked, (waiter.rank, waiter))
        return False

    def narrow(self, namespace: str) -> None:
        """Make the window of a namespace small, because an answer is late."""
        self._late.add(namespace)
        self._windows[namespace].size = max(1, self._half // len(self._late))

    def leave(self, namespace: str, *, is_late: bool | None = None) -> Sequence[Waiter]:
        """End an eviction, and return who may wait for a slot now.

        Args:
            namespace: Of the pod.
            is_late: Whether the answer was late; None: the namespace counts, there was no request.
        """
        window = self._windows[namespace]
        window.under_way -= 1
        if not (namespace in self._late if is_late is None else is_late):
            self._late.discard(namespace)
            window.size = min(window.size + 1, self._limit.slots)
        # One more, in case that the window has grown.
        unparked = (*self.unpark(namespace), *self.unpark(namespace))
        if not window.under_way and not window.parked:
            del self._windows[namespace]
            self._late.discard(namespace)
        return unparked

    def unpark(self, namespace: str | None) -> Sequence[Waiter]:
        """Return the next who is parked, if there is one, and room in the window."""
        window = None if namespace is None else self._windows.get(namespace)
        while window is not None and window.parked and window.has_room:
            _, waiter = heapq.heappop(window.parked)
            if not waiter.admitted.done():
                return (waiter,)
        return ()

    @property
    def _half(self) -> int:
        return max(1, self._limit.slots // 2)
