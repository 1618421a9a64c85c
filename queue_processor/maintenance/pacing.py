"""So many a second, and not faster."""

import datetime as dt
import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from queue_processor.adapters.aws.batches import BATCH_SIZE
from queue_processor.domain import errors
from queue_processor.maintenance.stopping import Stop

_Item = TypeVar("_Item")

_RATE = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(?:/(s|min))?", re.ASCII)
_SPAN = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(s|min|h|d)?", re.ASCII)
_SECONDS_IN = {None: 1, "s": 1, "min": 60, "h": 3_600, "d": 86_400}
_LONGEST_SECONDS = 366 * 86_400
# A slow pace is kept one by one, a quick one in batches, this often a second.
_TICKS = 10.0


def rate(text: str) -> float:
    """Read `50/s`, `90/min` or `50`: how many a second.

    Raises:
        UsageError: It is something else, or zero.
    """
    found = _RATE.fullmatch(text)
    a_second = 0.0 if found is None else float(found[1]) / _SECONDS_IN[found[2]]
    if a_second <= 0:
        raise errors.UsageError(f"{text!r} is no rate such as 50/s or 90/min")
    return a_second


def span(text: str) -> dt.timedelta:
    """Read `30s`, `5min`, `2h`, `14d` or `30`: how long.

    Raises:
        UsageError: It is something else, or longer than a year.
    """
    found = _SPAN.fullmatch(text)
    seconds = None if found is None else float(found[1]) * _SECONDS_IN[found[2]]
    if seconds is None or seconds > _LONGEST_SECONDS:
        raise errors.UsageError(f"{text!r} is no time such as 30s, 5min, 2h or 14d")
    return dt.timedelta(seconds=seconds)


class Pace:
    """Lets batches through at a rate."""

    def __init__(self, a_second: float, *, stop: Stop) -> None:
        self._a_second = a_second
        self._stop = stop
        self._next_at = time.monotonic()
        self.batch_size = min(max(math.ceil(a_second / _TICKS), 1), BATCH_SIZE)

    def batches(
        self, items: Sequence[_Item], *, told: Callable[[int], None]
    ) -> Iterator[Sequence[_Item]]:
        """The items, each batch in its turn, until somebody asks for the end.

        Args:
            items: What is dealt with, batch by batch.
            told: Is told how many have been dealt with, after each batch.
        """
        for start in range(0, len(items), self.batch_size):
            if not self.wait():
                return
            batch = items[start : start + self.batch_size]
            yield batch
            self.passed(len(batch))
            told(start + len(batch))

    def wait(self) -> bool:
        """Wait for the next turn; false when somebody asked for the end instead."""
        return not self._stop.wait(self._next_at - time.monotonic())

    def passed(self, count: int) -> None:
        """So many have gone; what was late is not made up for by a burst."""
        self._next_at = max(self._next_at, time.monotonic()) + count / self._a_second
