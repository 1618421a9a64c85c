"""A signal that something has changed, for all who wait for that."""

import asyncio
import contextlib
import datetime as dt


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
