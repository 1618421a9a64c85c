"""The environment of a storm: a cluster full of nodes and pods, a queue, and the operator."""

import asyncio
import contextlib
import dataclasses
import json
import os
import pathlib
import sys
import time
from collections.abc import AsyncIterator, Sequence
from typing import Self

import aiohttp

from queue_processor.simulator.aws import events
from queue_processor.simulator.demo import messages, operator
from queue_processor.simulator.demo.scenario import PlannedMessage, PlannedNode
from tests.cluster import assets, manifests, plane, world

_DEPLOY = pathlib.Path(__file__).parents[1] / "deploy" / "queue-processor.yaml"
_PREFIX = "QUEUE_PROCESSOR_"
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


class BenchmarkEnvironment:
    """A control plane with the operator's service account, and a queue."""

    def __init__(
        self,
        control_plane: plane.ControlPlane,
        cluster: world.World,
        queue: str,
        session: aiohttp.ClientSession,
        folder: pathlib.Path,
    ) -> None:
        self.plane = control_plane
        self.world = cluster
        self.folder = folder
        self._queue = queue
        self._session = session
        #: The instance ids by the names of their nodes.
        self.instances: dict[str, str] = {}

    @classmethod
    @contextlib.asynccontextmanager
    async def started(cls) -> AsyncIterator[Self]:
        """Start a control plane and a queue, in processes of their own."""
        control_plane = plane.ControlPlane(assets.find())
        try:
            control_plane.start()
            async with (
                world.opened(control_plane) as cluster,
                _queue() as queue,
                aiohttp.ClientSession() as session,
            ):
                await cluster.apply(world.rbac_of(_DEPLOY))
                await cluster.make_namespace()
                yield cls(control_plane, cluster, queue, session, control_plane.folder)
        finally:
            control_plane.close()

    async def populate(self, nodes: Sequence[PlannedNode], *, pods: int) -> None:
        """Make the nodes with so many pods each, and wait until all of them run.

        The pods are bound already, because the scheduler would take longer. They belong to no
        workload, because replacements would take time from what is measured.
        """
        self.instances = {node.name: f"i-{number:017x}" for number, node in enumerate(nodes)}
        await self.world.make_nodes(self.instances.items())
        shape = manifests.PodShape(labels={"app": "load"})
        await self.world.create_all(
            manifests.pod(f"{node.name}-{number}", shape, node_name=node.name)
            for node in nodes
            for number in range(pods)
        )
        await self._until_no_pod(fieldSelector="status.phase!=Running")

    async def send(self, planned: Sequence[PlannedMessage]) -> float:
        """Send messages at once, and return when, in seconds since the epoch."""
        bodies = [
            json.dumps(messages.build_event(message, self._ids_of(message), events.new_origin()))
            for message in planned
        ]
        sent_at = time.time()
        async with self._session.post(f"{self._queue}/send", json=bodies) as answer:
            answer.raise_for_status()
        return sent_at

    def _ids_of(self, planned: PlannedMessage) -> Sequence[str]:
        return [self.instances[node] for node in planned.nodes]

    async def queue_figures(self) -> QueueFigures:
        """Return the calls that the queue got so far, and what is left in it."""
        async with self._session.get(f"{self._queue}/figures") as answer:
            return QueueFigures(**await answer.json())

    async def until_no_pod_runs(self) -> None:
        """Wait until none of our pods is left."""
        await self._until_no_pod()

    async def _until_no_pod(self, **query: str) -> None:
        """Wait until a list is empty; its limit of one pod keeps the server from being busy."""
        path = f"/api/v1/namespaces/{manifests.NAMESPACE}/pods"

        async def none() -> bool:
            return not (await self.world.api.list(path, query={**query, "limit": "1"}))["items"]

        await self.world.until(none, limit=300)

    async def until_settled(self, *, limit: float = 300.0) -> None:
        """Wait until no message is left in the queue."""

        async def settled() -> bool:
            return not (await self.queue_figures()).left

        await self.world.until(settled, limit=limit)

    @contextlib.asynccontextmanager
    async def operating(self, **variables: str) -> AsyncIterator[int]:
        """Run the operator with the service account of deploy/, and yield its process id.

        Args:
            variables: Settings, besides those of this process.
        """
        access = await self.world.operator_access()
        kubeconfig = access.write_kubeconfig(self.folder / "operator.kubeconfig")
        log = self.folder / "operator.log"
        environment = {
            **{name: value for name, value in os.environ.items() if name.startswith(_PREFIX)},
            "KUBECONFIG": str(kubeconfig),
            "AWS_ENDPOINT_URL": self._queue,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "none",
            "AWS_SECRET_ACCESS_KEY": "none",
            "QUEUE_PROCESSOR_QUEUE_URL": f"{self._queue}/123456789012/storm",
            "QUEUE_PROCESSOR_LEADER_ELECTION__NAMESPACE": world.OPERATOR[0],
            "QUEUE_PROCESSOR_HTTP__BIND": "127.0.0.1:0",
            "QUEUE_PROCESSOR_LOG__FORMAT": "json",
            **variables,
        }
        with log.open("w", encoding="utf-8") as lines:
            async with operator.running(environment, log=lines) as process:

                async def receives() -> bool:
                    if process.returncode is not None:
                        raise RuntimeError(log.read_text(encoding="utf-8")[-2000:])
                    return "ReceiveMessage" in (await self.queue_figures()).calls

                await self.world.until(receives, limit=_START_SECONDS)
                yield process.pid


@contextlib.asynccontextmanager
async def _queue() -> AsyncIterator[str]:
    (port,) = plane.free_ports(1)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "benchmarks.queue", str(port)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        async with aiohttp.ClientSession() as session:
            await _answers(session, url)
        yield url
    finally:
        process.kill()
        await process.wait()


async def _answers(session: aiohttp.ClientSession, url: str) -> None:
    async with asyncio.timeout(_START_SECONDS):
        while True:
            try:
                async with session.get(f"{url}/figures"):
                    return
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.05)
