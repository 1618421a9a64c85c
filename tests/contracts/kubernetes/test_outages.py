"""The adapters while a simulated server delays responses or cuts connections."""

import asyncio
import contextlib
from collections.abc import Coroutine

import pytest

from queue_processor.adapters.kube.api import KubeApi
from queue_processor.adapters.kube.pods import KubePods
from queue_processor.adapters.kube.volumes import KubeVolumes
from queue_processor.controller import ports
from queue_processor.controller.adaptive_limit import AdaptiveLimit
from queue_processor.controller.limiter import PriorityLimiter
from queue_processor.controller.pod_watcher import PodWatcher, Subscription
from queue_processor.domain import errors
from queue_processor.domain.identifiers import NodeName
from queue_processor.domain.pods import Eviction, EvictionAnswer
from queue_processor.simulator.kube import faults
from tests.contracts.kubernetes.simulated import SimulatedTarget


@pytest.fixture
def pods(simulation: SimulatedTarget) -> ports.Pods:
    return KubePods(simulation.api)


async def node_of(simulation: SimulatedTarget) -> NodeName:
    return NodeName(await simulation.add_node())


# Requests.


@pytest.mark.parametrize("is_late", [False, True])
async def test_an_eviction_whose_answer_is_lost_can_be_repeated(
    simulation: SimulatedTarget, pods: ports.Pods, *, is_late: bool
) -> None:
    pod = await simulation.admin.add_pod(await node_of(simulation))
    cut = faults.Fault(faults.Cut(after_effect=is_late), method="POST", times=1)
    simulation.server.faults.add(cut)
    with pytest.raises(errors.TemporaryError):
        await pods.evict(pod)
    assert await simulation.admin.is_terminating_or_gone(pod) == is_late

    assert (await pods.evict(pod)).answer is EvictionAnswer.ACCEPTED
    assert await simulation.admin.is_terminating_or_gone(pod)


async def test_requests_that_are_cut_off_in_an_outage_are_errors(
    simulation: SimulatedTarget, pods: ports.Pods
) -> None:
    node = await node_of(simulation)
    simulation.server.faults.add(faults.Fault(faults.Delay(15), times=1))
    asking = asyncio.create_task(pods.on_node(node))
    await asyncio.sleep(0.1)
    await simulation.connection.cut()
    await asyncio.wait((asking,), timeout=10)
    assert isinstance(asking.exception(), errors.TemporaryError)
    with pytest.raises(errors.TemporaryError):
        await pods.on_node(node)
    await simulation.connection.restore()

    with contextlib.suppress(errors.TemporaryError):
        # The client may notice a closed connection only when it uses it.
        await pods.on_node(node)
    assert (await pods.on_node(node)).pods == ()


async def test_an_eviction_whose_caller_was_cancelled_is_still_completed(
    simulation: SimulatedTarget,
) -> None:
    pods = KubePods(simulation.api)
    pod = await simulation.admin.add_pod(await node_of(simulation))
    simulation.server.faults.add(faults.Fault(faults.Delay(0.5), method="POST", times=1))
    await give_up(pods.evict(pod))
    assert not await simulation.admin.is_terminating_or_gone(pod)

    await pods.await_answers()

    assert simulation.wire.last.answer.status == 201
    assert await simulation.admin.is_terminating_or_gone(pod)


async def test_evictions_that_are_never_answered_hold_up_a_stop_for_two_seconds(
    simulation: SimulatedTarget,
) -> None:
    loop = asyncio.get_running_loop()
    pods = KubePods(simulation.api)
    pod = await simulation.admin.add_pod(await node_of(simulation))
    simulation.server.faults.add(faults.Fault(faults.Hang(), method="POST", times=1))
    await give_up(pods.evict(pod))
    began = loop.time()

    await pods.await_answers()

    assert 1.9 < loop.time() - began < 2.5


async def give_up(evicting: Coroutine[None, None, Eviction]) -> None:
    """Begin an eviction, and stop waiting for it."""
    asking = asyncio.create_task(evicting)
    await asyncio.sleep(0.1)
    asking.cancel()
    await asyncio.wait((asking,))
    assert asking.cancelled()


# Watches.


