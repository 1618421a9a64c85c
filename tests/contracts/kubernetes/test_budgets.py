"""Contract of `Pods`: evictions that a disruption budget decides about."""

import datetime as dt

import pytest

from queue_processor.adapters.kube.pods import KubePods
from queue_processor.controller import ports
from queue_processor.domain import errors
from queue_processor.domain.pods import EvictionAnswer, PodRef
from tests.cluster.manifests import PodShape
from tests.contracts.kubernetes.administrator import LABELS
from tests.contracts.kubernetes.cluster import Cluster

BLOCKED = (429, "TooManyRequests", ("DisruptionBudget",))
TOO_MANY_DISRUPTED = 2001


@pytest.fixture
def port(cluster: Cluster) -> ports.Pods:
    return KubePods(cluster.api)


async def running_pod(cluster: Cluster) -> PodRef:
    return await cluster.admin.add_pod(await cluster.add_node())


async def unready_pod(cluster: Cluster) -> PodRef:
    # A fake kubelet that works would write that the pod is Ready.
    silent = PodShape(labels=LABELS, annotations={"cluster.test/kubelet": "dead"})
    pod = await cluster.admin.add_pod(await cluster.add_node(), shape=silent)
    unready = {"conditions": [{"type": "Ready", "status": "False"}]}
    await cluster.admin.set_status(cluster.admin.path_of(pod), unready)
    return pod


async def test_no_budget_blocks_the_eviction_of_a_pod_that_has_not_started(
    cluster: Cluster, port: ports.Pods
) -> None:
    pod = await cluster.admin.add_unbound_pod()
    await cluster.admin.add_observed_budget("web", healthy=0, maxUnavailable=0)

    assert (await port.evict(pod)).answer is EvictionAnswer.ACCEPTED
    assert await cluster.admin.pod(pod) is None


async def test_a_budget_grants_what_it_allows_and_no_more(
    cluster: Cluster, port: ports.Pods
) -> None:
    node = await cluster.add_node()
    first, second = [await cluster.admin.add_pod(node, name) for name in ("one", "two")]
    budget = await cluster.admin.add_observed_budget("web", healthy=2, minAvailable=1)
    async with cluster.paused_budget_controller():
        granted = await port.evict(first)
        charged = (await cluster.admin.api.get(budget))["status"]
        refused = await port.evict(second)

    assert (granted.answer, refused.answer) == (EvictionAnswer.ACCEPTED, EvictionAnswer.BLOCKED)
    assert charged["disruptionsAllowed"] == 0
    assert set(charged["disruptedPods"]) == {"one"}
    assert cluster.wire.last.refusal == BLOCKED
    assert refused.message.endswith(
        "The disruption budget web does not allow evicting pods currently"
    )


async def test_a_budget_blocks_an_eviction(cluster: Cluster, port: ports.Pods) -> None:
    pod = await running_pod(cluster)
    await cluster.admin.add_observed_budget("web", healthy=1, minAvailable=1)
    eviction = await port.evict(pod)

    assert (eviction.answer, eviction.retry_after) == (EvictionAnswer.BLOCKED, None)
    assert cluster.wire.last.refusal == BLOCKED
    assert eviction.message == (
        "Cannot evict pod as it would violate the pod's disruption budget."
        " The disruption budget web needs 1 healthy pods and has 1 currently"
    )
    assert not await cluster.admin.is_terminating_or_gone(pod)


async def test_a_budget_grants_by_its_status_though_that_lags_behind_a_deletion(
    cluster: Cluster, port: ports.Pods
) -> None:
    node = await cluster.add_node()
    first, second = [await cluster.admin.add_pod(node, name) for name in ("one", "two")]
    await cluster.admin.add_observed_budget("web", healthy=2, minAvailable=1)
    async with cluster.paused_budget_controller():
        await port.delete(first, dt.timedelta(seconds=30))
        assert (await port.evict(second)).answer is EvictionAnswer.ACCEPTED


