"""The environment of storms with faults: a cluster, an AWS account, and operators as processes."""

import asyncio
import contextlib
import datetime as dt
import pathlib
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Self

from benchmarks.soak.findings import Finding, FindingKind
from benchmarks.soak.proxy import ApiServerProxy
from benchmarks.soak.storm import SoakStorm
from benchmarks.soak.witness import Witness
from queue_processor.simulator.aws import faults, records, simulator
from tests import operators
from tests.cluster import manifests, plane, site, world
from tests.deploy import chart

_TICK_SECONDS = 0.5
# A busy machine is late by a second or two.
_SUSPENDED_SECONDS = 5.0


class SoakEnvironment:
    """A control plane, a queue, operators, and the ways to disturb them.

    Attributes:
        plane: The control plane.
        proxy: The way of the operators to the API server.
        aws: The AWS account.
        aws_faults: Faults of AWS.
        storm: The storm of the moment.
        was_suspended: True once this process was suspended for seconds, or the machine slept.
        faults: How many faults hit this storm, beside those that the proxy and AWS count.
        takeovers: Seconds from the end of a leader to the work of the standby, in this storm.
    """

    def __init__(
        self,
        cluster: world.World,
        proxy: ApiServerProxy,
        *,
        seed: int,
        folder: pathlib.Path,
        variables: Mapping[str, str],
    ) -> None:
        """Build the environment; `variables` are settings of the operators."""
        self.plane = cluster.plane
        self.proxy = proxy
        self.aws_faults = faults.AwsFaults(seed)
        self.aws = simulator.AwsSimulator(
            lambda app: self.aws_faults.around(Witness(self._contents, self._ask).around(app))
        )
        self.storm: SoakStorm | None = None
        self.was_suspended = False
        self.faults = 0
        self.takeovers: list[float] = []
        self._world = cluster
        self._folder = folder
        self._variables = variables
        self._crew: list[operators.OperatorProcess] = []
        self._number = 0

    @classmethod
    @contextlib.asynccontextmanager
    async def opened(
        cls,
        control_plane: plane.ControlPlane,
        folder: pathlib.Path,
        *,
        seed: int,
        behind_proxy: bool = False,
        variables: Mapping[str, str] | None = None,
    ) -> AsyncIterator[Self]:
        """Prepare a control plane that runs, and leave nothing in it.

        Args:
            control_plane: The control plane.
            folder: Takes logs and certificates.
            seed: Of what is drawn.
            behind_proxy: True if the operators reach the API server through the proxy.
            variables: Settings of the operators.
        """
        async with world.opened(control_plane) as cluster:
            await cluster.apply(world.rbac_of(chart.BASE.path))
            await cluster.make_namespace()
            access = await cluster.operator_access()
            async with ApiServerProxy.started(access, folder) as proxy:
                made = cls(cluster, proxy, seed=seed, folder=folder, variables=variables or {})
                watching = asyncio.create_task(made._watch_clock(), name="watch clock")
                with made.aws:
                    made._open_site(proxy.access if behind_proxy else access)
                    try:
                        yield made
                    finally:
                        watching.cancel()
                        await asyncio.wait((watching,))
                        for process in made._crew:
                            await process.kill()
                await cluster.clear()

    def _open_site(self, access: plane.Access) -> None:
        self._stack = self.aws.deploy()
        self._site = site.Site(
            self._world,
            aws=self.aws,
            stack=self._stack,
            folder=self._folder,
            kubeconfig=access.write_kubeconfig(self._folder / "kubeconfig"),
        )

    async def _watch_clock(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(_TICK_SECONDS)
            if loop.time() - before > _SUSPENDED_SECONDS:
                self.was_suspended = True

    def new_storm(self) -> SoakStorm:
        """Begin the next storm."""
        self._number += 1
        self.faults, self.takeovers = 0, []
        self.storm = SoakStorm(self._world, self.aws, self._stack, self._number)
        return self.storm

    @property
    def queue_url(self) -> str:
        """Return the URL of the queue."""
        return self._stack.queue_url

    async def clear(self) -> None:
        """Remove the storm; the operators and their Lease stay."""
        self.storm = None
        await self._world.clear([manifests.NAMESPACE])

    # The operators; the first leads, a second one stands by.

    async def man(self, *, standby: bool) -> None:
        """Start what is missing of the operators, and wait until one leads."""
        while len(self._crew) < 1 + standby:
            process = await self._site.start(**self._variables)
            self._crew.append(process)
            await self._site.until(lambda: bool(self._crew[0].logged("leadership_acquired")))

    async def kill_leader(self) -> None:
        """Kill the leader and wait until another process works, which starts if there is none."""
        leader = self._crew.pop(0)
        killed_at = dt.datetime.now(dt.UTC)
        await leader.kill()
        await self._await_heir(killed_at)

    async def stop_leader(self) -> None:
        """Stop the leader as Kubernetes does, and wait until another process works."""
        leader = self._crew.pop(0)
        stopped_at = dt.datetime.now(dt.UTC)
        leader.send(signal.SIGTERM)
        code = await leader.ended()
        if code:
            self._find(FindingKind.PROCESS, f"exit code {code} after SIGTERM")
        hidden = self.aws.queue_state(self.queue_url).in_flight
        if hidden and not self._crew:
            self._find(FindingKind.PROCESS, f"{hidden} messages were not released")
        await self._await_heir(stopped_at)

    async def _await_heir(self, since: dt.datetime) -> None:
        self.faults += 1
        is_takeover = bool(self._crew)
        await self.man(standby=False)
        heir = self._crew[0]
        await self._site.until(lambda: bool(heir.logged("leadership_acquired")))
        if is_takeover:
            acquired_at = dt.datetime.fromisoformat(heir.logged("leadership_acquired")["timestamp"])
            self.takeovers.append((acquired_at - since).total_seconds())
            await self.man(standby=True)

    def check_processes(self) -> None:
        """Note the processes that ended by themselves."""
        for process in self._crew:
            if process.has_ended:
                self._find(FindingKind.PROCESS, f"it ended: {process.lines()[-1:]}")
        self._crew = [process for process in self._crew if not process.has_ended]

    def redeliver(self) -> int:
        """Make every message in flight visible again, and return how many there were."""
        now = dt.datetime.now(dt.UTC)
        hidden = [message for message in self._contents() if message.visible_at > now]
        client = self.aws.session.client("sqs", endpoint_url=self.aws.endpoint_url)
        with contextlib.closing(client):
            for message in hidden:
                # It may be deleted by now.
                with contextlib.suppress(client.exceptions.ClientError):
                    client.change_message_visibility(
                        QueueUrl=self.queue_url,
                        ReceiptHandle=message.receipt_handle,
                        VisibilityTimeout=0,
                    )
        return len(hidden)

    async def until_over(self, limit: float) -> None:
        """Wait until the queue is empty, or the limit is over."""

        async def settled() -> bool:
            return not self.aws.queue_state(self.queue_url).total

        with contextlib.suppress(TimeoutError):
            await self._world.until(settled, limit=limit)

    def _contents(self) -> Sequence[records.MessageSnapshot]:
        return self.aws.contents(self.queue_url)

    async def _ask(self, instance_id: str, what: str) -> None:
        if self.storm is not None:
            await self.storm.ask(instance_id, what)

    def _find(self, kind: FindingKind, text: str) -> None:
        if self.storm is not None:
            self.storm.findings.append(Finding(kind, text))
