"""A semaphore that admits waiters by priority.

Every request of a drain passes here. In a storm, thousands of evictions wait at once, and a cordon
that queued behind them would come too late: the scheduler would go on placing pods on nodes that
are about to go. So cordons come first, then what ends a drain, then evictions by their deadline.

What is scarce is requests, not drains: a drain that waits for a budget holds no slot. A limit on
drains, with a queue of nodes, was rejected for that reason.
"""

import asyncio
import contextlib
import enum
import heapq
import itertools
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

from queue_processor.domain import errors


class Priority(enum.IntEnum):
    """The purposes of requests, the most urgent first."""

    CORDON = 0
    ENDING = 1
    DRAIN = 2
    PROGRESS = 3


class _Urgency(NamedTuple):
    """The order of waiters; compared from the first field to the last."""

    priority: Priority
    ends_at: float
    opens: bool


class PriorityLimiter:
    """A semaphore whose waiters are served by urgency."""

    def __init__(self, slots: int, *, may_write: Callable[[], bool]) -> None:
        """Build the limiter.

        Args:
            slots: How many requests may run at once.
            may_write: True while this process leads; called right before every request.
        """
        self._free = slots
        self._may_write = may_write
        self._waiting: list[tuple[_Urgency, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    @contextlib.asynccontextmanager
    async def slot(
        self, priority: Priority, ends_at: float, *, opens: bool = False
    ) -> AsyncIterator[None]:
        """Hold a slot while the request runs.

        Args:
            priority: What the request is for.
            ends_at: The deadline of the drain, on the loop's clock.
            opens: True for the request that opens a drain. Those that go on with one come first,
                so that of nodes with one deadline some are done early, and not all of them late.

        Raises:
            TemporaryError: This process does not lead any more.
        """
        await self._enter(_Urgency(priority, ends_at, opens))
        try:
            if not self._may_write():
                raise errors.TemporaryError("leadership is lost: nothing is written")
            yield
        finally:
            self._leave()

    async def _enter(self, urgency: _Urgency) -> None:
        if self._free > 0:
            self._free -= 1
            return
        admitted = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (urgency, next(self._order), admitted))
        try:
            await admitted
        except asyncio.CancelledError:
            if admitted.done() and not admitted.cancelled():
                self._leave()
            raise

    def _leave(self) -> None:
        while self._waiting:
            _, _, admitted = heapq.heappop(self._waiting)
            if not admitted.done():
                admitted.set_result(None)
                return
        self._free += 1
