import asyncio

import pytest

from queue_processor.simulator.kube import manifests, objects, store
from queue_processor.simulator.kube.cluster import SimulatedCluster
from tests.fakes.kube_client import DirectClient

pytestmark = pytest.mark.looptime

PODS = "/api/v1/namespaces/default/pods"
BUDGET = "/apis/policy/v1/namespaces/default/poddisruptionbudgets/web"
WEB = {"app": "web"}


async def settle() -> None:
    """Let the disruption controller catch up."""
    await asyncio.sleep(0.1)


def add_web(cluster: SimulatedCluster, replicas: int = 3, **budget: int | str) -> list[str]:
    """A ReplicaSet on node a and its budget; the pods' names."""
    cluster.add_replica_set("web", replicas=replicas, labels=WEB, nodes=["a"], exit_seconds=5)
    most, least = budget.get("max_unavailable"), budget.get("min_available")
    if budget:
        cluster.add_budget("web", match_labels=WEB, max_unavailable=most, min_available=least)
    return sorted(pod.name for pod in cluster.store.pods_on("a"))


async def test_a_granted_eviction_is_charged_within_the_request(
    client: DirectClient, cluster: SimulatedCluster
) -> None:
    names = add_web(cluster, replicas=5, max_unavailable=2)
    await settle()
    codes = [(await client.evict(name)).status for name in names]
    assert codes == [201, 201, 429, 429, 429]
    status = (await client.get(BUDGET)).body["status"]
    assert status["disruptionsAllowed"] == 0
    assert sorted(status["disruptedPods"]) == names[:2]
    await settle()
    assert "disruptedPods" not in (await client.get(BUDGET)).body["status"]


async def test_an_eviction_that_names_another_pod_than_its_path_is_a_bad_request(
    client: DirectClient, cluster: SimulatedCluster
) -> None:
    name, *_ = add_web(cluster)
    body = {"metadata": {"name": "another"}}
    assert (await client.post(f"{PODS}/{name}/eviction", body)).status == 400


@pytest.mark.parametrize("phase", ["Pending", "Succeeded", "Failed"])
async def test_pods_that_do_no_work_need_no_budget(
    client: DirectClient, cluster: SimulatedCluster, phase: str
) -> None:
    spec = manifests.PodSpec(labels=WEB, startup_seconds=1000)
    cluster.add_pod("x", node="a", phase=phase, spec=spec)
    cluster.add_budget("web", match_labels=WEB, min_available=1)
    await settle()
    assert (await client.evict("x")).status == 201


async def test_a_pod_that_is_on_its_way_out_needs_no_budget_and_may_be_hurried(
    client: DirectClient, cluster: SimulatedCluster
) -> None:
    name, *_ = add_web(cluster, min_available=3)
    await client.delete(f"{PODS}/{name}")
    await settle()
    answer = await client.evict(name, options={"gracePeriodSeconds": 2})
    assert answer.status == 201
    pod = (await client.get(f"{PODS}/{name}")).body
    assert pod["metadata"]["deletionGracePeriodSeconds"] == 2


async def budget_status(
    client: DirectClient, cluster: SimulatedCluster, **amounts: int | str
) -> objects.JsonObject:
    add_web(cluster, replicas=7, **amounts)
    await settle()
    status: objects.JsonObject = (await client.get(BUDGET)).body["status"]
    return status


@pytest.mark.parametrize(
    ("amounts", "desired", "allowed"),
    [
        ({"min_available": 2}, 2, 5),
        ({"min_available": "50%"}, 4, 3),
        ({"max_unavailable": 3}, 4, 3),
        ({"max_unavailable": "30%"}, 4, 3),
        ({"max_unavailable": "0%"}, 7, 0),
        ({"max_unavailable": 10}, 0, 7),
        ({"min_available": 8}, 8, 0),
    ],
)
async def test_amounts_and_percentages_become_the_status_of_the_budget(
    client: DirectClient,
    cluster: SimulatedCluster,
    amounts: dict[str, int | str],
    desired: int,
    allowed: int,
) -> None:
    status = await budget_status(client, cluster, **amounts)
    assert status["expectedPods"] == 7
    assert status["currentHealthy"] == 7
    assert status["desiredHealthy"] == desired
    assert status["disruptionsAllowed"] == allowed
    condition = status["conditions"][0]
    assert condition["reason"] == ("SufficientPods" if allowed else "InsufficientPods")


async def test_a_percentage_needs_controllers_with_a_scale(
    client: DirectClient, cluster: SimulatedCluster
) -> None:
    cluster.add_daemon_set("agent", labels=WEB, nodes=["a"], namespace="default")
    cluster.add_budget("web", match_labels=WEB, max_unavailable="50%")
    await settle()
    assert (await client.get(BUDGET)).body["status"]["conditions"][0]["reason"] == "SyncFailed"
    name = next(iter(cluster.store.pods_on("a"))).name
    assert (await client.evict(name)).headers["retry-after"] == "10"


async def test_the_status_lags_a_little_behind_the_pods(
    client: DirectClient, cluster: SimulatedCluster
) -> None:
    name, *_ = add_web(cluster, max_unavailable=1)
    await settle()
    await client.delete(f"{PODS}/{name}")
    assert (await client.get(BUDGET)).body["status"]["currentHealthy"] == 3
    await settle()
    assert (await client.get(BUDGET)).body["status"]["currentHealthy"] == 2


async def test_an_eviction_that_a_status_allows_before_it_counts_a_deletion_is_a_race(
    client: DirectClient, cluster: SimulatedCluster
) -> None:
    first, second, _ = add_web(cluster, max_unavailable=1)
    await settle()
    await client.delete(f"{PODS}/{first}")
    assert (await client.evict(second)).status == 201
    (race,) = cluster.history.budget_races
    assert (race.pod, race.healthy, race.desired) == (second, 1, 2)
    assert cluster.history.budget_violations == ()


async def test_the_history_separates_overrides_from_granted_and_refused_evictions(
    client: DirectClient, cluster: SimulatedCluster
) -> None:
    first, second, _ = add_web(cluster, max_unavailable=1)
    await settle()
    await client.evict(first)
    await client.evict(second)
    await settle()
    await client.delete(f"{PODS}/{second}", {"gracePeriodSeconds": 1})
    history = cluster.history
    assert history.budget_violations == ()
    (override,) = history.budget_overrides
    assert (override.pod, override.by, override.healthy, override.desired) == (
        second,
        "tester",
        1,
        2,
    )
    assert [record.code for record in history.evictions] == [201, 429]
    assert {by: len(times) for by, times in history.writers.items()} == {"tester": 1}
    causes = {record.name: record.removal_cause for record in history.pods}
    assert causes[first] is store.Cause.EVICTION
    assert causes[second] is store.Cause.DELETE
    await settle()
    (replicas,) = history.replica_lows
    assert (replicas.name, replicas.count, replicas.desired) == ("web", 1, 3)
