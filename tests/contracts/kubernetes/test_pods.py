"""Contract of `Pods`: lists and watches."""

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Callable

import pytest

from queue_processor.adapters.kube.api import KubeApi
from queue_processor.adapters.kube.pods import KubePods
from queue_processor.controller import ports
from queue_processor.domain import errors
from queue_processor.domain.identifiers import NodeName
from queue_processor.domain.pods import PodChange, PodView
from tests.cluster.manifests import PodShape
from tests.contracts.kubernetes.administrator import LABELS
from tests.contracts.kubernetes.cluster import Cluster
from tests.contracts.kubernetes.targets import over_http
from tests.contracts.kubernetes.wire import ShortWatches


@pytest.fixture
def port(cluster: Cluster) -> ports.Pods:
    return KubePods(cluster.api)


async def node_of(cluster: Cluster) -> NodeName:
    return NodeName(await cluster.add_node())


class Seen:
    """The changes in a watch that concern the pods of one test."""

    def __init__(self, cluster: Cluster, changes: AsyncIterator[PodChange]) -> None:
        self._namespace = cluster.admin.namespace
        self._changes = changes

    async def until(
        self, fits: Callable[[PodView], bool] = lambda _: True, *, is_gone: bool = False
    ) -> PodChange:
        """Return the next change of a matching pod."""
        async with asyncio.timeout(5):
            async for change in self._changes:
                pod = change.pod
                if pod is None or pod.ref.namespace != self._namespace:
                    continue
                if change.is_gone is is_gone and fits(pod):
                    return change
        raise AssertionError("the watch has ended")


def named(name: str) -> Callable[[PodView], bool]:
    return lambda pod: pod.ref.name == name


@contextlib.asynccontextmanager
async def watching(cluster: Cluster, port: ports.Pods, version: str) -> AsyncIterator[Seen]:
    async with port.watch(version) as changes:
        yield Seen(cluster, changes)


# Lists.


async def test_the_pods_of_a_node_are_listed_and_no_others(
    cluster: Cluster, port: ports.Pods
) -> None:
    node, other, empty = [await node_of(cluster) for _ in range(3)]
    pods = [
        await cluster.admin.add(
            cluster.admin.pod_body(f"web-{number}", PodShape(labels=LABELS), node=place)
        )
        for number, place in enumerate((node, other, node))
    ]
    lists = await port.on_nodes([node, empty])

    refs = {name: {pod.ref for pod in listed.pods} for name, listed in lists.items()}
    assert refs == {node: {pods[0], pods[2]}, empty: set()}
    async with watching(cluster, port, lists[empty].version) as seen:
        body = cluster.admin.pod_body("late", PodShape(labels=LABELS), node=other)
        late = await cluster.admin.add(body)
        change = await seen.until(named("late"))
        assert change.pod is not None
        assert (change.pod.ref, change.node_name) == (late, other)


async def test_a_list_is_not_older_than_the_requested_version(
    cluster: Cluster, port: ports.Pods
) -> None:
    node = await node_of(cluster)
    for number in range(10):
        pod = await cluster.admin.add(
            cluster.admin.pod_body(f"web-{number}", PodShape(labels=LABELS), node=node)
        )
        made = await cluster.admin.pod(pod)
        assert made is not None
        version = made["metadata"]["resourceVersion"]
        listed = await port.on_node(node, not_before=version)
        assert pod in {each.ref for each in listed.pods}
        assert int(listed.version) >= int(version)
        assert cluster.wire.last.query == {
            "fieldSelector": f"spec.nodeName={node}",
            "resourceVersion": version,
            "resourceVersionMatch": "NotOlderThan",
        }


async def test_a_list_newer_than_the_server_is_a_temporary_error(
    cluster: Cluster, port: ports.Pods
) -> None:
    node = await node_of(cluster)
    version = int((await port.on_node(node)).version)
    with pytest.raises(errors.TemporaryError, match="Too large resource version") as fault:
        await port.on_node(node, not_before=str(version + 1_000_000))

    assert fault.value.retry_after == dt.timedelta(seconds=1)
    assert cluster.wire.last.refusal == (504, "Timeout", ("ResourceVersionTooLarge",))


