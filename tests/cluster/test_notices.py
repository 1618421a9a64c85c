"""From instance metadata to the drained node: watchers, the operator, and a real API server."""

import asyncio
import collections
import pathlib
import random
from collections.abc import AsyncIterator

import pytest

from queue_processor.domain.events import EventKind
from tests.cluster import manifests
from tests.cluster.manifests import PodShape
from tests.cluster.site import Site
from tests.cluster.watchers import WatchedNodes

GOING = {f"spot-{number}": f"i-{number:017x}" for number in range(6)}
STAYING = {"stays": f"i-{99:017x}"}
PODS_EACH = 4
# Of watchers, and as many of operators.
KILLS = 4
SPOT = EventKind.SPOT_INTERRUPTION


@pytest.fixture
async def watched(scene: Site, tmp_path: pathlib.Path) -> AsyncIterator[WatchedNodes]:
    """Six Spot nodes with a watcher and four pods each, and a node that stays."""
    await scene.world.make_nodes([*GOING.items(), *STAYING.items()])
    shape = PodShape(exits_after="300ms")
    await scene.world.create_all(
        manifests.pod(f"web-{node}-{number}", shape, node_name=node)
        for node in GOING
        for number in range(PODS_EACH)
    )
    made = WatchedNodes(scene.world, tmp_path)
    await made.start(GOING)
    yield made
    await made.close()


def evicted_twice(scene: Site) -> list[str]:
    """The pods with more than one granted eviction; none of them has an owner, or a namesake."""
    granted = collections.Counter(
        request.name
        for request in scene.audit.made("create", "pods/eviction")
        if request.code == 201
    )
    return [name for name, count in granted.items() if count > 1]


async def test_what_instance_metadata_announces_is_drained_and_nothing_else(
    scene: Site, watched: WatchedNodes
) -> None:
    await scene.lead()

    async with scene.history.watching():
        for node in GOING:
            watched.announce(node, SPOT)
        await scene.until(lambda: GOING.keys() == scene.history.marked)
        await watched.until_settled(*GOING)

    assert scene.history.marked == GOING.keys()
    assert scene.history.left_on(*GOING) == []
    assert evicted_twice(scene) == []


@pytest.mark.parametrize("is_notice_first", [True, False], ids=["notice first", "queue first"])
@pytest.mark.parametrize("leaders", [1, 2], ids=["one leader", "another leader between"])
async def test_a_node_that_both_sources_name_is_drained_once(
    scene: Site, watched: WatchedNodes, *, is_notice_first: bool, leaders: int
) -> None:
    node, instance = next(iter(GOING.items()))
    slow = manifests.pod("slow", PodShape(exits_after="3s"), node_name=node)
    await scene.world.create(slow)
    first = await scene.lead()

    async with scene.history.watching():
        if is_notice_first:
            watched.announce(node, SPOT)
        else:
            scene.interrupt(instance)
        await scene.until(lambda: node in scene.history.marked)
        if leaders > 1:
            await first.kill()
            await scene.lead()
        if is_notice_first:
            scene.interrupt(instance)
        else:
            watched.announce(node, SPOT)
            await watched.until_written(node)
        await watched.until_settled(node)
        await scene.until(scene.is_settled)

    assert scene.history.marked == {node}
    assert scene.history.left_on(node) == []
    assert evicted_twice(scene) == []


async def test_kills_at_random_instants_lose_no_notice(scene: Site, watched: WatchedNodes) -> None:
    instants = random.SystemRandom()
    operator = await scene.lead()

    async with scene.history.watching():
        for node in GOING:
            watched.announce(node, SPOT)
        for _ in range(KILLS):
            await asyncio.sleep(instants.uniform(0, 1))
            node = instants.choice(list(GOING))
            await watched.kill(node)
            await watched.watch(node)
            await asyncio.sleep(instants.uniform(0, 1))
            await operator.kill()
            operator = await scene.start()
        await scene.until(lambda: GOING.keys() == scene.history.marked)
        await watched.until_settled(*GOING)

    assert scene.history.left_on(*GOING) == []
    assert evicted_twice(scene) == []


@pytest.mark.parametrize("cordoned_by", ["us", "somebody else"])
async def test_a_scheduled_event_that_is_cancelled_uncordons_what_we_cordoned(
    scene: Site, watched: WatchedNodes, cordoned_by: str
) -> None:
    node = next(iter(GOING))
    is_foreign = cordoned_by == "somebody else"
    if is_foreign:
        await scene.world.api.patch(f"/api/v1/nodes/{node}", {"spec": {"unschedulable": True}})
    await scene.lead()

    async def has_taint() -> bool:
        taints = (await _spec_of(scene, node)).get("taints") or ()
        return "queue-processor/scheduled-change" in {taint["key"] for taint in taints}

    async def has_no_taint() -> bool:
        return not await has_taint()

    watched.announce(node, EventKind.SCHEDULED_CHANGE)
    await scene.world.until(has_taint)
    await watched.until_settled(node)
    assert await has_taint()
    watched.announce(node, EventKind.SCHEDULED_CHANGE, is_cancelled=True)
    await scene.world.until(has_no_taint)
    await watched.until_settled(node)

    assert bool((await _spec_of(scene, node)).get("unschedulable")) is is_foreign


async def _spec_of(scene: Site, node: str) -> manifests.JsonObject:
    body = await scene.world.node(node)
    assert body is not None
    spec: manifests.JsonObject = body["spec"]
    return spec
