"""A fleet of the simulator that follows a simulated cluster, in virtual time."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from queue_processor.adapters.kube.api import KubeApi
from queue_processor.domain.identifiers import NodeName
from queue_processor.imds.nodes import NodeFeed
from queue_processor.simulator.imds.fleet import MetadataFleet
from queue_processor.simulator.kube import api
from queue_processor.simulator.kube.cluster import SimulatedCluster
from tests.fakes.cluster import DirectTransport
from tests.imds import conftest


class FollowedCluster:
    """A cluster, and a fleet that follows it."""

    def __init__(self) -> None:
        self.world = SimulatedCluster()
        is_alive = asyncio.Event()
        is_alive.set()
        self.transport = DirectTransport(
            api.SimulatedApiServer(self.world), user_agent="imds", is_alive=is_alive
        )
        self.fleet = MetadataFleet([])
        self.feed = NodeFeed(KubeApi(self.transport), self.fleet)

    def instance_id(self, name: str = "node-0") -> str | None:
        """The instance of a node, as its metadata has it."""
        node = NodeName(name)
        return self.fleet.instance_of(node).instance_id if self.fleet.has(node) else None

    def requested(self) -> set[tuple[str, str]]:
        """Return the verbs and resources of all requests to the cluster."""
        return {(kind.verb, kind.resource) for kind in self.world.history.requests}

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait, in virtual time, until something holds."""
        async with asyncio.timeout(300):
            while not holds():  # noqa: ASYNC110 - any state of the fleet
                await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def following() -> AsyncIterator[FollowedCluster]:
    made = FollowedCluster()
    conftest.build(made.world)
    await made.feed.refresh()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(made.feed.run())
        yield made
        task.cancel()
