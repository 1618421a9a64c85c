"""Batches as SQS takes them: what fits into one, and how single requests are gathered."""

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

from queue_processor.adapters.aws.errors import Results

_Entry = TypeVar("_Entry")

# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-batch-api-actions.html
BATCH_SIZE = 10
# Of a message, which is its body and its attributes together, and of all messages of a batch.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
SIZE_LIMIT = 1024 * 1024


def filled(
    items: Iterable[_Entry], *, size_of: Callable[[_Entry], int]
) -> Iterator[Sequence[_Entry]]:
    """Fill as few batches as possible; an item that is too large for any is alone in its own."""
    batch: list[_Entry] = []
    size = 0
    for item in items:
        size += size_of(item)
        if batch and (size > SIZE_LIMIT or len(batch) == BATCH_SIZE):
            yield batch
            batch, size = [], size_of(item)
        batch.append(item)
    if batch:
        yield batch


class Batcher(Generic[_Entry]):
    """Waits a moment for company, then sends up to ten entries in one request."""

    def __init__(
        self,
        send: Callable[[Sequence[_Entry]], Awaitable[Results]],
        *,
        linger: dt.timedelta,
    ) -> None:
        """Build the batcher.

        Args:
            send: Sends entries; returns None or an error for each of them.
            linger: How long the first entry waits for others.
        """
        self._send = send
        self._linger = linger.total_seconds()
        self._waiting: list[tuple[_Entry, asyncio.Future[None]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._sending: set[asyncio.Task[None]] = set()

    async def submit(self, entry: _Entry) -> None:
        """Return when the entry has been sent; raise what went wrong with it."""
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        self._waiting.append((entry, done))
        if len(self._waiting) >= BATCH_SIZE:
            self._flush()
        elif self._timer is None:
            self._timer = loop.call_later(self._linger, self._flush)
        await done

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        batch, self._waiting = self._waiting, []
        sending = asyncio.create_task(self._send_batch(batch), name="send batch")
        self._sending.add(sending)
        sending.add_done_callback(self._sending.discard)

    async def _send_batch(self, batch: Sequence[tuple[_Entry, "asyncio.Future[None]"]]) -> None:
        results: Results
        try:
            results = await self._send([entry for entry, _ in batch])
        except Exception as error:  # noqa: BLE001 - it is raised where it is awaited
            results = [error] * len(batch)
        for (_, done), result in zip(batch, results, strict=True):
            if done.done():
                continue
            if result is None:
                done.set_result(None)
            else:
                done.set_exception(result)
