"""A queue in memory, on the loop's clock, as strict as SQS where the program depends on it."""

import asyncio
import dataclasses
import datetime as dt
import itertools
import json
from collections.abc import Mapping, Sequence

from queue_processor.controller import ports
from queue_processor.domain import errors
from queue_processor.domain.messages import ReceivedMessage

BATCH = 10
LONG_POLL = 20.0
LONGEST_INVISIBILITY = 43_200.0


@dataclasses.dataclass(slots=True)
class _Stored:
    message_id: str
    body: str
    sent_at: dt.datetime
    visible_at: float
    first_received_at: dt.datetime | None = None
    received_at: float = 0.0
    receive_count: int = 0
    handle: str = ""


class FakeQueue:
    """The queue itself; each process talks to it through a `FakeQueueClient`.

    Attributes:
        dead_letters: Bodies and reasons on the dead-letter queue.
        deleted: Ids of deleted messages, in order.
        delay: How long deletions and changes of visibility are on their way, in seconds.
    """

    def __init__(self, *, clock: ports.Clock, visibility_timeout: float = 30.0) -> None:
        self._clock = clock
        self.visibility_timeout = visibility_timeout
        self._messages: dict[str, _Stored] = {}
        self._handles: set[str] = set()
        self._numbers = itertools.count(1)
        self._changed = asyncio.Condition()
        self.has_dead_letter_queue = True
        self.dead_letters: list[tuple[str, str]] = []
        self.deleted: list[str] = []
        self.delay = 0.0
        self.failures: dict[str, list[Exception]] = {}
        self.calls: list[tuple[str, float]] = []

    def send(self, body: str | Mapping[str, object], *, message_id: str | None = None) -> str:
        """Put a message on the queue; its id."""
        text = body if isinstance(body, str) else json.dumps(body)
        message_id = message_id or f"message-{next(self._numbers)}"
        now = asyncio.get_running_loop().time()
        self._messages[message_id] = _Stored(message_id, text, self._clock(), now)
        asyncio.get_running_loop().call_soon(self._wake)
        return message_id

    def fail(self, call: str, *faults: Exception) -> None:
        """Let the next calls fail: any method of the queue's port."""
        self.failures.setdefault(call, []).extend(faults)

    @property
    def left(self) -> int:
        """How many messages there are, visible or not."""
        return len(self._messages)

    @property
    def visible(self) -> int:
        """How many messages a receive would find now."""
        now = asyncio.get_running_loop().time()
        return sum(stored.visible_at <= now for stored in self._messages.values())

    def receive_count(self, message_id: str) -> int:
        """How often a message that is still there was received."""
        return self._messages[message_id].receive_count

    def hidden_for(self, message_id: str) -> float:
        """How long a message stays invisible, in seconds."""
        return self._messages[message_id].visible_at - asyncio.get_running_loop().time()

    def make_visible(self, message_id: str) -> None:
        """Let a message reappear while somebody has it in hand."""
        self._messages[message_id].visible_at = asyncio.get_running_loop().time()
        self._wake()

    def _wake(self) -> None:
        async def notify() -> None:
            async with self._changed:
                self._changed.notify_all()

        self._notifying = asyncio.ensure_future(notify())

    async def receive(self, wait: float) -> Sequence[ReceivedMessage]:
        """Long poll."""
        self._raise_if_failing("receive")
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + wait
        while True:
            now = loop.time()
            found = [each for each in self._messages.values() if each.visible_at <= now][:BATCH]
            if found or now >= ends_at:
                return [self._hand_out(stored, now) for stored in found]
            next_visible = min(
                (each.visible_at for each in self._messages.values()), default=ends_at
            )
            try:
                # At least a moment: shorter than its resolution, a virtual clock stands still.
                async with asyncio.timeout(max(min(ends_at, next_visible) - now, 0.001)):
                    async with self._changed:
                        await self._changed.wait()
            except TimeoutError:
                continue

    def _hand_out(self, stored: _Stored, now: float) -> ReceivedMessage:
        stored.receive_count += 1
        stored.received_at = now
        stored.first_received_at = stored.first_received_at or self._clock()
        stored.visible_at = now + self.visibility_timeout
        stored.handle = f"{stored.message_id}#{stored.receive_count}"
        self._handles.add(stored.handle)
        return ReceivedMessage(
            message_id=stored.message_id,
            receipt_handle=stored.handle,
            body=stored.body,
            sent_at=stored.sent_at,
            first_received_at=stored.first_received_at,
            receive_count=stored.receive_count,
        )

    def hide(self, handle: str, duration: dt.timedelta) -> None:
        """ChangeMessageVisibility."""
        self._raise_if_failing("hide")
        stored = self._messages.get(handle.partition("#")[0])
        now = asyncio.get_running_loop().time()
        if stored is None or stored.handle != handle or stored.visible_at <= now:
            raise errors.StaleReceiptHandle(f"{handle} is stale")
        if now + duration.total_seconds() - stored.received_at > LONGEST_INVISIBILITY:
            raise errors.StaleReceiptHandle(f"{handle} would be invisible for over 12 hours")
        stored.visible_at = now + duration.total_seconds()
        self._wake()

    def delete(self, handle: str) -> None:
        """DeleteMessage: an old handle succeeds, and deletes nothing."""
        self._raise_if_failing("delete")
        if handle not in self._handles:
            raise errors.StaleReceiptHandle(f"{handle} is no receipt handle")
        message_id = handle.partition("#")[0]
        stored = self._messages.get(message_id)
        if stored is not None and stored.handle == handle:
            del self._messages[message_id]
            self.deleted.append(message_id)

    def dead_letter(self, message: ReceivedMessage, reason: str) -> bool:
        """SendMessage to the dead-letter queue."""
        self._raise_if_failing("dead_letter")
        if self.has_dead_letter_queue:
            self.dead_letters.append((message.body, reason))
        return self.has_dead_letter_queue

    def count_waiting(self) -> int:
        """GetQueueAttributes."""
        self._raise_if_failing("count_waiting")
        return self.visible

    def _raise_if_failing(self, call: str) -> None:
        self.calls.append((call, asyncio.get_running_loop().time()))
        faults = self.failures.get(call)
        if faults:
            raise faults.pop(0)


class FakeQueueClient:
    """One process's view of the queue; a dead process does not answer itself any more."""

    def __init__(self, queue: FakeQueue, *, is_alive: asyncio.Event) -> None:
        self._queue = queue
        self._is_alive = is_alive

    async def _reach(self) -> None:
        if not self._is_alive.is_set():
            await asyncio.get_running_loop().create_future()

    async def receive(self) -> Sequence[ReceivedMessage]:
        await self._reach()
        return await self._queue.receive(LONG_POLL)

    async def hide(self, receipt_handle: str, duration: dt.timedelta) -> None:
        await self._reach()
        await asyncio.sleep(self._queue.delay)
        self._queue.hide(receipt_handle, duration)

    async def delete(self, receipt_handle: str) -> None:
        await self._reach()
        await asyncio.sleep(self._queue.delay)
        self._queue.delete(receipt_handle)

    async def dead_letter(self, message: ReceivedMessage, reason: str) -> bool:
        await self._reach()
        return self._queue.dead_letter(message, reason)

    async def count_waiting(self) -> int:
        await self._reach()
        return self._queue.count_waiting()
