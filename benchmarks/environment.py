"""The environment of a storm: a cluster full of nodes and pods, a queue, and the operator."""

import asyncio
import contextlib
import dataclasses
import json
import os
import pathlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Self

from benchmarks import measurements
from benchmarks.control_groups import ControlGroup
from benchmarks.queue_process import QueueProcess
from queue_processor.simulator.aws import events
from queue_processor.simulator.demo import messages, scenarios
from queue_processor.simulator.demo.scenario import PlannedMessage
from tests import operators
from tests.cluster import assets, audit, manifests, plane, world
from tests.deploy import chart

_PREFIX = "QUEUE_PROCESSOR_"
# With a tenth of a core the imports alone take a quarter of a minute.
_START_SECONDS = 120.0
_STORM_SECONDS = 600.0
# A started operator still has work of its own.
_SETTLING_SECONDS = 1.0
_SHOWN_CHARACTERS = 2000


@dataclasses.dataclass(frozen=True, slots=True)
class Load:
    """The nodes and pods of a cluster.

    Attributes:
        nodes: How many nodes.
        pods: How many on each node.
        exits_after: How long a pod takes to end after its SIGTERM, as Go writes durations.
    """

    nodes: int
    pods: int = 10
    exits_after: str = "0s"

    @property
    def name(self) -> str:
        """Return the name for people."""
        slow = f", pods that stop in {self.exits_after}" if self.exits_after != "0s" else ""
        return f"{self.nodes} nodes{slow}"


class StormFailedError(Exception):
    """A node was not cordoned, or a pod got no SIGTERM, when the messages were gone."""


class OperatorEndedError(Exception):
    """The operator ended by itself; the message is its exit code and the end of its log."""


@dataclasses.dataclass(frozen=True, slots=True)
class ReadyOperator:
    """An operator that receives messages.

    Attributes:
        ready_seconds: From its start to the first call of ReceiveMessage.
    """

    process: operators.OperatorProcess
    ready_seconds: float


