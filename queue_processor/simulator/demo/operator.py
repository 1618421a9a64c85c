"""The operator, as a process of its own: the same `run` that a cluster runs."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Mapping
from typing import IO

_STOP_LIMIT_SECONDS = 20.0


class OperatorProcess:
    """The operator while it runs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._ended = asyncio.create_task(process.wait(), name="end of the operator")

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How it ended; negative is the signal that ended it; None while it runs."""
        return self._process.returncode

    @property
    def ended(self) -> asyncio.Task[int]:
        """Done when it has ended."""
        return self._ended

    async def stop(self) -> int:
        """Ask it to stop, as Kubernetes does, and wait for it; the exit code."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        done, _ = await asyncio.wait((self._ended,), timeout=_STOP_LIMIT_SECONDS)
        if not done:
            self.kill()
        return await self._ended

    def kill(self) -> None:
        """End it at once, if it runs."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()


@contextlib.asynccontextmanager
async def running(
    environment: Mapping[str, str], *, log: IO[str]
) -> AsyncIterator[OperatorProcess]:
    """Run the operator for as long as this lasts, and not longer.

    Args:
        environment: Where its AWS and its cluster are, on top of our own environment, which
            must not name any others.
        log: Takes its standard output and error.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "queue_processor", "run"),
        env={**os.environ, **environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        # Ctrl-C is for the rehearsal, which then ends the operator.
        start_new_session=True,
    )
    operator = OperatorProcess(process)
    try:
        yield operator
    finally:
        operator.kill()
        await operator.ended
