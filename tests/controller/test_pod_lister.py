"""Lists of pods under load: few of them, and no node waits long for its own."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Collection, Mapping

import pytest
import pytest_asyncio

from queue_processor.controller.adaptive_limit import AdaptiveLimit
from queue_processor.controller.limiter import PriorityLimiter
from queue_processor.controller.pod_lister import PodLister
from queue_processor.controller.ranks import Priority
from queue_processor.domain import errors
from queue_processor.domain.identifiers import NodeName
from queue_processor.domain.pods import PodList
from tests.controller import stage

pytestmark = pytest.mark.looptime

ENDS_AT = 120.0
NOTHING = PodList(pods=(), version="1")


@dataclasses.dataclass
class Server:
    """Answers lists: that of one node after `seconds`, that of the cluster after others.

    Attributes:
        seconds: Of a list of one node.
        of_cluster: The seconds of a list of the cluster.
        lists: The nodes that were asked for, by list.
        failing: Lists of so many nodes fail.
        hanging: The lists of these nodes are never answered.
    """

    seconds: float = 0.1
    of_cluster: float = 1.0
    failing: range = range(0)
    hanging: Collection[str] = ()
    lists: list[Collection[NodeName]] = dataclasses.field(default_factory=list)

    @property
    def shared(self) -> list[Collection[NodeName]]:
        """The lists of the cluster."""
        return [names for names in self.lists if len(names) > 1]

    async def list_pods(self, names: Collection[NodeName]) -> Mapping[NodeName, PodList]:
        self.lists.append(names)
        if any(name in self.hanging for name in names):
            await asyncio.Event().wait()
        await asyncio.sleep(self.seconds if len(names) == 1 else self.of_cluster)
        if len(names) in self.failing:
            raise errors.TemporaryError("the list is too long")
        return dict.fromkeys(names, NOTHING)


class Lister:
    """A lister at work in a cluster of 100 nodes."""

    def __init__(self) -> None:
        self.server = Server()
        self.limiter = PriorityLimiter(AdaptiveLimit(floor=24, ceiling=24), may_write=lambda: True)
        self._lister = PodLister(
            self.server.list_pods, limiter=self.limiter, count_nodes=lambda: 100
        )

    async def run(self) -> None:
        await self._lister.run()

    async def list_nodes(self, count: int, *, apart: float = 0.0) -> list[float]:
        """Ask for the pods of so many nodes, and return when each was answered.

        Args:
            count: How many nodes.
            apart: The seconds from one node to the next.
        """
        loop = asyncio.get_running_loop()

        async def answered_at(number: int) -> float:
            name = NodeName(f"node-{number}")
            await asyncio.sleep(number * apart)
            while True:
                try:
                    await self._lister.pods_on(name, ends_at=ENDS_AT)
                except errors.TemporaryError:
                    continue
                return loop.time()

        return list(await asyncio.gather(*(answered_at(number) for number in range(count))))


@pytest_asyncio.fixture
async def lister() -> AsyncIterator[Lister]:
    lister = Lister()
    running = asyncio.create_task(lister.run(), name="lister")
    yield lister
    running.cancel()
    await asyncio.wait((running,))


async def test_the_pods_of_one_node_are_listed_alone_and_at_once(lister: Lister) -> None:
    assert await lister.list_nodes(1) == [0.1]
    assert lister.server.lists == [{"node-0"}]


async def test_nodes_that_are_most_of_the_cluster_share_a_list(lister: Lister) -> None:
    assert max(await lister.list_nodes(90)) <= 1.2
    assert len(lister.server.lists) <= 4
    assert max(map(len, lister.server.lists)) >= 80


async def test_nodes_that_come_during_a_list_of_the_cluster_share_the_next_one(
    lister: Lister,
) -> None:
    lister.server.of_cluster = 8.0
    assert max(await lister.list_nodes(400, apart=0.02)) <= 20.0
    assert len(lister.server.shared) == 2
    assert sum(map(len, lister.server.shared)) >= 370


async def test_a_list_of_the_cluster_that_hangs_holds_up_the_next_one_for_ten_seconds(
    lister: Lister,
) -> None:
    lister.server.hanging = {"node-0", "node-10", "node-30"}
    listing = asyncio.create_task(lister.list_nodes(400, apart=0.02), name="list")
    await asyncio.sleep(13.0)
    asked_for = {name for names in lister.server.lists for name in names}
    listing.cancel()
    await asyncio.wait((listing,))
    assert len(asked_for) == 400


async def test_a_few_nodes_of_a_large_cluster_do_not_cost_a_list_of_all_pods(
    lister: Lister,
) -> None:
    assert max(await lister.list_nodes(24)) <= 1.3
    assert [len(names) for names in lister.server.lists] == [1] * 24


async def test_nodes_are_listed_one_by_one_after_a_list_of_the_cluster_has_failed(
    lister: Lister,
) -> None:
    lister.server.failing = range(2, 1000)
    assert max(await lister.list_nodes(90)) <= 6.0
    assert len(lister.server.shared) == 1
    lister.server.failing = range(0)
    await lister.list_nodes(90)
    assert len(lister.server.shared) > 1


async def test_lists_that_hang_hold_up_the_other_nodes_for_two_seconds_at_most(
    lister: Lister,
) -> None:
    lister.server.hanging = {"node-0", "node-1", "node-2"}
    listing = asyncio.create_task(lister.list_nodes(20), name="list")
    await asyncio.sleep(1.0 + 1.0 + 20 * 0.1)
    asked_for = {name for names in lister.server.lists for name in names}
    listing.cancel()
    await asyncio.wait((listing,))
    assert len(asked_for) == 20


async def test_a_list_waits_for_cordons_but_not_for_evictions(lister: Lister) -> None:
    async def hold(priority: Priority) -> None:
        async with lister.limiter.slot(priority, ENDS_AT):
            await asyncio.sleep(1.0)

    async with asyncio.TaskGroup() as requests:
        for _ in range(2 * (24 + 4)):
            requests.create_task(hold(Priority.CORDON), name="cordon")
        await asyncio.sleep(0)
        for _ in range(100):
            requests.create_task(hold(Priority.EVICTION), name="eviction")
        await asyncio.sleep(0)
        assert await lister.list_nodes(2) == [pytest.approx(2.1, abs=0.01)] * 2


async def test_a_drain_that_is_cancelled_is_not_listed(lister: Lister) -> None:
    waiting = asyncio.create_task(lister.list_nodes(20), name="cancelled")
    await asyncio.sleep(0.05)
    waiting.cancel()
    await asyncio.wait((waiting,))
    await asyncio.sleep(5)
    assert len(lister.server.lists) == 2
    assert await lister.list_nodes(1)


async def test_a_storm_on_the_whole_cluster_lists_pods_with_few_requests(
    world: stage.World,
) -> None:
    world.add_nodes(200)
    for number in range(200):
        world.cluster.add_pod(f"web-{number}", node=f"node-{number}")
    await world.start()

    for number in range(200):
        world.send_spot(number)
    await world.until_settled()

    requests = world.cluster.history.requests.items()
    lists = sum(count for kind, count in requests if (kind.verb, kind.resource) == ("list", "pods"))
    assert 1 <= lists <= 60
    assert not any(world.pods_on(f"node-{number}") for number in range(200))