class BenchmarkEnvironment:
    """A control plane with nodes, pods and the operator's service account, and a queue.

    Attributes:
        instances: The instance ids by the names of their nodes.
    """

    def __init__(self, cluster: world.World, queue: QueueProcess, load: Load) -> None:
        self.plane = cluster.plane
        self.world = cluster
        self.folder = cluster.plane.folder
        nodes = scenarios.make_nodes(load.nodes)
        self.instances = {node.name: f"i-{number:017x}" for number, node in enumerate(nodes)}
        self.queue = queue
        self._load = load
        self._operator: operators.OperatorProcess | None = None

    @classmethod
    @contextlib.asynccontextmanager
    async def started(cls, load: Load) -> AsyncIterator[Self]:
        """Start a control plane and a queue, in processes of their own, and make the load."""
        control_plane = plane.ControlPlane(assets.find())
        try:
            control_plane.start()
            async with (
                world.opened(control_plane) as cluster,
                QueueProcess.started() as queue,
            ):
                await cluster.apply(world.rbac_of(chart.BASE.path))
                await cluster.make_namespace()
                environment = cls(cluster, queue, load)
                await environment._populate()
                yield environment
        finally:
            control_plane.close()

    async def _populate(self) -> None:
        """Make the nodes with their pods, and wait until all of them run.

        The pods are bound already, because the scheduler would take longer. They belong to no
        workload, because replacements would take time from what is measured.
        """
        await self.world.make_nodes(self.instances.items())
        shape = manifests.PodShape(labels={"app": "load"}, exits_after=self._load.exits_after)
        await self.world.create_all(
            manifests.pod(f"{node}-{number}", shape, node_name=node)
            for node in self.instances
            for number in range(self._load.pods)
        )
        await self._until_no_pod(fieldSelector="status.phase!=Running")

    async def send(self, planned: Sequence[PlannedMessage]) -> float:
        """Send messages at once, and return when, in seconds since the epoch."""
        return await self.queue.send(
            [
                json.dumps(
                    messages.build_event(
                        message,
                        [self.instances[node] for node in message.nodes],
                        events.new_origin(),
                    )
                )
                for message in planned
            ]
        )

    async def until_no_pod_runs(self) -> None:
        """Wait until none of our pods is left."""
        await self._until_no_pod()

    async def _until_no_pod(self, **query: str) -> None:
        """Wait until a list is empty; its limit of one pod keeps the server from being busy."""
        path = f"/api/v1/namespaces/{manifests.NAMESPACE}/pods"

        async def none() -> bool:
            return not (await self.world.api.list(path, query={**query, "limit": "1"}))["items"]

        await self.world.until(none, limit=300)

    async def until_settled(self) -> None:
        """Wait until no message is left in the queue.

        Raises:
            OperatorEndedError: The operator does not run any more.
        """

        async def settled() -> bool:
            await self._check_operator()
            return not (await self.queue.figures()).left

        await self.world.until(settled, limit=_STORM_SECONDS)

    async def check_cluster(self) -> None:
        """Check in the cluster, not in what the operator reports, that the work was done.

        Pods may be left that got their SIGTERM: on a slow machine the fake kubelets are still
        removing them at the deadline.

        Raises:
            StormFailedError: It was not.
        """
        for node in await self.world.items("/api/v1/nodes"):
            if not node["spec"].get("unschedulable"):
                raise StormFailedError(f"{node['metadata']['name']} is not cordoned")
        pods = [pod["metadata"] for pod in await self.world.items("/api/v1/pods")]
        if left := [pod["name"] for pod in pods if "deletionTimestamp" not in pod]:
            raise StormFailedError(
                f"{len(left)} pods got no SIGTERM, {left[0]} for one: a busy machine may take"
                " longer than the two minutes that a Spot interruption leaves"
            )

    def log_of(self, user: str) -> audit.AuditLog:
        """Return the requests of a user from now on."""
        return audit.AuditLog(self.plane.audit_log, user)

    async def pods_gone_at(self, kubelets: audit.AuditLog) -> Mapping[str, float]:
        """Wait until all pods are gone, and return when the last of each node was.

        The time is that of the request with which the kubelet removes a pod that has ended.
        """
        await self.until_no_pod_runs()

        async def logged() -> Mapping[str, float]:
            gone_at = measurements.pods_gone_at(kubelets.requests())
            return gone_at if len(gone_at) == self._load.nodes * self._load.pods else {}

        gone_at = await self.world.until(logged)
        return {pod.rpartition("-")[0]: at for pod, at in gone_at.items()}

    async def write_kubeconfig(self) -> pathlib.Path:
        """Write the access of the service account of deploy/."""
        access = await self.world.operator_access()
        return access.write_kubeconfig(self.folder / "operator.kubeconfig")

    @contextlib.asynccontextmanager
    async def operating(
        self, variables: Mapping[str, str] | None = None, *, group: ControlGroup | None = None
    ) -> AsyncIterator[ReadyOperator]:
        """Run the operator with the service account of deploy/.

        Args:
            variables: Settings, besides those of this process.
            group: The limits of its process.

        Raises:
            OperatorEndedError: It ended before it received messages.
        """
        began = time.monotonic()
        self._operator = await operators.launch(
            {**await self._variables(), **(variables or {})}, self._log
        )
        try:
            if group is not None:
                group.add(self._operator.pid)

            async def receives() -> bool:
                await self._check_operator()
                return "ReceiveMessage" in (await self.queue.figures()).calls

            await self.world.until(receives, limit=_START_SECONDS)
            ready_seconds = time.monotonic() - began
            await asyncio.sleep(_SETTLING_SECONDS)
            yield ReadyOperator(self._operator, ready_seconds)
        finally:
            await self._operator.kill()

    async def _variables(self) -> dict[str, str]:
        settings = {name: value for name, value in os.environ.items() if name.startswith(_PREFIX)}
        return {
            **settings,
            "KUBECONFIG": str(await self.write_kubeconfig()),
            "AWS_ENDPOINT_URL": self.queue.url,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "none",
            "AWS_SECRET_ACCESS_KEY": "none",
            "QUEUE_PROCESSOR_QUEUE_URL": f"{self.queue.url}/123456789012/storm",
            "QUEUE_PROCESSOR_LEADER_ELECTION__NAMESPACE": world.OPERATOR[0],
            "QUEUE_PROCESSOR_HTTP__BIND": "127.0.0.1:0",
            "QUEUE_PROCESSOR_LOG__FORMAT": "json",
        }

    @property
    def _log(self) -> pathlib.Path:
        return self.folder / "operator.log"

    async def _check_operator(self) -> None:
        if self._operator is not None and self._operator.has_ended:
            code, log = await self._operator.ended(), self._log.read_text(encoding="utf-8")
            raise OperatorEndedError(
                f"the operator ended with exit code {code}\n{log[-_SHOWN_CHARACTERS:]}"
            )
