"""Lets a bounded number of requests run at once, the most urgent first."""

import asyncio
import contextlib
import enum
import heapq
import itertools
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

from queue_processor.domain import errors


class Priority(enum.IntEnum):
    """What a request is for, the most urgent first."""

    CORDON = 0
    ENDING = 1
    DRAIN = 2
    PROGRESS = 3


class _Urgency(NamedTuple):
    """What is served first; compared from the first field to the last."""

    priority: Priority
    ends_at: float
    opens: bool


class PriorityLimiter:
    """A semaphore whose waiters are served by urgency.

    What is scarce is requests, not drains: a drain that waits for a budget holds no
    place here, and a cordon never waits for one.
    """

    def __init__(self, places: int, *, may_write: Callable[[], bool]) -> None:
        """Build the limiter.

        Args:
            places: How many requests may run at once.
            may_write: Whether this process leads; asked right before every request.
        """
        self._free = places
        self._may_write = may_write
        self._waiting: list[tuple[_Urgency, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    @contextlib.asynccontextmanager
    async def slot(
        self, priority: Priority, ends_at: float, *, opens: bool = False
    ) -> AsyncIterator[None]:
        """Hold a place while the request runs.

        Args:
            priority: What the request is for.
            ends_at: The deadline of the drain, on the loop's clock.
            opens: Whether the request opens a drain. Those that go on with one come first, so
                that of nodes with one deadline some are done early, and not all of them late.

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
        turn = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (urgency, next(self._order), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave()
            raise

    def _leave(self) -> None:
        while self._waiting:
            _, _, turn = heapq.heappop(self._waiting)
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