# Watches.


@over_http
async def test_a_watch_goes_on_from_the_version_of_the_list(
    cluster: Cluster, port: ports.Pods
) -> None:
    node = await node_of(cluster)
    old = await cluster.admin.add_pod(node, "old")
    stored = await cluster.admin.pod(old)
    assert stored is not None
    version = (await port.on_node(node, not_before=stored["metadata"]["resourceVersion"])).version
    new = await cluster.admin.add_pod(node, "new")
    async with watching(cluster, port, version) as seen:
        added = await seen.until()
        await port.delete(new, dt.timedelta(seconds=20))
        stopping = await seen.until(lambda pod: pod.is_terminating)
        await port.delete(new, dt.timedelta())
        gone = await seen.until(is_gone=True)

    assert added.pod is not None
    assert stopping.pod is not None
    assert gone.pod is not None
    assert {each.pod.ref for each in (added, stopping, gone) if each.pod} == {new}
    assert {each.node_name for each in (added, stopping, gone)} == {node}
    assert not added.pod.is_terminating
    assert int(version) < int(added.version) < int(stopping.version) < int(gone.version)


@over_http
async def test_a_watch_covers_all_nodes_and_names_the_node(
    cluster: Cluster, port: ports.Pods
) -> None:
    node, other = await node_of(cluster), await node_of(cluster)
    version = (await port.on_node(node)).version
    await cluster.admin.add_pod(other, "elsewhere")
    await cluster.admin.add_pod(node, "here")
    async with watching(cluster, port, version) as seen:
        elsewhere, here = await seen.until(named("elsewhere")), await seen.until(named("here"))

    assert (elsewhere.node_name, here.node_name) == (other, node)


@over_http
async def test_a_pod_enters_a_watch_when_it_is_bound_to_a_node(
    cluster: Cluster, port: ports.Pods
) -> None:
    node = await node_of(cluster)
    version = (await port.on_node(node)).version
    pod = await cluster.admin.add_unbound_pod()
    async with watching(cluster, port, version) as seen:
        await cluster.admin.api.post(
            f"{cluster.admin.path_of(pod)}/binding",
            {
                "apiVersion": "v1",
                "kind": "Binding",
                "metadata": {"name": pod.name},
                "target": {"apiVersion": "v1", "kind": "Node", "name": node},
            },
        )
        change = await seen.until()

    assert change.pod is not None
    assert (change.pod.ref, change.node_name) == (pod, node)


@over_http
async def test_a_watch_that_is_opened_again_goes_on_after_the_last_change(
    cluster: Cluster, port: ports.Pods
) -> None:
    node = await node_of(cluster)
    version = (await port.on_node(node)).version
    await cluster.admin.add_pod(node, "first")
    async with watching(cluster, port, version) as seen:
        first = await seen.until(named("first"))
    second = await cluster.admin.add_pod(node, "second")
    async with watching(cluster, port, first.version) as seen:
        change = await seen.until(named("second"))

    assert change.pod is not None
    assert change.pod.ref == second
    assert int(change.version) > int(first.version)


@over_http
async def test_a_watch_ends_with_a_bookmark_if_anything_has_changed(
    cluster: Cluster,
) -> None:
    port = KubePods(KubeApi(ShortWatches(cluster.wire, seconds=5)))
    version = (await port.on_node(await node_of(cluster))).version
    async with port.watch(version) as changes:
        # The watch does not cover it: it is not bound to a node.
        unbound = await cluster.admin.add_unbound_pod()
        bookmarks = [change async for change in changes if change.pod is None]

    made = await cluster.admin.pod(unbound)
    assert made is not None
    assert int(bookmarks[-1].version) >= int(made["metadata"]["resourceVersion"])
    assert bookmarks[-1].node_name is None


@over_http
async def test_a_watch_from_a_version_that_is_too_old_is_expired(
    cluster: Cluster, port: ports.Pods
) -> None:
    await cluster.admin.add_pod(await node_of(cluster))
    version = await cluster.expired_version()
    with pytest.raises(errors.WatchExpired, match="too old resource version"):
        async with port.watch(version) as changes:
            await anext(changes)
