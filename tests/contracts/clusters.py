"""A simulated cluster, and the two ways to its API server: by a call, and over a socket."""

import asyncio
import datetime as dt
from collections.abc import Callable
from typing import Protocol

from kubernetes.aio import client

from queue_processor.adapters.kube import api as adapter
from queue_processor.adapters.kube.transport import HttpTransport
from queue_processor.simulator.kube import api, clock, http, settings, world
from tests.fakes.cluster import DirectTransport

START = dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC)
# Quick, because over sockets time is real.
_QUICK = settings.Settings(startup_seconds=0.02, exit_seconds=0.05, detach_seconds=0.05)


class Way(Protocol):
    """A way to the API server that can be cut."""

    @property
    def transport(self) -> adapter.Transport:
        """What the adapters send their requests with."""

    async def open(self) -> None:
        """Be ready for requests."""

    async def cut(self) -> None:
        """Break the connections that there are, and allow no others."""

    async def restore(self) -> None:
        """Allow connections again."""

    async def close(self) -> None:
        """Leave nothing open."""


class ByCall:
    """The fake transport, in virtual time."""

    def __init__(self, server: api.ApiServer) -> None:
        is_alive = asyncio.Event()
        is_alive.set()
        self.transport = DirectTransport(server, user_agent="queue-processor", is_alive=is_alive)

    async def open(self) -> None:
        pass

    async def cut(self) -> None:
        self.transport.cut()

    async def restore(self) -> None:
        self.transport.is_reachable = True

    async def close(self) -> None:
        pass


class ByHttp:
    """The real transport, and a server on a socket."""

    transport: HttpTransport

    def __init__(self, server: api.ApiServer) -> None:
        self._server = http.HttpServer(server)

    async def open(self) -> None:
        configuration = client.Configuration(host=await self._server.start())
        self.transport = HttpTransport(configuration)

    async def cut(self) -> None:
        await self._server.pause()

    async def restore(self) -> None:
        await self._server.resume()

    async def close(self) -> None:
        await self.transport.close()
        await self._server.stop()


class Site:
    """A cluster, and one way to it."""

    def __init__(self, choose: Callable[[api.ApiServer], Way]) -> None:
        self.clock = clock.LoopClock(START)
        self.cluster = world.Cluster(_QUICK, self.clock)
        self.server = api.ApiServer(self.cluster)
        self.way = choose(self.server)

    async def open(self) -> None:
        """Be ready for requests."""
        await self.way.open()
        self.api = adapter.KubeApi(self.way.transport)

    async def until(self, holds: Callable[[], bool], *, limit: float = 5.0) -> None:
        """Wait until something holds."""
        async with asyncio.timeout(limit):
            while not holds():  # noqa: ASYNC110 - anything may hold
                await asyncio.sleep(0.01)
