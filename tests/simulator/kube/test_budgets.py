"""Random worlds: no eviction is granted against a budget that the real server would refuse."""

import asyncio
import dataclasses
import datetime as dt
import math
import random
from collections.abc import Awaitable, Callable, Sequence

import pytest

from queue_processor.simulator.kube import api, clock, manifests, objects, resources, store
from queue_processor.simulator.kube.cluster import SimulatedCluster
from tests.fakes.kube_client import DirectClient

pytestmark = pytest.mark.looptime

APPS = "/apis/apps/v1/namespaces/default/replicasets"
PODS = "/api/v1/namespaces/default/pods"
BUDGETS = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
BUDGET_LAG = clock.Delays().budget_lag_seconds
# Until every pod that was deleted has gone, and every new one is Ready.
QUIET_SECONDS = 35.0


class RandomWorld:
    """Two ReplicaSets with budgets, an evictor, and somebody who changes everything else.

    Attributes:
        disturbed_at: When somebody else changed a pod, a ReplicaSet or a budget, by the loop.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - a world is repeated by its seed
        self.cluster = SimulatedCluster(now=clock.LoopClock(dt.datetime(2026, 5, 1, tzinfo=dt.UTC)))
        server = api.SimulatedApiServer(self.cluster)
        self._evictor = DirectClient(server, "evictor")
        self._somebody = DirectClient(server, "somebody")
        self._budgets = 0
        self._bare_pods = 0
        self.disturbed_at: list[float] = []
        for name in ("a", "b", "c"):
            self.cluster.add_node(name, instance_id=f"i-{name}")
        for app in ("x", "y"):
            self.cluster.add_replica_set(
                app,
                replicas=self._random.randint(1, 6),
                labels={"app": app, "tier": "web"},
                nodes=["a", "b", "c"],
                exit_seconds=self._random.choice([0.01, 0.5]),
                startup_seconds=self._random.choice([0.01, 0.2]),
            )
        self.cluster.subscribe(self._on_change)

    def _on_change(self, change: store.Change) -> None:
        followed = (resources.PODS, resources.REPLICA_SETS, resources.BUDGETS)
        is_own = change.actor.name in ("evictor", "disruption-controller")
        if change.resource in followed and not is_own:
            self.disturbed_at.append(asyncio.get_running_loop().time())

    async def step(self) -> None:
        """Do one thing, a while after the one before."""
        await asyncio.sleep(self._random.choice([0, 0.001, 0.005, 0.03, 0.2]))
        await self._random.choice(self._deeds())()

    def _deeds(self) -> Sequence[Callable[[], Awaitable[object]]]:
        often = (self._evict,) * 10
        seldom = (self._delete, self._toggle, self._scale, self._label, self._add_pod) * 2
        return (*often, *seldom, self._add_budget, self._add_budget, self._change_budget)

    async def _evict(self) -> None:
        pod = self._any_pod()
        uid = pod.uid if self._random.random() < 0.9 else "another"
        await self._evictor.evict(pod.name, options={"preconditions": {"uid": uid}})

    async def _delete(self) -> None:
        grace = {"gracePeriodSeconds": self._random.choice([0, 1, 30])}
        await self._somebody.delete(f"{PODS}/{self._any_pod().name}", grace)

    async def _toggle(self) -> None:
        pod = self._any_pod()
        if pod.status.get("phase") == "Running":
            ready = {"type": "Ready", "status": self._random.choice(["True", "False"])}
            status = {"status": {"conditions": [ready]}}
            await self._somebody.patch(f"{PODS}/{pod.name}/status", status)

    async def _scale(self) -> None:
        spec = {"spec": {"replicas": self._random.randint(0, 7)}}
        await self._somebody.patch(f"{APPS}/{self._random.choice('xy')}", spec)

    async def _label(self) -> None:
        labels = {"metadata": {"labels": {"app": self._random.choice("xyz")}}}
        await self._somebody.patch(f"{PODS}/{self._any_pod().name}", labels)

    async def _add_pod(self) -> None:
        self._bare_pods += 1
        spec = manifests.PodSpec(labels={"app": self._random.choice("xy"), "tier": "web"})
        is_ready = self._random.random() < 0.7
        self.cluster.add_pod(f"bare-{self._bare_pods}", node="a", spec=spec, ready=is_ready)

    async def _add_budget(self) -> None:
        self._budgets += 1
        body = {"metadata": {"name": f"budget-{self._budgets}"}, "spec": self._budget_spec()}
        await self._somebody.post(BUDGETS, body)

    async def _change_budget(self) -> None:
        path = f"{BUDGETS}/budget-{self._random.randint(1, self._budgets + 1)}"
        if self._random.random() < 0.5:
            await self._somebody.delete(path)
        else:
            await self._somebody.patch(path, {"spec": self._budget_spec()})

    def _budget_spec(self) -> objects.JsonObject:
        selectors = [{"app": "x"}, {"app": "y"}, {"tier": "web"}, {}]
        spec: objects.JsonObject = {"selector": {"matchLabels": self._random.choice(selectors)}}
        if self._random.random() < 0.5:
            spec["minAvailable"] = self._random.choice([0, 1, 2, 3, "30%", "50%"])
        else:
            spec["maxUnavailable"] = self._random.choice([0, 1, 2, "20%", "50%"])
        if self._random.random() < 0.3:
            policies = ["AlwaysAllow", "IfHealthyBudget"]
            spec["unhealthyPodEvictionPolicy"] = self._random.choice(policies)
        return spec

    def _any_pod(self) -> objects.Stored:
        every = self.cluster.store.ordered(resources.PODS)
        return self._random.choice(every) if every else self.cluster.add_pod("first", node="a")


@dataclasses.dataclass(frozen=True, slots=True)
class Figures:
    """The counts in the status of a budget."""

    expected: int
    desired: int
    healthy: int
    allowed: int


def figures_in(status: objects.JsonObject) -> Figures:
    return Figures(
        status["expectedPods"],
        status["desiredHealthy"],
        status["currentHealthy"],
        status["disruptionsAllowed"],
    )


def figures_of(budget: objects.Stored, cluster: SimulatedCluster) -> Figures:
    """Count anew what the status of a budget has to say."""
    labels = budget.spec["selector"].get("matchLabels") or {}
    pods = [
        pod for pod in cluster.store.ordered(resources.PODS) if labels.items() <= pod.labels.items()
    ]
    owners = {pod.controller_uid for pod in pods}
    scales = {
        owner.uid: owner.spec["replicas"] for owner in cluster.store.ordered(resources.REPLICA_SETS)
    }
    scale = sum(scales[owner] for owner in owners if owner)

    def scaled(amount: int | str) -> int:
        return math.ceil(int(amount[:-1]) * scale / 100) if isinstance(amount, str) else amount

    spec = budget.spec
    if "maxUnavailable" in spec:
        expected, desired = scale, max(scale - scaled(spec["maxUnavailable"]), 0)
    else:
        least = spec["minAvailable"]
        expected, desired = scale if isinstance(least, str) else len(pods), scaled(least)
    granted = budget.status.get("disruptedPods") or {}
    healthy = sum(objects.is_healthy(pod) and pod.name not in granted for pod in pods)
    return Figures(expected, desired, healthy, max(healthy - desired, 0) if expected else 0)


@pytest.mark.parametrize("first_seed", range(0, 100, 20))
async def test_no_eviction_is_granted_against_a_budget_but_in_a_race_with_somebody_else(
    first_seed: int,
) -> None:
    loop = asyncio.get_running_loop()
    for seed in range(first_seed, first_seed + 20):
        world, races = RandomWorld(seed), 0
        for _ in range(60):
            await world.step()
            assert world.cluster.history.budget_violations == (), seed
            if len(world.cluster.history.budget_races) > races:
                races += 1
                since = loop.time() - BUDGET_LAG - 0.001
                assert any(moment >= since for moment in world.disturbed_at), seed


@pytest.mark.parametrize("first_seed", range(0, 100, 20))
async def test_the_status_of_a_budget_counts_its_pods_whatever_happened_to_them(
    first_seed: int,
) -> None:
    for seed in range(first_seed, first_seed + 20):
        world = RandomWorld(seed)
        for _ in range(60):
            await world.step()
        await asyncio.sleep(QUIET_SECONDS)
        for budget in world.cluster.store.ordered(resources.BUDGETS):
            assert figures_in(budget.status) == figures_of(budget, world.cluster), seed
