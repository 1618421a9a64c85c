"""Batches at a rate, until Ctrl-C, which takes effect between two batches."""

import contextlib
import math
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import TypeVar

from queue_processor.adapters.aws.batches import BATCH_SIZE

_Item = TypeVar("_Item")

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# A low rate is kept one by one, a high one in batches, this often a second.
_TICKS = 10.0


class StopSignal:
    """A request to stop. The first one waits for the end of the current step, the second does not.

    A lock could be held by the very code that the signal handler interrupts, so the handler sets
    no event. It writes to a socket, because `select` takes nothing else on Windows.
    """

    def __init__(self) -> None:
        self.is_requested = False
        self._reader, self._writer = socket.socketpair()

    def wait(self, seconds: float) -> bool:
        """Wait this long, or until a stop is requested; return true if it is."""
        if not self.is_requested and seconds > 0:
            select.select([self._reader], [], [], seconds)
        return self.is_requested

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal: note the first, raise KeyboardInterrupt for the second."""
        del number, frame
        if self.is_requested:
            raise KeyboardInterrupt
        self.is_requested = True
        self._writer.send(b"\0")

    def close(self) -> None:
        """Close the sockets."""
        self._reader.close()
        self._writer.close()


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopSignal]:
    """Turn SIGINT and SIGTERM into requests to stop while the context is open."""
    with contextlib.closing(StopSignal()) as stop:
        before = {number: signal.signal(number, stop.handle) for number in _SIGNALS}
        try:
            yield stop
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class RateLimiter:
    """Lets batches of up to ten items through at a rate (items a second)."""

    def __init__(self, rate: float, *, stop: StopSignal) -> None:
        self._rate = rate
        self._stop = stop
        self._next_at = time.monotonic()
        self.batch_size = min(max(math.ceil(rate / _TICKS), 1), BATCH_SIZE)

    def batches(
        self, items: Sequence[_Item], *, on_progress: Callable[[int], None]
    ) -> Iterator[Sequence[_Item]]:
        """Yield the items, each batch when it is due, until a stop is requested.

        Args:
            items: What is handled, batch by batch.
            on_progress: Called after each batch with the number of items handled so far.
        """
        for start in range(0, len(items), self.batch_size):
            if not self.wait():
                return
            batch = items[start : start + self.batch_size]
            yield batch
            self.consume(len(batch))
            on_progress(start + len(batch))

    def wait(self) -> bool:
        """Wait until the next batch is due; return false if a stop is requested instead."""
        return not self._stop.wait(self._next_at - time.monotonic())

    def consume(self, count: int) -> None:
        """Count items that went through. A delay is not made up for by a burst."""
        self._next_at = max(self._next_at, time.monotonic()) + count / self._rate
