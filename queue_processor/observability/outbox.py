"""What is told in the background: dropped rather than waited for, and never the caller's error."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import structlog

_log = structlog.get_logger(__name__)

_Item = TypeVar("_Item")


class Outbox(Generic[_Item]):
    """A bounded queue of things to send, and those who send them; `run` has to be running."""

    def __init__(
        self, send: Callable[[_Item], Awaitable[None]], *, name: str, limit: int, senders: int
    ) -> None:
        """Build the outbox.

        Args:
            send: Sends one item; it deals with its own failures.
            name: Names the tasks.
            limit: How many items wait at most.
            senders: How many items are sent at once; 1 keeps their order.
        """
        self._send = send
        self._name = name
        self._senders = senders
        self._waiting: asyncio.Queue[_Item] = asyncio.Queue(limit)

    def __len__(self) -> int:
        return self._waiting.qsize()

    def put(self, item: _Item) -> bool:
        """Have an item sent; False when there is no room for it."""
        try:
            self._waiting.put_nowait(item)
        except asyncio.QueueFull:
            return False
        return True

    async def run(self) -> None:
        """Send what is put in, for ever."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._senders):
                group.create_task(self._send_for_ever(), name=f"{self._name} {number}")

    async def flush(self) -> None:
        """Return when everything put in so far is dealt with."""
        await self._waiting.join()

    async def _send_for_ever(self) -> None:
        while True:
            item = await self._waiting.get()
            try:
                await self._send(item)
            except Exception:  # noqa: BLE001 - a defect costs this one item, and no drain
                _log.exception("background_send_failed", outbox=self._name)
            finally:
                self._waiting.task_done()
