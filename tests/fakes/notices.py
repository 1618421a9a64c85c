"""A source of events that is not a queue: notices in memory, without receipts and without JSON.

Think of an agent on each node that writes what it learns to the Node object.
"""

import asyncio
import dataclasses
import datetime as dt
from collections.abc import Sequence

from queue_processor.controller import ports
from queue_processor.domain import errors
from queue_processor.domain.events import InterruptionEvent

_LONGEST_WAIT_SECONDS = 20.0
_SHORTEST_WAIT_SECONDS = 0.001


@dataclasses.dataclass(slots=True, eq=False)
class Notice:
    """One notice, and what has happened to it."""

    id: str
    event: InterruptionEvent | None
    sent_at: dt.datetime
    available_at: float
    receive_count: int = 0
    is_open: bool = False
    rejected: str | None = None


class NoticeDelivery:
    """A notice that somebody works on."""

    is_lost = False

    def __init__(self, board: "NoticeBoard", notice: Notice) -> None:
        self._board = board
        self._notice = notice
        self.id = notice.id
        self.sent_at = notice.sent_at
        self.receive_count = notice.receive_count

    def read(self) -> InterruptionEvent:
        if self._notice.event is None:
            raise errors.MalformedMessage("the notice is empty")
        return self._notice.event

    async def acknowledge(self) -> None:
        self._board.raise_if_failing("acknowledge")
        del self._board.notices[self.id]

    async def release(self, after: dt.timedelta) -> None:
        self._notice.available_at = asyncio.get_running_loop().time() + after.total_seconds()

    async def reject(self, reason: str) -> None:
        self._notice.rejected = reason
        self._board.rejected.append((self.id, reason))

    def close(self) -> None:
        self._notice.is_open = False
        self._board.changed.set()


class NoticeBoard:
    """The notices.

    Attributes:
        notices: Those that are not acknowledged, by id.
        rejected: Ids and reasons of those that could not be understood.
        failures: What the next calls raise, by their names.
    """

    name = "notices"
    longest_receive = dt.timedelta(seconds=_LONGEST_WAIT_SECONDS)

    def __init__(self, clock: ports.Clock) -> None:
        self._clock = clock
        self.notices: dict[str, Notice] = {}
        self.rejected: list[tuple[str, str]] = []
        self.failures: dict[str, list[Exception]] = {}
        self.changed = asyncio.Event()

    def put(self, event: InterruptionEvent | None) -> Notice:
        """Put up a notice; one without an event cannot be understood."""
        notice = Notice(
            id=f"notice-{len(self.notices)}",
            event=event,
            sent_at=self._clock(),
            available_at=asyncio.get_running_loop().time(),
        )
        self.notices[notice.id] = notice
        self.changed.set()
        return notice

    def raise_if_failing(self, call: str) -> None:
        failures = self.failures.get(call)
        if failures:
            raise failures.pop(0)

    async def receive(self) -> Sequence[NoticeDelivery]:
        self.raise_if_failing("receive")
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + _LONGEST_WAIT_SECONDS
        while True:
            self.changed.clear()
            now = loop.time()
            closed = [notice for notice in self.notices.values() if not notice.is_open]
            available = [notice for notice in closed if notice.available_at <= now]
            if available or now >= ends_at:
                return [self._deliver(notice) for notice in available]
            next_at = min((notice.available_at for notice in closed), default=ends_at)
            try:
                # Shorter than its resolution, a virtual clock stands still.
                async with asyncio.timeout(
                    max(min(ends_at, next_at) - now, _SHORTEST_WAIT_SECONDS)
                ):
                    await self.changed.wait()
            except TimeoutError:
                continue

    def _deliver(self, notice: Notice) -> NoticeDelivery:
        notice.is_open = True
        notice.receive_count += 1
        return NoticeDelivery(self, notice)

    async def run(self) -> None:
        await asyncio.get_running_loop().create_future()

    async def count_waiting(self) -> int:
        return sum(not notice.is_open for notice in self.notices.values())
