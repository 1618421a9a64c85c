"""Contract of `GuardedPods`: budgets, beside the evictions that they decide about."""

from collections.abc import Sequence

import pytest

from queue_processor.adapters.kube.guarded_pods import KubeGuardedPods
from queue_processor.adapters.kube.pods import KubePods
from queue_processor.controller import ports
from queue_processor.domain.forecast import GuardedPod
from queue_processor.domain.identifiers import NodeName
from queue_processor.domain.pods import EvictionAnswer, PodRef
from queue_processor.simulator.kube.manifests import STARTUP_ANNOTATION
from tests.cluster.manifests import PodShape
from tests.contracts.kubernetes.administrator import LABELS
from tests.contracts.kubernetes.cluster import Cluster
from tests.contracts.kubernetes.simulated import SimulatedTarget

# A fake kubelet that works would write that the pod is Ready.
SILENT = PodShape(labels=LABELS, annotations={"cluster.test/kubelet": "dead"})
STARTS_LATE = PodShape(labels=LABELS, annotations={STARTUP_ANNOTATION: "3600"})
UNREADY = {"conditions": [{"type": "Ready", "status": "False"}]}


@pytest.fixture
def port(cluster: Cluster) -> ports.GuardedPods:
    # The roles of an operator that drains do not include budgets.
    return KubeGuardedPods(cluster.admin.api)


@pytest.fixture
async def node(cluster: Cluster) -> NodeName:
    return NodeName(await cluster.add_node())


def allowed(guarded: GuardedPod) -> Sequence[tuple[str, int]]:
    return [(budget.name, budget.allowed) for budget in guarded.budgets]


async def guards(
    cluster: Cluster, port: ports.GuardedPods, node: NodeName, *budgets: tuple[str, int]
) -> None:
    """Wait until the cache of the API server shows these budgets for every pod of the node."""

    async def are_shown() -> bool:
        return all(allowed(each) == list(budgets) for each in await port.on_node(node))

    await cluster.admin.until(are_shown)


async def eviction(cluster: Cluster, pod: PodRef) -> EvictionAnswer:
    return (await KubePods(cluster.api).evict(pod)).answer


async def test_only_the_pods_of_the_node_are_listed(
    cluster: Cluster, port: ports.GuardedPods, node: NodeName
) -> None:
    pod = await cluster.admin.add_pod(node, "here")
    await cluster.admin.add_pod(await cluster.add_node(), "elsewhere")

    (guarded,) = await port.on_node(node)
    assert (guarded.pod.ref, guarded.budgets) == (pod, ())


async def test_a_budget_guards_the_pods_that_it_selects_by_what_it_allows(
    cluster: Cluster, port: ports.GuardedPods, node: NodeName
) -> None:
    pods = [await cluster.admin.add_pod(node, name) for name in ("one", "two")]
    other = PodShape(labels={"tier": "db"})
    await cluster.admin.add_observed_budget("web", healthy=2, minAvailable=1)
    await guards(cluster, port, node, ("web", 1))
    await cluster.admin.add_pod(node, "other", shape=other)

    by_name = {each.pod.ref.name: allowed(each) for each in await port.on_node(node)}
    assert by_name == {"one": [("web", 1)], "two": [("web", 1)], "other": []}
    async with cluster.paused_budget_controller():
        answers = [await eviction(cluster, pod) for pod in pods]
    assert answers == [EvictionAnswer.ACCEPTED, EvictionAnswer.BLOCKED]


async def test_a_budget_that_its_controller_has_not_seen_allows_nothing(
    cluster: Cluster, port: ports.GuardedPods, node: NodeName
) -> None:
    pod = await cluster.admin.add_pod(node)
    async with cluster.paused_budget_controller():
        await cluster.admin.add_budget("web", minAvailable=0)
        await guards(cluster, port, node, ("web", 0))
        assert await eviction(cluster, pod) is EvictionAnswer.BLOCKED


async def test_two_budgets_guard_a_pod_whatever_they_allow(
    cluster: Cluster, port: ports.GuardedPods, node: NodeName
) -> None:
    pod = await cluster.admin.add_pod(node)
    for name in ("one", "two"):
        await cluster.admin.add_observed_budget(name, healthy=1, minAvailable=0)

    await guards(cluster, port, node, ("one", 1), ("two", 1))
    assert await eviction(cluster, pod) is EvictionAnswer.AMBIGUOUS


async def test_no_budget_guards_a_pod_that_has_not_started(simulation: SimulatedTarget) -> None:
    """On the simulator alone: the fake kubelets of the real cluster start every pod."""
    port, node = KubeGuardedPods(simulation.admin.api), NodeName(await simulation.add_node())
    pod = await simulation.admin.add(simulation.admin.pod_body("web", STARTS_LATE, node=node))
    await simulation.admin.add_observed_budget("web", healthy=0, minAvailable=1)

    (guarded,) = await port.on_node(node)
    assert (guarded.pod.ref, guarded.budgets) == (pod, ())
    assert await eviction(simulation, pod) is EvictionAnswer.ACCEPTED


async def test_a_pod_that_is_not_ready_is_guarded_unless_its_budget_always_allows_it(
    cluster: Cluster, port: ports.GuardedPods, node: NodeName
) -> None:
    pod = await cluster.admin.add_pod(node, shape=SILENT)
    await cluster.admin.set_status(cluster.admin.path_of(pod), UNREADY)
    budget = await cluster.admin.add_observed_budget("web", healthy=0, minAvailable=1)
    await guards(cluster, port, node, ("web", 0))
    allow = {"spec": {"unhealthyPodEvictionPolicy": "AlwaysAllow"}}
    await cluster.admin.api.patch(budget, allow, content_type="application/merge-patch+json")

    await guards(cluster, port, node)
    assert await eviction(cluster, pod) is EvictionAnswer.ACCEPTED


async def test_no_budget_guards_a_pod_that_is_not_ready_when_the_others_suffice(
    cluster: Cluster, port: ports.GuardedPods, node: NodeName
) -> None:
    pod = await cluster.admin.add_pod(node, shape=SILENT)
    await cluster.admin.set_status(cluster.admin.path_of(pod), UNREADY)
    await cluster.admin.add_observed_budget("web", healthy=0, minAvailable=1)
    await guards(cluster, port, node, ("web", 0))
    await cluster.admin.add_pod(await cluster.add_node(), "healthy")

    await guards(cluster, port, node)
    assert await eviction(cluster, pod) is EvictionAnswer.ACCEPTED
