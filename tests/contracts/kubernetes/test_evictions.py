"""Contract of `Pods`: evictions without a disruption budget."""

import asyncio
import datetime as dt

import pytest

from queue_processor.adapters.kube.pods import KubePods
from queue_processor.controller import ports
from queue_processor.domain.pods import EvictionAnswer, PodRef
from tests.contracts.kubernetes.cluster import Cluster

PREDECESSOR = "the uid of its predecessor"


@pytest.fixture
def port(cluster: Cluster) -> ports.Pods:
    return KubePods(cluster.api)


async def running_pod(cluster: Cluster) -> PodRef:
    return await cluster.admin.add_pod(await cluster.add_node())


# Granted.


async def test_an_accepted_eviction_stops_the_pod_with_its_own_grace(
    cluster: Cluster, port: ports.Pods
) -> None:
    pod = await running_pod(cluster)
    eviction = await port.evict(pod)

    assert eviction.answer is EvictionAnswer.ACCEPTED
    assert cluster.wire.last.answer.status == 201
    grace, _ = await cluster.admin.grace_of(pod)
    assert grace == 30
    found = await cluster.admin.pod(pod)
    assert found is not None
    assert "EvictionByEvictionAPI" in {
        condition.get("reason") for condition in found["status"]["conditions"]
    }


async def test_an_eviction_that_is_repeated_is_accepted_and_changes_nothing(
    cluster: Cluster, port: ports.Pods
) -> None:
    pod = await running_pod(cluster)
    await cluster.admin.add_observed_budget("web", healthy=1, maxUnavailable=0)
    await port.delete(pod, dt.timedelta(seconds=20))
    before = await cluster.admin.grace_of(pod)

    assert (await port.evict(pod)).answer is EvictionAnswer.ACCEPTED
    assert await cluster.admin.grace_of(pod) == before


async def test_an_eviction_of_a_finished_pod_removes_it(cluster: Cluster, port: ports.Pods) -> None:
    pod = await running_pod(cluster)
    await cluster.admin.set_status(cluster.admin.path_of(pod), {"phase": "Succeeded"})

    assert (await port.evict(pod)).answer is EvictionAnswer.ACCEPTED
    assert await cluster.admin.pod(pod) is None


# Gone.


async def test_a_pod_that_is_gone_is_gone(cluster: Cluster, port: ports.Pods) -> None:
    pod = await running_pod(cluster)
    await cluster.admin.remove(cluster.admin.path_of(pod))

    assert (await port.evict(pod)).answer is EvictionAnswer.GONE
    assert cluster.wire.last.refusal == (404, "NotFound", ())


async def test_another_pod_of_the_same_name_is_not_evicted(
    cluster: Cluster, port: ports.Pods
) -> None:
    new = await running_pod(cluster)
    old = PodRef(namespace=new.namespace, name=new.name, uid=PREDECESSOR)
    eviction = await port.evict(old)

    assert eviction.answer is EvictionAnswer.GONE
    assert "UID" in eviction.message
    assert cluster.wire.last.refusal == (409, "Conflict", ())
    assert not await cluster.admin.is_terminating_or_gone(new)


async def test_a_successor_that_has_not_started_is_not_evicted_and_delays_the_answer(
    cluster: Cluster, port: ports.Pods
) -> None:
    new = await cluster.admin.add_unbound_pod()
    old = PodRef(namespace=new.namespace, name=new.name, uid=PREDECESSOR)
    asking = asyncio.create_task(port.evict(old))
    await asyncio.sleep(0.3)
    # For a pod that needs no budget, the server treats the conflict as a race and retries.
    assert not asking.done()
    await cluster.admin.set_status(cluster.admin.path_of(new), {"phase": "Running"})

    assert (await asking).answer is EvictionAnswer.GONE
    assert cluster.wire.last.refusal == (409, "Conflict", ())
    assert not await cluster.admin.is_terminating_or_gone(new)


# Refused.


async def test_a_namespace_that_terminates_takes_no_evictions(
    cluster: Cluster, port: ports.Pods
) -> None:
    pod = await running_pod(cluster)
    # Its pod ignores its SIGTERM, so the namespace stays.
    await cluster.admin.api.delete(f"/api/v1/namespaces/{cluster.admin.namespace}", {})
    eviction = await port.evict(pod)

    assert eviction.answer is EvictionAnswer.NAMESPACE_TERMINATING
    assert cluster.wire.last.refusal == (403, "Forbidden", ("NamespaceTerminating",))