async def test_a_watch_whose_connection_is_cut_is_an_error_and_can_be_opened_again(
    simulation: SimulatedTarget, pods: ports.Pods
) -> None:
    node = await node_of(simulation)
    version = (await pods.on_node(node)).version
    async with pods.watch(version) as changes:
        await simulation.connection.cut()
        with pytest.raises(errors.TemporaryError):
            await asyncio.wait_for(anext(changes), 5)
    with pytest.raises(errors.TemporaryError):
        async with pods.watch(version):
            pass
    await simulation.connection.restore()
    new = simulation.cluster.add_pod("new", node=node)
    async with pods.watch(version) as changes:
        change = await asyncio.wait_for(anext(changes), 5)

    assert change.pod is not None
    assert change.pod.ref.uid == new.uid


@pytest.mark.parametrize("is_late", [False, True])
async def test_a_watch_that_is_cut_at_its_beginning_is_an_error(
    simulation: SimulatedTarget, pods: ports.Pods, *, is_late: bool
) -> None:
    simulation.server.faults.add(faults.Fault(faults.Cut(after_effect=is_late)))
    with pytest.raises(errors.TemporaryError):
        async with pods.watch("1"):
            pass

    assert simulation.cluster.hub.count == 0


async def test_a_watch_ends_when_the_server_stops_in_good_order(
    simulation: SimulatedTarget, pods: ports.Pods
) -> None:
    version = (await pods.on_node(await node_of(simulation))).version
    async with pods.watch(version) as changes:
        simulation.cluster.drop_watches()

        assert [change async for change in changes] == []


async def test_an_error_inside_an_open_watch_keeps_its_type(
    simulation: SimulatedTarget, pods: ports.Pods
) -> None:
    version = (await pods.on_node(await node_of(simulation))).version
    with pytest.raises(TimeoutError, match="of our own"):
        async with pods.watch(version):
            raise TimeoutError("of our own")

    await simulation.until(lambda: simulation.cluster.hub.count == 0)


async def test_a_watch_that_nobody_reads_any_more_is_closed(
    simulation: SimulatedTarget, pods: ports.Pods
) -> None:
    version = (await pods.on_node(await node_of(simulation))).version
    async with pods.watch(version):
        await simulation.until(lambda: simulation.cluster.hub.count == 1)

    await simulation.until(lambda: simulation.cluster.hub.count == 0)


async def test_a_server_that_ends_watches_at_once_gets_few_requests(
    simulation: SimulatedTarget,
) -> None:
    node = await node_of(simulation)
    feed = PodWatcher(
        KubePods(KubeApi(simulation.wire)),
        limiter=PriorityLimiter(AdaptiveLimit(floor=1, ceiling=1), may_write=lambda: True),
        count_nodes=lambda: 1,
    )
    watching = asyncio.create_task(feed.run())
    with feed.subscribed(Subscription(node, on_change=lambda _: None, on_gap=lambda: None)):
        await feed.pods_on(node, ends_at=asyncio.get_running_loop().time() + 10)
        for _ in range(100):
            simulation.cluster.drop_watches()
            await asyncio.sleep(0.01)
    watching.cancel()
    await asyncio.wait((watching,))

    assert 1 < len(simulation.wire.watches) < 10


async def test_a_wait_for_volumes_outlasts_an_outage(simulation: SimulatedTarget) -> None:
    node = await node_of(simulation)
    attachment = await simulation.admin.attach("one", node)
    port: ports.Volumes = KubeVolumes(simulation.api)
    task = asyncio.create_task(port.await_detached(node, staying=()))
    await simulation.until(lambda: simulation.cluster.hub.count == 1)
    await simulation.connection.cut()
    await simulation.connection.restore()
    await simulation.admin.remove(attachment)

    await asyncio.wait_for(task, 5)
    await simulation.until(lambda: simulation.cluster.hub.count == 0)


async def test_a_missing_permission_on_volumes_is_a_permanent_error(
    simulation: SimulatedTarget,
) -> None:
    node = await node_of(simulation)
    port: ports.Volumes = KubeVolumes(simulation.api)
    refused = faults.ErrorResponse(403, "Forbidden", "no")
    simulation.server.faults.add(faults.Fault(refused, path=".*/volumeattachments"))

    for _ in range(2):
        with pytest.raises(errors.PermanentError):
            await port.await_detached(node, staying=())