async def test_a_budget_whose_pods_have_no_scale_blocks_with_the_reason(
    cluster: Cluster, port: ports.Pods
) -> None:
    node = await cluster.add_node()
    pod = await cluster.admin.add_pod(node)
    budget = await cluster.admin.add_observed_budget("web", healthy=1, maxUnavailable=1)
    await cluster.add_daemon_pod(node)

    async def has_failed() -> bool:
        (condition,) = (await cluster.admin.api.get(budget))["status"]["conditions"]
        return bool(condition["reason"] == "SyncFailed")

    await cluster.admin.until(has_failed)
    eviction = await port.evict(pod)

    assert eviction.answer is EvictionAnswer.BLOCKED
    assert eviction.message.endswith(
        "The disruption budget web does not allow evicting pods currently because it failed sync:"
        " daemonsets.apps does not implement the scale subresource"
    )


async def test_a_budget_that_its_controller_has_not_seen_asks_to_wait(
    cluster: Cluster, port: ports.Pods
) -> None:
    pod = await running_pod(cluster)
    async with cluster.paused_budget_controller():
        await cluster.admin.add_budget("web", minAvailable=0)
        eviction = await port.evict(pod)

    assert eviction.answer is EvictionAnswer.BLOCKED
    assert eviction.retry_after == dt.timedelta(seconds=10)
    assert eviction.message.endswith(
        "The disruption budget web is still being processed by the server."
    )
    assert cluster.wire.last.refusal == BLOCKED
    assert not await cluster.admin.is_terminating_or_gone(pod)


async def test_two_budgets_on_a_pod_are_ambiguous(cluster: Cluster, port: ports.Pods) -> None:
    pod = await running_pod(cluster)
    for name in ("one", "two"):
        await cluster.admin.add_observed_budget(name, healthy=1, minAvailable=0)
    eviction = await port.evict(pod)

    assert eviction.answer is EvictionAnswer.AMBIGUOUS
    assert cluster.wire.last.refusal == (500, "", ())
    assert not await cluster.admin.is_terminating_or_gone(pod)


async def test_a_pod_that_is_not_ready_is_protected_unless_its_budget_always_allows_it(
    cluster: Cluster, port: ports.Pods
) -> None:
    pod = await unready_pod(cluster)
    budget = await cluster.admin.add_observed_budget("web", healthy=0, minAvailable=1)
    assert (await port.evict(pod)).answer is EvictionAnswer.BLOCKED
    allow = {"spec": {"unhealthyPodEvictionPolicy": "AlwaysAllow"}}
    await cluster.admin.api.patch(budget, allow, content_type="application/merge-patch+json")

    assert (await port.evict(pod)).answer is EvictionAnswer.ACCEPTED


async def test_a_pod_that_is_not_ready_may_go_when_the_others_suffice(
    cluster: Cluster, port: ports.Pods
) -> None:
    pod = await unready_pod(cluster)
    await cluster.admin.add_pod(await cluster.add_node(), "healthy")
    await cluster.admin.add_observed_budget("web", healthy=1, minAvailable=1)

    assert (await port.evict(pod)).answer is EvictionAnswer.ACCEPTED


async def test_a_budget_with_too_many_unconfirmed_evictions_refuses(
    cluster: Cluster, port: ports.Pods
) -> None:
    pod = await running_pod(cluster)
    budget = await cluster.admin.add_observed_budget("web", healthy=1, minAvailable=0)
    async with cluster.paused_budget_controller():
        moment = "2026-05-01T12:00:00Z"
        disrupted = {f"pod-{number}": moment for number in range(TOO_MANY_DISRUPTED)}
        await cluster.admin.set_status(budget, {"disruptedPods": disrupted})
        with pytest.raises(errors.PermanentError, match="DisruptedPods map too big"):
            await port.evict(pod)

    assert cluster.wire.last.refusal == (403, "Forbidden", ("DisruptionBudget",))
    assert not await cluster.admin.is_terminating_or_gone(pod)
