"""`queue-processor run` as processes, each with a log of its own."""

import abc
import asyncio
import collections
import contextlib
import json
import os
import pathlib
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any

# Only tests that fail wait for so long: a busy machine is many times slower than an idle one.
_PATIENCE_SECONDS = 120.0
_SHOWN_LINES = 40


def election(*, lease: float, renew: float, retry: float) -> dict[str, str]:
    """The settings of a leader election, from its times in seconds."""
    prefix = "QUEUE_PROCESSOR_LEADER_ELECTION__"
    return {
        f"{prefix}LEASE_DURATION_SECONDS": str(lease),
        f"{prefix}RENEW_DEADLINE_SECONDS": str(renew),
        f"{prefix}RETRY_PERIOD_SECONDS": str(retry),
    }


_QUICK = {
    "QUEUE_PROCESSOR_HTTP__BIND": "127.0.0.1:0",
    "QUEUE_PROCESSOR_SOURCES__SQS__VISIBILITY_TIMEOUT_SECONDS": "6",
    **election(lease=3, renew=2, retry=0.4),
}


class OperatorProcess:
    """`queue-processor run` as a process."""

    def __init__(self, process: asyncio.subprocess.Process, log: pathlib.Path) -> None:
        self._process = process
        self._log = log

    def lines(self) -> list[dict[str, Any]]:
        """Its log so far, without a line that is being written."""
        *whole, _ = self._log.read_text().split("\n")
        return [json.loads(line) for line in whole]

    def logged(self, event: str) -> dict[str, Any]:
        """The last line about an event; empty when there is none."""
        return next((line for line in reversed(self.lines()) if line["event"] == event), {})

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """True if it does not run any more."""
        return self._process.returncode is not None

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    async def ended(self, limit: float = _PATIENCE_SECONDS) -> int:
        """Wait for its end; the exit code."""
        return await asyncio.wait_for(self._process.wait(), limit)

    async def kill(self) -> None:
        """Make sure that it is gone."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()


async def launch(variables: Mapping[str, str], log: pathlib.Path) -> OperatorProcess:
    """Start an operator with these environment variables, and no others of this process."""
    with log.open("w") as file:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "queue_processor",
            "run",
            env={"PATH": os.environ["PATH"], **variables},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=file,
        )
    return OperatorProcess(process, log)


class Operators(abc.ABC):
    """Operators that work for one queue and one cluster."""

    def __init__(self, folder: pathlib.Path) -> None:
        """Start none yet.

        Args:
            folder: Takes their logs.
        """
        self.folder = folder
        self.processes: list[OperatorProcess] = []

    @abc.abstractmethod
    def environment(self) -> Mapping[str, str]:
        """The settings for their queue and their cluster."""

    async def start(self, **variables: str) -> OperatorProcess:
        """Start an operator; it leads, or stands by where another leads."""
        operator = await self.launch(**variables)
        await self.until(lambda: bool(operator.logged("nodes_indexed")))
        return operator

    async def launch(self, **variables: str) -> OperatorProcess:
        """Start an operator and leave it to itself.

        Args:
            variables: Settings that differ from those of all; an election in seconds, and
                messages that come back soon.
        """
        log = self.folder / f"{len(self.processes)}.log"
        operator = await launch({**_QUICK, **self.environment(), **variables}, log)
        self.processes.append(operator)
        return operator

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + _PATIENCE_SECONDS
        while not holds():
            assert loop.time() < ends_at, (
                f"it does not hold after {_PATIENCE_SECONDS:.0f} s;"
                f" operators logged {self._counts()}"
            )
            await asyncio.sleep(0.02)

    def _counts(self) -> dict[str, int]:
        """Count the events in the logs: a failed run may keep its output, and not its files."""
        return collections.Counter(
            line["event"] for process in self.processes for line in process.lines()
        )

    async def close(self) -> None:
        """End all of them, and print what they logged last: pytest shows it when a test fails."""
        for number, process in enumerate(self.processes):
            await process.kill()
            for line in process.lines()[-_SHOWN_LINES:]:
                sys.stdout.write(f"operator {number}: {json.dumps(line)}\n")
