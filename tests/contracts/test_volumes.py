"""What Volumes do, whichever way their requests take."""

import asyncio
from collections.abc import Collection

import pytest

from queue_processor.adapters.kube.volumes import KubeVolumes
from queue_processor.controller import ports
from queue_processor.domain import errors
from queue_processor.domain.identifiers import NodeName
from queue_processor.simulator.kube import collection, faults, manifests, resources
from tests.contracts.clusters import Site

NODE = NodeName("node-a")


@pytest.fixture
def port(site: Site) -> ports.Volumes:
    site.cluster.add_node(NODE, instance_id="i-0123456789abcdef0")
    site.cluster.add_node("node-b", instance_id="i-0123456789abcdef1")
    return KubeVolumes(site.api)


async def attach(site: Site, claim: str, node: str = NODE) -> str:
    """Run a pod with a volume; the path of the pod."""
    name = f"uses-{claim}"
    site.cluster.add_pod(name, node=node, spec=manifests.PodSpec(volumes=[claim]))
    volume = collection.volume_name("default", claim)
    attachment = collection.attachment_name(volume, node)
    store = site.cluster.store
    await site.until(lambda: store.get(resources.ATTACHMENTS, "", attachment) is not None)
    return f"/api/v1/namespaces/default/pods/{name}"


def waiting(port: ports.Volumes, staying: Collection[tuple[str, str]] = ()) -> "asyncio.Task[None]":
    return asyncio.create_task(port.await_detached(NODE, staying=staying))


async def ends(task: "asyncio.Task[None]") -> bool:
    """Whether a task ends soon."""
    done, _ = await asyncio.wait((task,), timeout=2)
    return bool(done) and task.exception() is None


async def ends_not(task: "asyncio.Task[None]") -> bool:
    """Whether a task goes on for a while."""
    done, _ = await asyncio.wait((task,), timeout=0.2)
    return not done


async def test_a_node_without_volumes_is_not_waited_for(site: Site, port: ports.Volumes) -> None:
    await attach(site, "elsewhere", node="node-b")

    assert await ends(waiting(port))


async def test_the_last_volume_that_is_detached_ends_the_wait(
    site: Site, port: ports.Volumes
) -> None:
    one, two = await attach(site, "one"), await attach(site, "two")
    task = waiting(port)
    assert await ends_not(task)
    await site.api.delete(one, {"gracePeriodSeconds": 0})
    assert await ends_not(task)
    await site.api.delete(two, {"gracePeriodSeconds": 0})

    assert await ends(task)


async def test_volumes_of_pods_that_stay_are_not_waited_for(
    site: Site, port: ports.Volumes
) -> None:
    await attach(site, "kept")
    moved = await attach(site, "moved")
    task = waiting(port, staying=[("default", "kept"), ("default", "unknown")])
    assert await ends_not(task)
    await site.api.delete(moved, {"gracePeriodSeconds": 0})

    assert await ends(task)


async def test_a_watch_that_ends_or_expires_is_begun_again(site: Site, port: ports.Volumes) -> None:
    pod = await attach(site, "one")
    task = waiting(port)
    await site.until(lambda: site.cluster.hub.count == 1)
    site.cluster.drop_watches()
    await site.until(lambda: site.cluster.hub.count == 1)
    site.server.faults.add(
        faults.Fault(faults.Answer(410, "Expired"), path=".*volumeattachments", times=1)
    )
    site.cluster.drop_watches()
    await site.until(lambda: site.cluster.hub.count == 0)
    await site.until(lambda: site.cluster.hub.count == 1 or task.done())
    await site.api.delete(pod, {"gracePeriodSeconds": 0})

    assert await ends(task)


async def test_an_outage_is_a_fault(site: Site, port: ports.Volumes) -> None:
    await attach(site, "one")
    task = waiting(port)
    await site.until(lambda: site.cluster.hub.count == 1)
    await site.way.cut()

    with pytest.raises(errors.TemporaryFault):
        await task
