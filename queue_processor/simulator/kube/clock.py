"""Delays on the running loop, and clocks for the timestamps in objects."""

import asyncio
import dataclasses
import datetime as dt
from collections.abc import Callable, Collection, Hashable
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT", bound="Hashable")


@dataclasses.dataclass(frozen=True, slots=True)
class Delays:
    """Delays of the simulated cluster, in seconds of the loop's clock."""

    #: From being bound to Running and Ready, unless the pod's annotation overrides it.
    startup_seconds: float = 0.5
    #: From SIGTERM to the end of the containers, unless the pod's annotation overrides it.
    exit_seconds: float = 1.0
    #: How far the status of disruption budgets lags behind the pods.
    budget_lag_seconds: float = 0.02
    #: From the removal of a Node to the removal of the pods on it; at least 40 s in a real cluster.
    orphan_seconds: float = 40.0
    #: From the end of the last pod that used a volume on a node to its detachment.
    detach_seconds: float = 1.0
    #: The same when the node is not Ready and not marked out of service.
    unsafe_detach_seconds: float = 360.0


def utc_now() -> dt.datetime:
    """Return the real time."""
    return dt.datetime.now(dt.UTC)


def stamp(moment: dt.datetime) -> str:
    """Format a moment as ``metadata.creationTimestamp`` does: in seconds, UTC."""
    return moment.isoformat(timespec="seconds")[:19] + "Z"


def parse_stamp(text: str) -> dt.datetime:
    """Parse a timestamp of an object."""
    return dt.datetime.fromisoformat(text)


class LoopClock:
    """UTC time that advances with the running loop: for tests in virtual time.

    Before a loop runs it stands at ``start``, and it counts from the first reading in a loop.
    """

    def __init__(self, start: dt.datetime) -> None:
        self._start = start
        self._zero: float | None = None

    def __call__(self) -> dt.datetime:
        """Return the time now."""
        try:
            elapsed = asyncio.get_running_loop().time()
        except RuntimeError:
            return self._start
        if self._zero is None:
            self._zero = elapsed
        return self._start + dt.timedelta(seconds=elapsed - self._zero)


def later(seconds: float, action: Callable[[], None]) -> asyncio.Handle:
    """Call ``action`` after ``seconds`` on the running loop."""
    loop = asyncio.get_running_loop()
    return loop.call_later(seconds, action) if seconds > 0 else loop.call_soon(action)


class WorkQueue(Generic[KeyT]):
    """Collects keys and hands them to a controller together, each once, in order.

    The batch runs ``seconds`` after its first key came.
    """

    def __init__(self, work: Callable[[Collection[KeyT]], None], seconds: float = 0.0) -> None:
        self._work = work
        self._seconds = seconds
        self._keys: dict[KeyT, None] = {}

    def add(self, key: KeyT) -> None:
        """Add a key to the batch."""
        if not self._keys:
            later(self._seconds, self._run)
        self._keys[key] = None

    def _run(self) -> None:
        keys, self._keys = self._keys, {}
        self._work(keys)
