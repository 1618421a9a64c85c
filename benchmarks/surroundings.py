"""What a storm needs around it: a cluster full of nodes and pods, a queue, and the operator."""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import json
import os
import pathlib
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence

import aiohttp

from queue_processor.domain import aws_events
from queue_processor.simulator.aws import events
from queue_processor.simulator.demo import operator
from tests.cluster import assets, manifests, plane, world

_DEPLOY = pathlib.Path(__file__).parents[1] / "deploy" / "queue-processor.yaml"
_PREFIX = "QUEUE_PROCESSOR_"
_TICKS = os.sysconf("SC_CLK_TCK")
_START_SECONDS = 30.0


@dataclasses.dataclass(frozen=True, slots=True)
class Node:
    """A node that is going to be taken away."""

    name: str
    instance_id: str


@dataclasses.dataclass(frozen=True, slots=True)
class MailFigures:
    """The state of the queue.

    Attributes:
        calls: How often each action was called, by its name.
        left: How many messages there are, visible or not.
        last_deleted_at: Seconds since the epoch.
    """

    calls: dict[str, int]
    left: int
    last_deleted_at: float


def cpu_seconds(pid: int) -> float:
    """The processor time that a process has used, in user mode and in the kernel."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def memory_mib(pid: int, field: str) -> float:
    """The memory of a process: `VmRSS` is what it has now, `VmHWM` the most it ever had."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise LookupError(field)


def _chosen() -> dict[str, str]:
    """The settings that whoever runs the benchmark has chosen."""
    return {name: value for name, value in os.environ.items() if name.startswith(_PREFIX)}


class Surroundings:
    """A control plane with the operator's account, and a queue."""

    def __init__(
        self,
        control_plane: plane.ControlPlane,
        cluster: world.World,
        mail: str,
        session: aiohttp.ClientSession,
        folder: pathlib.Path,
    ) -> None:
        self.plane = control_plane
        self.world = cluster
        self.folder = folder
        self._mail = mail
        self._session = session

    async def populate(self, count: int, *, pods: int) -> Sequence[Node]:
        """Make nodes with so many pods each, and wait until all of them run.

        The pods are bound already, because the scheduler would take longer, and nobody replaces
        them, because the replacements would take time from what is measured.
        """
        nodes = [Node(f"node-{number}", f"i-{number:017x}") for number in range(count)]
        await self.world.make_nodes((node.name, node.instance_id) for node in nodes)
        shape = manifests.PodShape(labels={"app": "load"})
        await self.world.create_all(
            manifests.pod(f"{node.name}-{number}", shape, node_name=node.name)
            for node in nodes
            for number in range(pods)
        )
        await self._until_no_pod(fieldSelector="status.phase!=Running")
        return nodes

    async def interrupt(self, nodes: Sequence[Node]) -> float:
        """Send a Spot interruption for each of the nodes at once; the seconds since the epoch."""
        now = dt.datetime.now(tz=dt.UTC)
        bodies = [
            json.dumps(
                aws_events.spot_interruption(node.instance_id, origin=events.new_origin(time=now))
            )
            for node in nodes
        ]
        sent_at = time.time()
        async with self._session.post(f"{self._mail}/send", json=bodies) as answer:
            answer.raise_for_status()
        return sent_at

    async def mail_figures(self) -> MailFigures:
        """What has been asked of the queue so far, and what is left on it."""
        async with self._session.get(f"{self._mail}/figures") as answer:
            return MailFigures(**await answer.json())

    async def until_no_pod_runs(self) -> None:
        """Wait until no pod of ours is left."""
        await self._until_no_pod()

    async def _until_no_pod(self, **query: str) -> None:
        """Wait until a list has no pod, asking for one: all of them would keep the server busy."""
        path = f"/api/v1/namespaces/{manifests.NAMESPACE}/pods"

        async def none() -> bool:
            return not (await self.world.api.list(path, query={**query, "limit": "1"}))["items"]

        await self.world.until(none, limit=300)

    async def until_settled(self, *, limit: float = 300.0) -> None:
        """Wait until no message is left on the queue."""

        async def settled() -> bool:
            return not (await self.mail_figures()).left

        await self.world.until(settled, limit=limit)

    @contextlib.asynccontextmanager
    async def operating(self) -> AsyncIterator[int]:
        """Run the operator with the account of deploy/; its process id."""
        access = await self.world.operator_access()
        kubeconfig = access.write_kubeconfig(self.folder / "operator.kubeconfig")
        log = self.folder / "operator.log"
        environment = {
            **_chosen(),
            "KUBECONFIG": str(kubeconfig),
            "AWS_ENDPOINT_URL": self._mail,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "none",
            "AWS_SECRET_ACCESS_KEY": "none",
            "QUEUE_PROCESSOR_QUEUE_URL": f"{self._mail}/123456789012/storm",
            "QUEUE_PROCESSOR_LEADER_ELECTION__NAMESPACE": world.OPERATOR[0],
            "QUEUE_PROCESSOR_HTTP__BIND": "127.0.0.1:0",
            "QUEUE_PROCESSOR_LOG__FORMAT": "json",
        }
        with log.open("w", encoding="utf-8") as taken:
            async with operator.running(environment, log=taken) as process:

                async def receives() -> bool:
                    if process.exit_code is not None:
                        raise RuntimeError(log.read_text(encoding="utf-8")[-2000:])
                    return "ReceiveMessage" in (await self.mail_figures()).calls

                await self.world.until(receives, limit=_START_SECONDS)
                yield process.pid


@contextlib.asynccontextmanager
async def surrounded() -> AsyncIterator[Surroundings]:
    """Start a control plane and a queue, each in processes of their own."""
    control_plane = plane.ControlPlane(assets.find())
    try:
        control_plane.start()
        async with (
            world.opened(control_plane) as cluster,
            _mail() as mail,
            aiohttp.ClientSession() as session,
        ):
            await cluster.apply(world.rbac_of(_DEPLOY))
            await cluster.make_namespace()
            yield Surroundings(control_plane, cluster, mail, session, control_plane.folder)
    finally:
        control_plane.close()


@contextlib.asynccontextmanager
async def _mail() -> AsyncIterator[str]:
    (port,) = plane.free_ports(1)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "benchmarks.mail", str(port)),
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


def processor_time(control_plane: plane.ControlPlane) -> Iterator[tuple[str, float]]:
    """The processor time of each component of the control plane, by name."""
    for component in control_plane.components:
        yield component, cpu_seconds(control_plane.pid(component))
