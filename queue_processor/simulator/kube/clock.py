"""Delays on the running loop, and clocks for the timestamps in objects."""

import asyncio
import dataclasses
import datetime as dt
from collections.abc import Callable, Collection, Hashable
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT", bound="Hashable")


def utc_now() -> dt.datetime:
    """Real time."""
    return dt.datetime.now(dt.UTC)


def stamp(moment: dt.datetime) -> str:
    """A moment as ``metadata.creationTimestamp`` writes it: seconds, in UTC."""
    return moment.isoformat(timespec="seconds")[:19] + "Z"


def parse_stamp(text: str) -> dt.datetime:
    """The moment of a timestamp in an object."""
    return dt.datetime.fromisoformat(text)


class LoopClock:
    """UTC time that advances with the running loop: for tests in virtual time.

    Before a loop runs it stands at ``start``, and it counts from the first reading in a loop.
    """

    def __init__(self, start: dt.datetime) -> None:
        self._start = start
        self._zero: float | None = None

    def __call__(self) -> dt.datetime:
        """The moment now."""
        try:
            elapsed = asyncio.get_running_loop().time()
        except RuntimeError:
            return self._start
        if self._zero is None:
            self._zero = elapsed
        return self._start + dt.timedelta(seconds=elapsed - self._zero)


@dataclasses.dataclass(frozen=True, slots=True)
class Delays:
    """How fast the simulated cluster is, in seconds of the loop's clock."""

    #: From being bound to Running and Ready, unless the pod's annotation overrides it.
    startup_seconds: float = 0.5
    #: From SIGTERM to the end of the containers, unless the pod's annotation overrides it.
    exit_seconds: float = 1.0
    #: How far the status of disruption budgets lags behind the pods.
    budget_lag_seconds: float = 0.02
    #: From the death of a kubelet to the Ready condition Unknown; 50 s in a real cluster.
    node_grace_seconds: float = 0.0
    #: From the removal of a Node to the removal of the pods on it; at least 40 s in a real cluster.
    orphan_seconds: float = 40.0
    #: From the end of the last pod that used a volume on a node to its detachment.
    detach_seconds: float = 1.0
    #: The same when the node is not Ready and not marked out of service.
    unsafe_detach_seconds: float = 360.0


class Timer:
    """An action in the future; ``cancel`` may come at any time, also after it ran."""

    def __init__(self, delay: float, action: Callable[[], None]) -> None:
        self.delay = delay
        self._action = action
        self._handle: asyncio.Handle | None = None
        self._cancelled = False

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Count from now on."""
        if not self._cancelled and self.delay > 0:
            self._handle = loop.call_later(self.delay, self._action)
        elif not self._cancelled:
            self._handle = loop.call_soon(self._action)

    def cancel(self) -> None:
        """Forget the action."""
        self._cancelled = True
        if self._handle is not None:
            self._handle.cancel()


class Timers:
    """Starts timers on the running loop, or keeps them until there is one.

    A world may be seeded before the loop runs: what is due then starts with ``wake``.
    """

    def __init__(self) -> None:
        self._waiting: list[Timer] = []

    def later(self, seconds: float, action: Callable[[], None]) -> Timer:
        """Call ``action`` after ``seconds`` of the loop's time."""
        timer = Timer(seconds, action)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._waiting.append(timer)
        else:
            self.wake()
            timer.start(loop)
        return timer

    def wake(self) -> None:
        """Start what was asked for before the loop ran; nothing while it still does not run."""
        if not self._waiting:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        waiting, self._waiting = self._waiting, []
        for timer in waiting:
            timer.start(loop)


class WorkQueue(Generic[KeyT]):
    """Keys that wait to be worked on together, each once, in the order of their coming."""

    def __init__(
        self, timers: Timers, work: Callable[[Collection[KeyT]], None], seconds: float = 0.0
    ) -> None:
        self._timers = timers
        self._work = work
        self._seconds = seconds
        self._keys: dict[KeyT, None] = {}

    def add(self, key: KeyT) -> None:
        """Work on the key soon: after ``seconds`` from the first key of the batch."""
        if self._keys:
            self._timers.wake()
        else:
            self._timers.later(self._seconds, self._run)
        self._keys[key] = None

    def _run(self) -> None:
        keys, self._keys = self._keys, {}
        self._work(keys)
