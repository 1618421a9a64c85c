"""The simulated cluster, with its API server in process or over HTTP."""

import asyncio
import contextlib
import datetime as dt
import itertools
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Protocol

from kubernetes.aio import client

from queue_processor.adapters.kube import api as adapter
from queue_processor.adapters.kube.transport import HttpTransport
from queue_processor.simulator.kube import api as served
from queue_processor.simulator.kube import clock, http
from queue_processor.simulator.kube.cluster import SimulatedCluster
from tests.contracts.kubernetes.administrator import LABELS, Administrator
from tests.contracts.kubernetes.cluster import OPERATOR_NAMESPACE
from tests.contracts.kubernetes.wire import Wire
from tests.fakes.cluster import DirectTransport

START = dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC)
_NAMESPACE = "work"
# Short, because over HTTP time is real.
_QUICK = clock.Delays(startup_seconds=0.02, exit_seconds=0.05, detach_seconds=0.05)
# A permission that the operator does not have; here nobody has it.
_DENIED = served.Denial(verb="update", resource="nodes")


class Connection(Protocol):
    """A connection to the API server that can be cut."""

    async def open(self, user_agent: str) -> adapter.Transport:
        """Open the connections."""

    async def cut(self) -> None:
        """Break all connections, and refuse new ones."""

    async def restore(self) -> None:
        """Accept connections again."""

    async def close(self) -> None:
        """Close the connections."""


class InProcessConnection:
    """The fake transport, in virtual time."""

    def __init__(self, server: served.SimulatedApiServer) -> None:
        self._server = server
        self._is_alive = asyncio.Event()
        self._is_alive.set()
        self._transports: list[DirectTransport] = []

    async def open(self, user_agent: str) -> adapter.Transport:
        made = DirectTransport(self._server, user_agent=user_agent, is_alive=self._is_alive)
        self._transports.append(made)
        return made

    async def cut(self) -> None:
        for transport in self._transports:
            transport.cut()

    async def restore(self) -> None:
        for transport in self._transports:
            transport.is_reachable = True

    async def close(self) -> None:
        pass


class HttpConnection:
    """The real transport, and a server on a socket."""

    def __init__(self, server: served.SimulatedApiServer) -> None:
        self._server = http.HttpServer(server)
        self._transports: list[HttpTransport] = []

    async def open(self, user_agent: str) -> adapter.Transport:  # noqa: ARG002 - it has its own
        if not self._transports:
            await self._server.start()
        made = HttpTransport(client.Configuration(host=self._server.url))
        self._transports.append(made)
        return made

    async def cut(self) -> None:
        await self._server.pause()

    async def restore(self) -> None:
        await self._server.resume()

    async def close(self) -> None:
        for transport in self._transports:
            await transport.close()
        await self._server.stop()


class SimulatedTarget:
    """A simulated cluster; `server` injects faults."""

    wire: Wire
    api: adapter.KubeApi
    admin: Administrator

    def __init__(self, connect: Callable[[served.SimulatedApiServer], Connection]) -> None:
        self.clock = clock.LoopClock(START)
        self.cluster = SimulatedCluster(_QUICK, self.clock)
        for namespace in (_NAMESPACE, OPERATOR_NAMESPACE):
            self.cluster.add_namespace(namespace)
        self.server = served.SimulatedApiServer(self.cluster)
        self.server.denials.append(_DENIED)
        self.connection = connect(self.server)
        self._numbers = itertools.count(1)

    async def open(self) -> None:
        """Open the connections."""
        self.wire = Wire(await self.connection.open("queue-processor"))
        self.api = adapter.KubeApi(self.wire)
        self.admin = Administrator(
            await self.connection.open("administrator"), namespace=_NAMESPACE
        )

    async def close(self) -> None:
        """Close the connections."""
        await self.connection.close()

    async def add_node(
        self,
        name: str = "",
        *,
        labels: Mapping[str, str] | None = None,
        instance_id: str = "",
        is_ready: bool = True,
    ) -> str:
        number = next(self._numbers)
        made = self.cluster.add_node(
            name or f"node-{number}",
            instance_id=instance_id or f"i-{number:017x}",
            labels=labels,
            ready=is_ready,
        )
        # The node controller writes its taints.
        await asyncio.sleep(0.01)
        return made.name

    async def add_daemon_pod(self, node: str) -> None:
        labels = {**LABELS, "app": "agent"}
        self.cluster.add_daemon_set("agent", labels=labels, nodes=[node], namespace=_NAMESPACE)

    @contextlib.asynccontextmanager
    async def paused_budget_controller(self) -> AsyncIterator[None]:
        with self.cluster.disruption.paused():
            yield

    async def expired_version(self) -> str:
        version = str(self.cluster.store.version)
        self._forget()
        return version

    async def expired_page(self, token: str) -> str:
        self._forget()
        return token

    def _forget(self) -> None:
        """Make a change, and forget the history until then."""
        self.cluster.add_namespace(f"namespace-{next(self._numbers)}")
        self.cluster.compact()

    async def until(self, holds: Callable[[], bool], *, limit: float = 30.0) -> None:
        """Wait until a condition holds in the simulator."""
        async with asyncio.timeout(limit):
            while not holds():  # noqa: ASYNC110 - anything may hold
                await asyncio.sleep(0.01)
