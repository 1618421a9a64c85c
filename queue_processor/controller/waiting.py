"""Ways to wait: for a change, and for several coroutines that have to end together."""

import asyncio
import contextlib
import datetime as dt
from collections.abc import Collection, Coroutine, Iterable
from typing import Any, TypeVar

_Result = TypeVar("_Result")


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


class OneTimeEvent:
    """An `asyncio.Event` for one waiter that is never cleared, in a tenth of its memory.

    There is one for each pod that is evicted, and hardly any of them waits at the same time.
    """

    __slots__ = ("_is_set", "_waiter")

    def __init__(self) -> None:
        self._is_set = False
        self._waiter: asyncio.Future[None] | None = None

    def is_set(self) -> bool:
        """Return True once it has been set."""
        return self._is_set

    def set(self) -> None:
        """Wake the waiter, and let none wait again."""
        self._is_set = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self) -> None:
        """Return once it has been set."""
        if not self._is_set:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter


class Turnstile:
    """Lets a few tasks pass in each iteration of the event loop.

    The loop runs all that is ready before it looks at its sockets again. Thousands of pods may be
    due in the same moment, and a millisecond for each of them would keep a leader from renewing its
    Lease.
    """

    def __init__(self, *, at_once: int) -> None:
        self._turns = asyncio.Semaphore(at_once)

    async def pass_through(self) -> None:
        """Return at once if few come together, else some iterations later."""
        async with self._turns:
            await asyncio.sleep(0)


async def gathered(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run coroutines side by side until all of them have ended, then raise the first error.

    A task group would cancel the others at the first error, and hide what it was in a group.
    """
    tasks = [asyncio.create_task(work) for work in works]
    try:
        if tasks:
            await asyncio.wait(tasks)
    finally:
        await end(tasks)
    results_of(tasks)


def results_of(tasks: Collection[asyncio.Task[_Result]]) -> list[_Result]:
    """Return the results of tasks that have ended, or raise the first of their errors."""
    # Looks at each, so that none of their errors is one that nobody has seen.
    failures = [error for task in tasks if (error := task.exception()) is not None]
    if failures:
        raise failures[0]
    return [task.result() for task in tasks]


async def to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine to its end, even if the caller is cancelled meanwhile.

    The cancellation is raised afterwards. The work has to bound itself.
    """
    task = asyncio.create_task(work)
    cancellation: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError as cancelled:
            cancellation = cancelled
    task.result()
    if cancellation is not None:
        raise cancellation


async def end(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel tasks, and wait until they have ended."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
