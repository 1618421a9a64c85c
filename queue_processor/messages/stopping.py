"""Ctrl-C, taken between two steps and not in the middle of one."""

import contextlib
import os
import select
import signal
from collections.abc import Iterator
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Whether somebody asked for the end; a second request does not wait for a good moment."""

    def __init__(self) -> None:
        self.is_asked = False
        # A handler may write to a pipe at any moment, but take no lock.
        self._reader, self._writer = os.pipe()

    def wait(self, seconds: float) -> bool:
        """Wait this long, or until the end is asked for; whether it is."""
        if not self.is_asked and seconds > 0:
            select.select([self._reader], [], [], seconds)
        return self.is_asked

    def take(self, number: int, frame: FrameType | None) -> None:
        """Note the first signal; the second interrupts."""
        del number, frame
        if self.is_asked:
            raise KeyboardInterrupt
        self.is_asked = True
        os.write(self._writer, b"\0")

    def close(self) -> None:
        """Give the pipe back."""
        os.close(self._reader)
        os.close(self._writer)


@contextlib.contextmanager
def on_signals() -> Iterator[Stop]:
    """Take SIGINT and SIGTERM as requests to stop, for as long as this lasts."""
    stop = Stop()
    before = {number: signal.signal(number, stop.take) for number in _SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        stop.close()
