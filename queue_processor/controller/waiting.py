"""The two things a drain waits for: its deadline, which only comes nearer, and a change."""

import asyncio
import contextlib
import datetime as dt

from queue_processor.controller.ports import Clock
from queue_processor.domain.deadlines import Deadline


class ChangeSignal:
    """Wakes all who wait for the next change.

    Like `asyncio.Condition` without its lock: on one event loop nothing can change between a
    look at the state and the wait, and those who change it need not be coroutines. Waiters wake
    in the order in which they came, so that runs in virtual time repeat exactly. A waiter looks
    at the state again after each wait, since a signal carries no value.
    """

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._waiters = 0

    @property
    def has_waiters(self) -> bool:
        """True while there are waiters."""
        return self._waiters > 0

    def notify_all(self) -> None:
        """Wake all who wait now; those who come later wait for the next change."""
        self._event.set()
        self._event.clear()

    async def wait(self, limit: dt.timedelta | None = None) -> None:
        """Wait for the next change, or until the limit."""
        self._waiters += 1
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if limit is None else limit.total_seconds()):
                    await self._event.wait()
        finally:
            self._waiters -= 1


class DeadlineTimer:
    """The time left until a deadline.

    A deadline is a wall-clock time, set by AWS. It is read against the wall clock once;
    from then on the loop's monotonic clock counts, so a clock that is set back or forth
    in the middle of a drain changes nothing.

    Attributes:
        deadline: The one that rules now.
    """

    def __init__(self, deadline: Deadline, *, clock: Clock) -> None:
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self.deadline = deadline
        self._ends_at = self._on_loop(deadline)

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
        """True once the deadline has passed."""
        return self.left <= dt.timedelta()

    def tighten(self, deadline: Deadline) -> bool:
        """Take over another event's deadline where it rules; return True if it does."""
        ruling = self.deadline.tightened_by(deadline)
        if ruling == self.deadline:
            return False
        self.deadline = ruling
        self._ends_at = self._on_loop(ruling)
        return True
