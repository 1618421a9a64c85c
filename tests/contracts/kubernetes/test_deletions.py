"""Contract of `Pods`: deletions."""

import datetime as dt

import pytest

from queue_processor.adapters.kube.pods import KubePods
from queue_processor.controller import ports
from queue_processor.domain.pods import EvictionAnswer, PodRef
from tests.cluster.manifests import PodShape
from tests.contracts.kubernetes.cluster import Cluster


@pytest.fixture
def port(cluster: Cluster) -> ports.Pods:
    return KubePods(cluster.api)


async def running_pod(cluster: Cluster) -> PodRef:
    return await cluster.admin.add_pod(await cluster.add_node())


async def test_a_deletion_has_the_requested_grace_period(
    cluster: Cluster, port: ports.Pods
) -> None:
    pod = await running_pod(cluster)
    await cluster.admin.add_observed_budget("web", healthy=1, maxUnavailable=0)
    await port.delete(pod, dt.timedelta(seconds=7))

    assert (await cluster.admin.grace_of(pod))[0] == 7


async def test_a_later_deletion_can_only_shorten_the_grace(
    cluster: Cluster, port: ports.Pods
) -> None:
    pod = await running_pod(cluster)
    await port.evict(pod)
    _, first_end = await cluster.admin.grace_of(pod)
    await port.delete(pod, dt.timedelta(seconds=60))
    assert await cluster.admin.grace_of(pod) == (30, first_end)
    await port.delete(pod, dt.timedelta(seconds=10))

    assert await cluster.admin.grace_of(pod) == (10, first_end - dt.timedelta(seconds=20))


async def test_a_deletion_without_grace_removes_the_pod(cluster: Cluster, port: ports.Pods) -> None:
    pod = await running_pod(cluster)
    await port.evict(pod)
    await port.delete(pod, dt.timedelta())

    assert await cluster.admin.pod(pod) is None


async def test_deleting_a_pod_that_is_gone_changes_nothing(
    cluster: Cluster, port: ports.Pods
) -> None:
    node = await cluster.add_node()
    old = await cluster.admin.add_pod(node)
    await port.delete(old, dt.timedelta())
    new = await cluster.admin.add_pod(node)
    await port.delete(old, dt.timedelta())
    assert cluster.wire.last.refusal == (409, "Conflict", ())
    await port.delete(PodRef(namespace=old.namespace, name="other", uid="x"), dt.timedelta())
    assert cluster.wire.last.refusal == (404, "NotFound", ())

    assert not await cluster.admin.is_terminating_or_gone(new)


async def test_a_finalizer_holds_a_pod_that_is_deleted_without_grace(
    cluster: Cluster, port: ports.Pods
) -> None:
    body = cluster.admin.pod_body("held", PodShape(), node=await cluster.add_node())
    body["metadata"]["finalizers"] = ["somebody.example/else"]
    pod = await cluster.admin.add(body)
    await port.delete(pod, dt.timedelta())
    assert (await cluster.admin.grace_of(pod))[0] == 0
    assert (await port.evict(pod)).answer is EvictionAnswer.ACCEPTED
    assert (await cluster.admin.grace_of(pod))[0] == 0
    release = {"metadata": {"finalizers": None}}
    await cluster.admin.api.patch(
        cluster.admin.path_of(pod), release, content_type="application/merge-patch+json"
    )

    assert await cluster.admin.pod(pod) is None
