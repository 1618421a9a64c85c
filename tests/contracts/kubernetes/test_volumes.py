"""Contract of `Volumes`."""

import asyncio
from collections.abc import Collection

import pytest

from queue_processor.adapters.kube.api import KubeApi
from queue_processor.adapters.kube.volumes import KubeVolumes
from queue_processor.controller import ports
from queue_processor.domain.identifiers import NodeName
from tests.contracts.kubernetes.cluster import Cluster
from tests.contracts.kubernetes.targets import over_http
from tests.contracts.kubernetes.wire import ShortWatches, SmallPages


@pytest.fixture
def port(cluster: Cluster) -> ports.Volumes:
    return KubeVolumes(cluster.api)


def waiting(
    port: ports.Volumes, node: str, staying: Collection[tuple[str, str]] = ()
) -> "asyncio.Task[None]":
    return asyncio.create_task(port.await_detached(NodeName(node), staying=staying))


async def ends(task: "asyncio.Task[None]") -> bool:
    """Return True if a task ends soon."""
    done, _ = await asyncio.wait((task,), timeout=60)
    return bool(done) and task.exception() is None


async def ends_not(task: "asyncio.Task[None]", *, seconds: float = 0.2) -> bool:
    """Return True if a task runs on for a while."""
    done, _ = await asyncio.wait((task,), timeout=seconds)
    return not done


async def test_a_node_without_volumes_is_not_waited_for(
    cluster: Cluster, port: ports.Volumes
) -> None:
    await cluster.admin.attach("elsewhere", await cluster.add_node())

    assert await ends(waiting(port, await cluster.add_node()))


async def test_the_last_volume_that_is_detached_ends_the_wait(
    cluster: Cluster, port: ports.Volumes
) -> None:
    node = await cluster.add_node()
    one, two = [await cluster.admin.attach(claim, node) for claim in ("one", "two")]
    task = waiting(port, node)
    assert await ends_not(task)
    await cluster.admin.remove(one)
    assert await ends_not(task)
    await cluster.admin.remove(two)

    assert await ends(task)


async def test_volumes_of_pods_that_stay_are_not_waited_for(
    cluster: Cluster, port: ports.Volumes
) -> None:
    node, namespace = await cluster.add_node(), cluster.admin.namespace
    await cluster.admin.attach("kept", node)
    moved = await cluster.admin.attach("moved", node)
    task = waiting(port, node, [(namespace, "kept"), (namespace, "unknown")])
    assert await ends_not(task)
    await cluster.admin.remove(moved)

    assert await ends(task)


async def test_volumes_on_all_pages_are_waited_for(cluster: Cluster) -> None:
    node = await cluster.add_node()
    attachments = [await cluster.admin.attach(claim, node) for claim in ("a", "b", "c")]
    port = KubeVolumes(KubeApi(SmallPages(cluster.wire)))
    task = waiting(port, node)
    for attachment in attachments:
        assert await ends_not(task, seconds=0.05)
        await cluster.admin.remove(attachment)

    assert await ends(task)
    # From the cache all of them come in one page, whatever the limit.
    (listed,) = [call.json for call in cluster.wire.calls if call.query.get("limit")]
    assert len(listed["items"]) == 3


async def test_one_list_and_one_watch_serve_all_nodes_that_wait(
    cluster: Cluster, port: ports.Volumes
) -> None:
    nodes = [await cluster.add_node() for _ in range(5)]
    attachments = [await cluster.admin.attach(f"claim-of-{node}", node) for node in nodes]
    before = len(cluster.wire.calls)
    tasks = [waiting(port, node) for node in nodes]
    assert await ends_not(tasks[0])
    for attachment, task in zip(attachments, tasks, strict=True):
        await cluster.admin.remove(attachment)
        assert await ends(task)

    calls = cluster.wire.calls[before:]
    assert [call.json["kind"] for call in calls] == ["VolumeAttachmentList"]
    assert cluster.wire.watches == ["/apis/storage.k8s.io/v1/volumeattachments"]


async def test_a_cancelled_wait_does_not_disturb_the_others(
    cluster: Cluster, port: ports.Volumes
) -> None:
    one, two = await cluster.add_node(), await cluster.add_node()
    await cluster.admin.attach("one", one)
    attachment = await cluster.admin.attach("two", two)
    first, second = waiting(port, one), waiting(port, two)
    assert await ends_not(first)
    first.cancel()
    await asyncio.wait((first,))
    await cluster.admin.remove(attachment)

    assert await ends(second)


@over_http
async def test_a_watch_that_ends_is_begun_again(cluster: Cluster) -> None:
    node = await cluster.add_node()
    attachment = await cluster.admin.attach("one", node)
    port = KubeVolumes(KubeApi(ShortWatches(cluster.wire, seconds=1)))
    task = waiting(port, node)
    assert await ends_not(task, seconds=1.5)
    await cluster.admin.remove(attachment)

    assert await ends(task)
