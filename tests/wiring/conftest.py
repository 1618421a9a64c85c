import asyncio
import contextlib
import json
import os
import pathlib
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from queue_processor.simulator.aws import simulator, stacks
from queue_processor.simulator.kube import api, http, resources, settings, world

_START_SECONDS = 20.0


class OperatorProcess:
    """`queue-processor run` as a process."""

    def __init__(self, process: asyncio.subprocess.Process, log: pathlib.Path) -> None:
        self._process = process
        self._log = log

    def lines(self) -> list[dict[str, Any]]:
        """What it has logged."""
        return [json.loads(line) for line in self._log.read_text().splitlines()]

    def logged(self, event: str) -> dict[str, Any]:
        """The last line about an event; empty when there is none."""
        return next((line for line in reversed(self.lines()) if line["event"] == event), {})

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    async def ended(self, limit: float = 15.0) -> int:
        """Wait for its end; the exit code."""
        return await asyncio.wait_for(self._process.wait(), limit)

    async def kill(self) -> None:
        """Make sure that it is gone."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()


class Site:
    """A cluster behind HTTP, AWS behind HTTP, and operators as processes."""

    def __init__(
        self, aws: simulator.AwsSimulator, stack: stacks.Stack, folder: pathlib.Path
    ) -> None:
        self.aws = aws
        self.stack = stack
        self.folder = folder
        self.cluster = world.Cluster(settings.Settings(exit_seconds=0.5))
        self.server = api.ApiServer(self.cluster)
        self.http = http.HttpServer(self.server)
        self.processes: list[OperatorProcess] = []

    async def start(self, **variables: str) -> OperatorProcess:
        """Start an operator; it leads, or stands by where another leads."""
        operator = await self.launch(**variables)
        await self.until(lambda: bool(operator.logged("nodes_indexed")), limit=_START_SECONDS)
        return operator

    async def launch(self, **variables: str) -> OperatorProcess:
        """Start an operator and leave it to itself."""
        number = len(self.processes)
        log = self.folder / f"{number}.log"
        kubeconfig = self.http.write_kubeconfig(self.folder / "kubeconfig")
        quick_election = {
            "LEASE_DURATION_SECONDS": "3",
            "RENEW_DEADLINE_SECONDS": "2",
            "RETRY_PERIOD_SECONDS": "0.4",
        }
        environment = {
            "PATH": os.environ["PATH"],
            **self.aws.environment(),
            "KUBECONFIG": str(kubeconfig),
            "QUEUE_PROCESSOR_QUEUE_URL": self.stack.queue_url,
            "QUEUE_PROCESSOR_HTTP__BIND": "127.0.0.1:0",
            "QUEUE_PROCESSOR_SQS__VISIBILITY_TIMEOUT_SECONDS": "6",
            **{f"QUEUE_PROCESSOR_LEADER_ELECTION__{k}": v for k, v in quick_election.items()},
            **variables,
        }
        with log.open("w") as file:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "queue_processor",
                "run",
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=file,
            )
        operator = OperatorProcess(process, log)
        self.processes.append(operator)
        return operator

    async def until(self, holds: Callable[[], bool], *, limit: float = 20.0) -> float:
        """Wait until something holds; how long that took, in seconds."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while not holds():
            assert loop.time() - began < limit, f"it does not hold after {limit} s"
            await asyncio.sleep(0.02)
        return loop.time() - began

    def holder(self) -> str:
        """Who holds the Lease."""
        leases = list(self.cluster.store.every(resources.LEASES))
        return next((lease.spec.get("holderIdentity") or "" for lease in leases), "")

    def is_cordoned(self, name: str) -> bool:
        """Whether a node is unschedulable."""
        node = self.cluster.store.node(name)
        return node is not None and bool(node.spec.get("unschedulable"))

    def is_settled(self) -> bool:
        """Whether the queue is empty."""
        state = self.aws.queue_state(self.stack.queue_url)
        return state.visible + state.in_flight + state.delayed == 0

    async def close(self) -> None:
        """End everything."""
        for process in self.processes:
            await process.kill()
        await self.http.stop()


@pytest.fixture(scope="module")
def aws() -> Iterator[simulator.AwsSimulator]:
    with simulator.AwsSimulator() as started:
        yield started


@pytest.fixture
async def site(aws: simulator.AwsSimulator, tmp_path: pathlib.Path) -> AsyncIterator[Site]:
    """A fresh cluster and a fresh queue."""
    aws.reset()
    made = Site(aws, aws.deploy(), tmp_path)
    await made.http.start()
    yield made
    await made.close()
