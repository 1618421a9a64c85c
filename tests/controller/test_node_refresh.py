"""An instance that is not in the index is looked up on the API server before that is believed."""

import asyncio

import pytest

from queue_processor.domain import errors
from queue_processor.simulator.kube import faults
from tests.controller import stage

pytestmark = pytest.mark.looptime

NODES = "/api/v1/nodes"


def _lists(world: stage.World) -> int:
    return world.cluster.history.count_requests("list", "nodes")


async def test_a_node_that_joined_unseen_by_the_watch_is_drained_for_a_spot_interruption(
    world: stage.World,
) -> None:
    operator = await world.start()
    operator.lose_watch()
    world.add_nodes(2)
    world.cluster.add_replica_set("web", replicas=1, labels={"app": "web"}, nodes=["node-0"])

    world.send_spot(0)
    await world.until_settled(limit=110)

    assert world.is_cordoned("node-0")
    assert not world.pods_on("node-0")


async def test_a_hook_is_not_completed_while_pods_run_on_a_node_that_the_watch_missed(
    world: stage.World,
) -> None:
    operator = await world.start()
    operator.lose_watch()
    world.add_nodes(2)
    world.cluster.add_replica_set("web", replicas=1, labels={"app": "web"}, nodes=["node-0"])

    world.send_termination(0)
    (record,) = world.lifecycle.records.values()
    await world.until(lambda: record.completed_at is not None, limit=110)

    assert not world.pods_on("node-0")


async def test_one_list_every_five_seconds_serves_however_many_unknown_instances(
    world: stage.World,
) -> None:
    world.add_nodes(3)
    await world.start(drain={"unknown_instance_grace_seconds": 0}, sources={"max_in_flight": 100})
    before = _lists(world)

    for number in range(60):
        world.send_spot(100 + number)
        await asyncio.sleep(0.25)
    await world.until_settled()

    assert 3 <= _lists(world) - before <= 5


async def test_an_instance_stays_unknown_only_after_a_list_that_succeeded(
    world: stage.World,
) -> None:
    world.add_nodes(1)
    await world.start(drain={"unknown_instance_grace_seconds": 0})
    refusal = faults.ErrorResponse(503, "ServiceUnavailable")
    world.server.faults.add(faults.Fault(refusal, path=NODES, method="GET", seconds=120))

    world.send_spot(7)
    await asyncio.sleep(119)
    assert world.queue.left == 1
    await world.until_settled(limit=120)


async def test_a_refresh_whose_lists_all_fail_is_a_temporary_error(world: stage.World) -> None:
    operator = await world.start()
    refusal = faults.ErrorResponse(503, "ServiceUnavailable")
    world.server.faults.add(faults.Fault(refusal, path=NODES, method="GET", times=3))

    with pytest.raises(errors.TemporaryError):
        await operator.node_refresh.refresh()
    await operator.node_refresh.refresh()


async def test_a_server_that_asks_for_a_long_pause_does_not_delay_a_refresh_for_so_long(
    world: stage.World,
) -> None:
    operator = await world.start()
    busy = faults.ErrorResponse(429, "TooManyRequests", "busy", retry_after=86_400)
    world.server.faults.add(faults.Fault(busy, path=NODES, method="GET", times=2))

    async with asyncio.timeout(90):
        await operator.node_refresh.refresh()


async def test_a_refresh_that_asks_during_a_list_waits_for_the_next_one(
    world: stage.World,
) -> None:
    operator = await world.start()
    operator.lose_watch()
    await asyncio.sleep(10)
    world.server.faults.add(faults.Fault(faults.Delay(2), path=NODES, times=1))
    first = asyncio.create_task(operator.node_refresh.refresh())
    await asyncio.sleep(3)
    before = _lists(world)
    world.add_nodes(1)
    world.server.faults.add(faults.Fault(faults.Delay(2), path=NODES, times=1))
    await asyncio.sleep(0)
    await operator.node_refresh.refresh()

    assert first.done()
    assert _lists(world) == before + 1
    assert operator.node_index.find(stage.instance(0)) is not None


async def test_one_who_is_cancelled_does_not_cancel_the_list_of_the_others(
    world: stage.World,
) -> None:
    operator = await world.start()
    one, other = (asyncio.create_task(operator.node_refresh.refresh()) for _ in range(2))
    await asyncio.sleep(1)
    one.cancel()
    await other


async def test_a_page_of_a_list_has_the_time_that_500_nodes_need(world: stage.World) -> None:
    operator = await world.start()
    operator.lose_watch()
    world.add_nodes(1)
    world.server.faults.add(faults.Fault(faults.Delay(25), path=NODES, times=3))
    await operator.node_refresh.refresh()

    assert operator.node_index.find(stage.instance(0)) is not None


async def test_a_node_that_was_deleted_while_the_watch_was_cut_leaves_the_index(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    operator = await world.start()
    operator.transport.cut()
    world.cluster.remove_node("node-0")
    await asyncio.sleep(5)
    operator.transport.is_reachable = True

    await world.until(lambda: operator.node_index.find(stage.instance(0)) is None, limit=20)


async def test_a_node_that_registered_again_while_the_watch_was_dead_is_drained(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    operator = await world.start()
    operator.lose_watch()
    world.cluster.remove_node("node-0")
    await asyncio.sleep(1)
    world.cluster.add_node("node-0", instance_id=stage.instance(0))
    world.cluster.add_pod("again", node="node-0")

    world.send_termination(0)
    await world.until_settled()

    assert world.is_cordoned("node-0")
    assert not world.pods_on("node-0")


async def test_pods_that_arrive_at_a_node_that_registered_again_unseen_are_no_endless_work(
    world: stage.World,
) -> None:
    world.add_nodes(1)
    world.add_blocked_pod("node-0")
    world.cluster.add_replica_set("web", replicas=2, labels={"app": "web"}, nodes=["node-0"])
    operator = await world.start()
    world.send_spot(0)
    await world.until(lambda: world.is_cordoned("node-0"))
    operator.lose_watch()
    await asyncio.sleep(10)

    world.cluster.remove_node("node-0")
    await asyncio.sleep(1)
    world.cluster.add_node("node-0", instance_id=stage.instance(0))

    await world.until(lambda: world.is_cordoned("node-0"), limit=8)
    assert len(world.cluster.history.evictions) < 50
