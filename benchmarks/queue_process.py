"""The process of `benchmarks.queue`, as the benchmark uses it."""

import asyncio
import contextlib
import dataclasses
import sys
import time
from collections.abc import AsyncIterator, Sequence
from typing import Self

import aiohttp

from tests.cluster import plane

_START_SECONDS = 30.0


@dataclasses.dataclass(frozen=True, slots=True)
class QueueFigures:
    """The state of the queue, and the calls that it got so far.

    Attributes:
        calls: How often each action was called, by its name.
        left: How many messages there are, visible or not.
        last_deleted_at: Seconds since the epoch.
    """

    calls: dict[str, int]
    left: int
    last_deleted_at: float


class QueueProcess:
    """A queue in a process of its own."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self._session = session

    @classmethod
    @contextlib.asynccontextmanager
    async def started(cls) -> AsyncIterator[Self]:
        """Start the process, and kill it at the end."""
        (port,) = plane.free_ports(1)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "benchmarks.queue", str(port)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
        )
        try:
            async with aiohttp.ClientSession() as session:
                queue = cls(f"http://127.0.0.1:{port}", session)
                await queue._until_it_answers()
                yield queue
        finally:
            process.kill()
            await process.wait()

    async def _until_it_answers(self) -> None:
        async with asyncio.timeout(_START_SECONDS):
            while True:
                try:
                    await self.figures()
                except aiohttp.ClientConnectionError:
                    await asyncio.sleep(0.05)
                else:
                    return

    async def send(self, bodies: Sequence[str]) -> float:
        """Put messages into the queue, and return when, in seconds since the epoch."""
        sent_at = time.time()
        async with self._session.post(f"{self.url}/send", json=bodies) as answer:
            answer.raise_for_status()
        return sent_at

    async def figures(self) -> QueueFigures:
        """Return the calls that the queue got so far, and what is left in it."""
        async with self._session.get(f"{self.url}/figures") as answer:
            return QueueFigures(**await answer.json())
