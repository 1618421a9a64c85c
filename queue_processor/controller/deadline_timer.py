"""A deadline on the loop's own clock, which can only come nearer."""

import asyncio
import datetime as dt

from queue_processor.controller import ports
from queue_processor.domain.deadlines import Deadline


class Pulse:
    """Wakes everybody who waits for something to change."""

    def __init__(self) -> None:
        self._waiters: set[asyncio.Future[None]] = set()

    @property
    def is_awaited(self) -> bool:
        """Whether anybody waits."""
        return bool(self._waiters)

    def fire(self) -> None:
        """Wake all who wait now."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, limit: dt.timedelta | None = None) -> None:
        """Wait for the next change, or until the limit."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await asyncio.wait(
                (waiter,), timeout=None if limit is None else max(limit.total_seconds(), 0.0)
            )
        finally:
            self._waiters.discard(waiter)


class DeadlineTimer:
    """What is left until a deadline.

    A deadline is a wall-clock time, set by AWS. It is read against the wall clock once;
    from then on the loop's monotonic clock counts, so a clock that is set back or forth
    in the middle of a drain changes nothing.

    Attributes:
        deadline: The one that rules now.
        changed: Fires when another deadline takes over.
    """

    def __init__(self, deadline: Deadline, *, clock: ports.Clock) -> None:
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self.deadline = deadline
        self._ends_at = self._on_loop(deadline)
        self.changed = Pulse()

    def _on_loop(self, deadline: Deadline) -> float:
        return self._loop.time() + (deadline.at - self._clock()).total_seconds()

    @property
    def left(self) -> dt.timedelta:
        """Until the deadline; negative after it."""
        return dt.timedelta(seconds=self._ends_at - self._loop.time())

    @property
    def ends_at(self) -> float:
        """The deadline on the loop's clock."""
        return self._ends_at

    @property
    def is_over(self) -> bool:
        """Whether the deadline has passed."""
        return self.left <= dt.timedelta()

    def tighten(self, deadline: Deadline) -> bool:
        """Take over another event's deadline where it rules; tells whether it does."""
        ruling = self.deadline.tightened_by(deadline)
        if ruling == self.deadline:
            return False
        self.deadline = ruling
        self._ends_at = self._on_loop(ruling)
        self.changed.fire()
        return True
