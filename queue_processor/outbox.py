"""Send in the background. Best effort: callers never wait, and failures never reach them.

The Kubernetes event recorder and the webhooks both send this way. Adapters do not import each
other, so what they share is below them, in a layer of its own.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import structlog

_log = structlog.get_logger(__name__)

_Item = TypeVar("_Item")


class Outbox(Generic[_Item]):
    """A bounded queue with tasks that send its items; nothing is sent unless `run` is running."""

    def __init__(
        self, send: Callable[[_Item], Awaitable[None]], *, name: str, limit: int, senders: int
    ) -> None:
        """Create an empty outbox.

        Args:
            send: Sends one item, and handles its own errors.
            name: Prefix of the task names.
            limit: How many items may wait.
            senders: How many items are sent at once; 1 keeps their order.
        """
        self._send = send
        self._name = name
        self._senders = senders
        self._waiting: asyncio.Queue[_Item] = asyncio.Queue(limit)

    def __len__(self) -> int:
        return self._waiting.qsize()

    def put(self, item: _Item) -> bool:
        """Enqueue an item; return False and drop it when the outbox is full."""
        try:
            self._waiting.put_nowait(item)
        except asyncio.QueueFull:
            return False
        return True

    async def run(self) -> None:
        """Send items until cancelled."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._senders):
                group.create_task(self._send_forever(), name=f"{self._name} {number}")

    async def flush(self) -> None:
        """Return when every item so far has been sent or has failed."""
        await self._waiting.join()

    async def _send_forever(self) -> None:
        while True:
            item = await self._waiting.get()
            try:
                await self._send(item)
            except Exception:  # noqa: BLE001 - a bug loses this one item, not the drain
                _log.exception("background_send_failed", outbox=self._name)
            finally:
                self._waiting.task_done()
