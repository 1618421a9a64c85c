"""An event loop in virtual time, on which a run repeats exactly.

asyncio's own loop does all the work. Instead of waiting for sockets, it moves its clock to the next
timer, so hours take milliseconds. Two things would differ from run to run, and are set right here:

- Sets of tasks iterate by address: in `asyncio.TaskGroup`, which cancels its tasks in that order,
  and in `asyncio.wait`. A task of this loop is hashed by the number of its creation.
- The garbage collector closes abandoned generators at some time. It is off while the loop runs.
"""

import asyncio
import contextlib
import gc
from collections.abc import Callable, Coroutine, Generator, Iterator
from typing import Any, TypeVar

_Result = TypeVar("_Result")

_RESOLUTION_SECONDS = 1e-9
# Of the loop, not of time: work that goes round and round without an end stops there.
_MOST_ROUNDS = 2_000_000


class EndlessLoopError(Exception):
    """The program is busy without an end, or waits for something that cannot come."""


class NumberedTask(asyncio.Task[Any]):
    """A task whose place in a set does not depend on its address."""

    def __init__(
        self,
        number: int,
        coroutine: Coroutine[Any, Any, Any],
        *,
        loop: asyncio.AbstractEventLoop,
        **options: Any,  # noqa: ANN401 - those of a task, which differ between versions of Python
    ) -> None:
        # First: a task registers itself in a set as soon as it is made.
        self._number = number
        super().__init__(coroutine, loop=loop, **options)

    def __hash__(self) -> int:
        return self._number


class _NoSockets:
    """Takes the place of a selector: waits by moving the clock."""

    def __init__(self, loop: "VirtualLoop") -> None:
        self._loop = loop

    def select(self, seconds: float | None) -> list[object]:
        self._loop.advance(seconds)
        return []


class VirtualLoop(asyncio.BaseEventLoop):
    """A loop whose time stands still while there is something to do.

    Attributes:
        unhandled: What nobody was there to handle, such as the error of a task.
        rounds: How often it has looked for work.
    """

    def __init__(self) -> None:
        super().__init__()
        self._clock_resolution = _RESOLUTION_SECONDS
        self._selector = _NoSockets(self)
        self._now = 0.0
        self._tasks_made = 0
        self.rounds = 0
        self.unhandled: list[str] = []
        self.set_task_factory(self._make_task)
        self.set_exception_handler(self._note)

    def time(self) -> float:
        """Return the virtual time, in seconds since the start."""
        return self._now

    def advance(self, seconds: float | None) -> None:
        """Let so much time pass; None: there is nothing to wait for."""
        self.rounds += 1
        if seconds is None:
            raise EndlessLoopError("everything waits for something that cannot come")
        if self.rounds > _MOST_ROUNDS:
            raise EndlessLoopError(f"still busy after {_MOST_ROUNDS} rounds")
        self._now += seconds

    def _make_task(
        self,
        loop: asyncio.AbstractEventLoop,
        coroutine: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
        **options: Any,  # noqa: ANN401 - those of a task
    ) -> NumberedTask:
        assert isinstance(coroutine, Coroutine)
        self._tasks_made += 1
        return NumberedTask(self._tasks_made, coroutine, loop=loop, **options)

    def _note(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.unhandled.append(f"{context['message']}: {context.get('exception')!r}")

    def _check_closed(self) -> None:
        """Accept what calls that were left behind still schedule; it is not run."""

    def _process_events(self, _: list[object]) -> None:
        """Do nothing: there are no sockets."""

    def _write_to_self(self) -> None:
        """Do nothing: there are no other threads to wake this one."""


def run(main: Callable[[VirtualLoop], Coroutine[Any, Any, _Result]]) -> _Result:
    """Run a coroutine on a loop of its own, until everything that it started has ended."""
    loop = VirtualLoop()
    with _without_garbage_collection():
        try:
            return loop.run_until_complete(main(loop))
        finally:
            _end_all(loop)
            loop.close()


def _end_all(loop: VirtualLoop) -> None:
    """Cancel what is left, as `asyncio.run` does; what does not end then is left behind.

    Tasks without a name are left behind at once: they are calls of AWS, which stand for threads. A
    thread that waits for the call of another one, as a real thread may, would stop the whole loop.
    """
    named = [task for task in asyncio.all_tasks(loop) if not task.get_name().startswith("Task-")]
    for task in sorted(named, key=hash):
        task.cancel()
    with contextlib.suppress(EndlessLoopError):
        if named:
            loop.run_until_complete(asyncio.wait(named, timeout=60))


@contextlib.contextmanager
def _without_garbage_collection() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
