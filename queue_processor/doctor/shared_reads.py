"""Reads that several checks share, so that what fails once is reported once."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from queue_processor.doctor.findings import CheckName
from queue_processor.domain import errors

_Part = TypeVar("_Part")


class NotApplicable(errors.QueueProcessorError):
    """The settings do not use what was to be read; the text says why."""


class ReadFailed(errors.QueueProcessorError):
    """A part of the installation cannot be read; the cause is chained.

    Attributes:
        reporter: The check that reports the cause.
    """

    def __init__(self, reporter: CheckName, cause: Exception) -> None:
        super().__init__(f"{reporter}: {cause}")
        self.reporter = reporter
        self.cause = cause


class SharedRead(Generic[_Part]):
    """Reads a part of the installation once, when the first check asks for it."""

    def __init__(self, reporter: CheckName, read: Callable[[], Awaitable[_Part]]) -> None:
        """Read nothing yet.

        Args:
            reporter: The check that reports an error of this read.
            read: Reads the part; it may call other shared reads, whose errors keep their reporter.
        """
        self._reporter = reporter
        self._read = read
        self._reading: asyncio.Task[_Part] | None = None

    async def __call__(self) -> _Part:
        """Return the part.

        Raises:
            ReadFailed: This read has failed, or one that it needs.
        """
        if self._reading is None:
            self._reading = asyncio.create_task(self._run(), name=f"read for {self._reporter}")
        return await self._reading

    async def _run(self) -> _Part:
        try:
            return await self._read()
        except ReadFailed:
            raise
        except Exception as error:
            raise ReadFailed(self._reporter, error) from error


async def or_none(read: SharedRead[_Part]) -> _Part | None:
    """Return a part that a check can do without; its own check reports why it cannot be read."""
    try:
        return await read()
    except ReadFailed:
        return None
