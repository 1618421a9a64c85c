"""Shared requests under load: slow evictions delay neither what is urgent nor other nodes."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import TypeAlias

import prometheus_client
import pytest

from queue_processor.controller.adaptive_limit import AdaptiveLimit
from queue_processor.controller.limiter import PriorityLimiter, Slot
from queue_processor.controller.ranks import Priority
from queue_processor.domain import errors
from queue_processor.simulator.kube import faults, history, manifests, resources, store
from tests.controller import stage

pytestmark = pytest.mark.looptime

WEBHOOK_TIMES_OUT = faults.ErrorResponse(
    500,
    "InternalError",
    'Internal error occurred: failed calling webhook "guard": context deadline exceeded',
    after_seconds=10,
)
Effect: TypeAlias = faults.ErrorResponse | faults.Hang
NOTICE = dt.timedelta(seconds=120)
GRACE = dt.timedelta(seconds=30)


def slow_down_evictions(world: stage.World, effect: Effect = WEBHOOK_TIMES_OUT) -> None:
    world.cluster.add_namespace("slow")
    path = ".*/namespaces/slow/.*/eviction"
    world.server.faults.add(faults.Fault(effect, method="POST", path=path))


def add_slow_pods(world: stage.World, *, node: str = "node-0", count: int = 100) -> None:
    world.cluster.add_replica_set(
        "slow", namespace="slow", replicas=count, labels={"app": "slow"}, nodes=[node]
    )


def records(world: stage.World, namespace: str, node: str) -> list[history.PodRecord]:
    return [
        pod for pod in world.cluster.history.pods if pod.namespace == namespace and pod.node == node
    ]


def assert_all_were_signalled_in_time(world: stage.World, warned_at: dt.datetime) -> None:
    of_slow = records(world, "slow", "node-0")
    assert len(of_slow) == 100
    for pod in of_slow:
        assert pod.signalled is not None
        assert pod.signalled <= warned_at + NOTICE - GRACE
        assert (pod.removal_cause, pod.grace_seconds) == (store.Cause.DELETE, 30)


@pytest.mark.parametrize("effect", [WEBHOOK_TIMES_OUT, faults.Hang()], ids=["time out", "hang"])
async def test_every_pod_of_a_namespace_whose_evictions_hang_gets_its_sigterm_in_time(
    world: stage.World, effect: Effect
) -> None:
    world.add_nodes(1)
    slow_down_evictions(world, effect)
    add_slow_pods(world)
    await world.start()

    warned_at = world.clock()
    world.send_spot(0)
    await world.until_settled(limit=119)

    assert_all_were_signalled_in_time(world, warned_at)


def slow_down_requests(world: stage.World, *, evictions: float, deletions: float) -> None:
    """Have the API server take so many seconds for each."""
    for seconds, method, path in (
        (evictions, "POST", ".*/eviction"),
        (deletions, "DELETE", ".*/pods/.*"),
    ):
        world.server.faults.add(faults.Fault(faults.Delay(seconds), method=method, path=path))


@pytest.mark.parametrize("pods", [5, 40], ids=["few", "many"])
async def test_blocked_pods_of_a_storm_all_get_their_full_grace_whatever_the_api_server_can_do(
    world: stage.World, pods: int
) -> None:
    world.add_nodes(10)
    for number in range(10):
        web = f"web-{number}"
        world.cluster.add_replica_set(
            web, replicas=pods, labels={"app": web}, nodes=[f"node-{number}"], exit_seconds=1
        )
        world.cluster.add_budget(web, match_labels={"app": web}, max_unavailable=0)
    # 50 pods in a second.
    slow_down_requests(world, evictions=0.04, deletions=0.04)
    await world.start(kubernetes={"requests_in_flight": 2})

    warned_at = world.clock()
    for number in range(10):
        world.send_spot(number)
    await world.until_settled(limit=119)

    due_at = warned_at + NOTICE - GRACE - dt.timedelta(seconds=1)
    signalled = [pod.signalled for pod in world.cluster.history.pods if pod.signalled is not None]
    seconds = dt.timedelta(seconds=10 * pods / 50)
    assert len(signalled) == 10 * pods
    assert max(signalled) <= due_at + dt.timedelta(seconds=3)
    assert min(signalled) >= due_at - seconds * 1.2


async def drain_on_a_slow_server(world: stage.World, *, nodes: int) -> dt.datetime:
    """Interrupt nodes with 200 pods each; 20 are evicted in a second, or some 60 deleted."""
    world.add_nodes(nodes)
    for number in range(nodes):
        for pod in range(200):
            world.cluster.add_pod(f"web-{number}-{pod}", node=f"node-{number}")
    slow_down_requests(world, evictions=0.1, deletions=0.05)
    await world.start(kubernetes={"requests_in_flight": 2})

    warned_at = world.clock()
    for number in range(nodes):
        world.send_spot(number)
    await world.until_settled(limit=119)
    return warned_at


async def test_pods_that_cannot_all_be_evicted_in_time_are_deleted_with_their_grace(
    world: stage.World,
) -> None:
    warned_at = await drain_on_a_slow_server(world, nodes=15)

    pods = world.cluster.history.pods
    assert len(pods) == 3_000
    signalled = [pod.signalled for pod in pods if pod.signalled is not None]
    assert len(signalled) == 3_000
    # What takes two seconds begins no earlier.
    assert min(pod.grace_seconds for pod in pods if pod.grace_seconds is not None) >= 28
    deleted = [pod for pod in pods if pod.removal_cause is store.Cause.DELETE]
    # Not before there is evidence; 20 were evicted in each second until then.
    first = min(pod.signalled for pod in deleted if pod.signalled is not None)
    assert first >= warned_at + (NOTICE - GRACE) / 2
    assert len(deleted) <= 3_000 - 20 * 45


async def test_pods_that_a_slow_server_evicts_in_time_are_not_deleted(world: stage.World) -> None:
    await drain_on_a_slow_server(world, nodes=8)

    assert {pod.removal_cause for pod in world.cluster.history.pods} == {store.Cause.EVICTION}


async def drain_others(world: stage.World, *, hanging: bool, head_start: float) -> float:
    """Drain 50 nodes beside the one whose evictions hang, or alone; how long that took."""
    world.add_nodes(101)
    for number in range(1, 51):
        world.cluster.add_replica_set(
            f"web-{number}",
            replicas=20,
            labels={"app": f"web-{number}"},
            nodes=[f"node-{number}"],
            exit_seconds=2,
        )
    if hanging:
        slow_down_evictions(world)
        add_slow_pods(world)
    await world.start()
    warned_at = world.clock()
    if hanging:
        world.send_spot(0)
        await asyncio.sleep(head_start)
    for number in range(1, 51):
        world.send_spot(number)
    took = await world.until(
        lambda: not any(world.pods_on(f"node-{number}") for number in range(1, 51)),
        limit=119,
        step=0.01,
    )
    if hanging:
        await world.until_settled(limit=119)
        assert_all_were_signalled_in_time(world, warned_at)
    return took


async def test_a_storm_without_slow_evictions_takes_little_more_than_its_pods_do(
    world: stage.World,
) -> None:
    assert await drain_others(world, hanging=False, head_start=0) < 2.5


@pytest.mark.parametrize("head_start", [0.0, 5.0, 60.0])
async def test_a_storm_is_as_fast_beside_a_namespace_whose_evictions_hang(
    world: stage.World, head_start: float
) -> None:
    assert await drain_others(world, hanging=True, head_start=head_start) < 2.5


async def test_a_node_with_few_pods_does_not_wait_for_one_with_many(world: stage.World) -> None:
    world.add_nodes(3)
    for name, replicas in (("many", 50), ("few", 3)):
        node = f"node-{int(name == 'few')}"
        world.cluster.add_namespace(name)
        world.cluster.add_replica_set(
            name, namespace=name, replicas=replicas, labels={"app": name}, nodes=[node]
        )
    world.server.faults.add(faults.Fault(faults.Delay(0.1), path=".*/eviction"))
    await world.start(kubernetes={"requests_in_flight": 4})

    world.send_spot(0)
    world.send_spot(1)
    await world.until(lambda: not world.pods_on("node-1"))

    assert len(world.pods_on("node-0")) > 20
    await world.until_settled()


def evictions(answer: str) -> float:
    series = "queue_processor_evictions_total"
    return prometheus_client.REGISTRY.get_sample_value(series, {"answer": answer}) or 0.0


async def test_an_eviction_under_way_when_its_pod_is_due_does_not_delay_the_deletion(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.cluster.add_pod("web", node="node-0", spec=manifests.PodSpec(exit_seconds=25))
    await world.start()
    # Refused until shortly before the pod is due; then an attempt is accepted too late.
    refused = faults.ErrorResponse(429, "TooManyRequests", "no", causes=("DisruptionBudget",))
    path = ".*/web/eviction"
    world.server.faults.add(
        faults.Fault(refused, path=path, seconds=80), faults.Fault(faults.Delay(18), path=path)
    )
    accepted = evictions("accepted")

    warned_at = world.clock()
    world.send_spot(0)
    await world.until_settled(limit=119)

    (pod,) = records(world, "default", "node-0")
    due_at = warned_at + NOTICE - GRACE - dt.timedelta(seconds=1)
    assert pod.removal_requested is not None
    assert abs(pod.removal_requested - due_at) < dt.timedelta(seconds=0.2)
    assert pod.removal_cause is store.Cause.DELETE
    assert evictions("accepted") - accepted == 1
    (end,) = (
        event.body["note"]
        for event in world.cluster.store.every(resources.EVENTS)
        if event.body["reason"] == "Drained"
    )
    assert end == "0 of 1 pods left; 1 deleted at the deadline: default/web"


async def test_an_eviction_under_way_is_left_when_a_nearer_deadline_makes_its_pod_due(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.cluster.add_pod("web", node="node-0", spec=manifests.PodSpec(grace_seconds=119))
    await world.start()
    world.server.faults.add(faults.Fault(faults.Hang(), path=".*/web/eviction"))

    world.send_rebalance(0)
    await asyncio.sleep(10)
    warned_at = world.clock()
    world.send_spot(0)
    await world.until_settled(limit=119)

    (pod,) = records(world, "default", "node-0")
    assert pod.removal_requested is not None
    assert pod.removal_requested - warned_at < dt.timedelta(seconds=0.5)
    assert pod.removal_cause is store.Cause.DELETE


async def test_a_pod_that_is_due_at_once_gets_an_attempt_of_a_few_seconds(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    slow_down_evictions(world)
    spec = manifests.PodSpec(grace_seconds=300)
    world.cluster.add_pod("prompt", node="node-0", spec=spec)
    world.cluster.add_pod("slow", namespace="slow", node="node-0", spec=spec)
    await world.start()

    warned_at = world.clock()
    world.send_spot(0)
    await world.until_settled(limit=119)

    (prompt,) = records(world, "default", "node-0")
    (slow,) = records(world, "slow", "node-0")
    assert prompt.removal_cause is store.Cause.EVICTION
    assert slow.removal_cause is store.Cause.DELETE
    assert slow.removal_requested is not None
    assert slow.removal_requested - warned_at < dt.timedelta(seconds=5.5)


async def test_a_list_that_hangs_does_not_keep_other_nodes_from_being_listed(
    world: stage.World,
) -> None:
    world.add_nodes(3)
    for number in range(2):
        world.cluster.add_pod(f"web-{number}", node=f"node-{number}")
    world.server.faults.add(faults.Fault(faults.Hang(), path="/api/v1/pods", times=1))
    await world.start()

    world.send_spot(0)
    await asyncio.sleep(0.5)
    world.send_spot(1)

    assert await world.until(lambda: not world.pods_on("node-1")) < 3
    await world.until_settled()


async def test_lists_that_begin_together_miss_nothing_that_happens_meanwhile(
    world: stage.World,
) -> None:
    world.add_nodes(20)
    for number in range(10):
        world.cluster.add_pod(f"web-{number}", node=f"node-{number}")
    world.server.faults.add(faults.Fault(faults.Delay(0.2), path="/api/v1/pods", times=7))
    await world.start()

    for number in range(10):
        world.send_spot(number)
    await world.until(lambda: world.is_cordoned("node-9"), step=0.01)
    for number in range(10):
        await asyncio.sleep(0.05)
        world.cluster.add_pod(f"late-{number}", node=f"node-{number}")
    await world.until_settled(limit=10)

    assert not any(world.pods_on(f"node-{number}") for number in range(10))


async def test_a_retry_after_of_ten_minutes_does_not_keep_a_spot_warning_from_the_cordon(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    busy = faults.ErrorResponse(429, "TooManyRequests", "busy", retry_after=600)
    world.server.faults.add(
        faults.Fault(busy, method="PATCH", path="/api/v1/nodes/node-0", times=1)
    )
    await world.start()

    world.send_rebalance(0)
    await asyncio.sleep(1)
    world.send_spot(0)

    assert await world.until(lambda: world.is_cordoned("node-0"), limit=119) < 31


async def test_a_drain_that_ends_at_its_deadline_does_not_wait_long_to_report_its_condition(
    world: stage.World,
) -> None:
    world.add_nodes(1)
    world.add_blocked_pod("node-0")
    world.server.faults.add(
        faults.Fault(faults.Hang(), method="PATCH", path="/api/v1/nodes/node-0/status")
    )
    await world.start(drain={"on_deadline": "leave", "out_of_service_taint": False})

    world.send_spot(0)

    assert await world.until_settled(limit=130) < 121.8


class Requests:
    """Requests that hold their slot for as long as a test says.

    Attributes:
        running: The names of those that have a slot, in the order in which they got it.
    """

    def __init__(self) -> None:
        self.limiter = PriorityLimiter(AdaptiveLimit(floor=24, ceiling=24), may_write=lambda: True)
        self.running: list[str] = []
        self._tasks: list[asyncio.Task[None]] = []

    def run(self, name: str, priority: Priority, *, seconds: float = 1e6) -> None:
        waiting = self.limiter.slot(priority, 0.0)
        self._start(self._run(name, waiting, seconds))

    def evict(
        self,
        name: str,
        *,
        namespace: str = "web",
        turn: int = 0,
        is_repeated: bool = False,
        seconds: float = 1e6,
    ) -> None:
        waiting = self.limiter.slot_to_evict(namespace, 0.0, turn=turn, is_repeated=is_repeated)
        self._start(self._evict(name, waiting, seconds))

    def _start(self, work: Coroutine[None, None, None]) -> None:
        self._tasks.append(asyncio.create_task(work, name="request"))

    async def _run(
        self, name: str, waiting: AbstractAsyncContextManager[None], seconds: float
    ) -> None:
        async with waiting:
            self.running.append(name)
            await asyncio.sleep(seconds)

    async def _evict(self, name: str, waiting: Coroutine[None, None, Slot], seconds: float) -> None:
        slot = await waiting
        try:
            self.running.append(name)
            await asyncio.sleep(seconds)
        finally:
            slot.release()

    async def cancel(self) -> None:
        """Cancel all that were started until now."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()


@pytest.fixture
async def requests() -> AsyncIterator[Requests]:
    made = Requests()
    yield made
    await made.cancel()


async def test_force_deletes_find_a_slot_however_many_evictions_hang(requests: Requests) -> None:
    for number in range(100):
        requests.evict(f"evict {number}", namespace=f"of {number}")
    await asyncio.sleep(1)
    requests.run("delete", Priority.FORCE_DELETE)
    await asyncio.sleep(1)
    assert requests.running[-1] == "delete"


async def test_cordons_find_a_slot_however_many_force_deletes_hang(requests: Requests) -> None:
    for number in range(100):
        requests.run(f"delete {number}", Priority.FORCE_DELETE)
    await asyncio.sleep(1)
    requests.run("cordon", Priority.CORDON)
    await asyncio.sleep(1)
    assert requests.running[-1] == "cordon"


async def test_no_request_waits_for_a_slot_past_its_deadline(requests: Requests) -> None:
    loop = asyncio.get_running_loop()
    for number in range(100):
        requests.run(f"cordon {number}", Priority.CORDON)
    await asyncio.sleep(1)
    began_at = loop.time()
    with pytest.raises(errors.TemporaryError, match="no slot was free in time"):
        async with requests.limiter.slot(Priority.CORDON, began_at + 90):
            pass
    assert loop.time() - began_at == pytest.approx(90)


async def test_a_namespace_that_hangs_holds_half_of_the_slots_for_a_second(
    requests: Requests,
) -> None:
    for number in range(100):
        requests.evict(f"evict {number}", seconds=10)
    await asyncio.sleep(0.5)
    assert len(requests.running) == 12
    await asyncio.sleep(1)
    for number in range(24):
        requests.run(f"other {number}", Priority.EVICTION, seconds=60)
    await asyncio.sleep(1)
    assert len(requests.running) == 12 + 24


async def test_a_namespace_that_hangs_has_half_as_many_requests_under_way_as_there_are_slots(
    requests: Requests,
) -> None:
    for number in range(100):
        requests.evict(f"evict {number}", seconds=10)
    for seconds in (5, 10, 10, 10):
        before = len(requests.running)
        await asyncio.sleep(seconds)
        assert len(requests.running) - before == 12


@pytest.mark.parametrize("count", [2, 5, 9])
async def test_namespaces_that_hang_leave_slots_for_others(requests: Requests, count: int) -> None:
    for number in range(300):
        requests.evict(f"late {number}", namespace=f"late {number % count}", seconds=10)
    for _ in range(6):
        await asyncio.sleep(9.5)
        running = len(requests.running)
        for number in range(30):
            requests.evict(f"prompt {number}", turn=1, namespace="prompt", seconds=0.01)
        await asyncio.sleep(0.25)
        others = [name for name in requests.running[running:] if name.startswith("prompt")]
        assert len(others) == 30


async def test_a_namespace_that_answers_promptly_gets_all_slots_after_a_few_answers(
    requests: Requests,
) -> None:
    for number in range(35):
        requests.evict(f"prompt {number}", seconds=0.1)
    for number in range(100):
        requests.evict(f"late {number}", seconds=10, turn=1)
    await asyncio.sleep(1)
    assert len(requests.running) == 35 + 24


async def test_waiters_that_give_up_do_not_keep_others_from_the_window_of_their_namespace(
    requests: Requests,
) -> None:
    for number in range(50):
        requests.evict(f"impatient {number}")
    await asyncio.sleep(1)
    await requests.cancel()
    for number in range(5):
        requests.evict(f"patient {number}", turn=1, seconds=0.1)
    await asyncio.sleep(1)
    assert requests.running[12:] == [f"patient {number}" for number in range(5)]


async def test_a_node_with_many_pods_and_one_with_few_take_turns(requests: Requests) -> None:
    for number in range(30):
        requests.run(f"others {number}", Priority.EVICTION, seconds=1)
    await asyncio.sleep(0.5)
    for number in range(20):
        requests.evict(f"many {number}", turn=number, namespace="many", seconds=0.1)
    for number in range(3):
        requests.evict(f"few {number}", turn=number, namespace="few", seconds=0.1)
    await asyncio.sleep(10)
    evicted = [name for name in requests.running if not name.startswith("others")]
    assert evicted[:4] == ["many 0", "few 0", "many 1", "few 1"]


async def test_nodes_are_listed_before_pods_are_evicted_and_attempts_are_repeated_last(
    requests: Requests,
) -> None:
    for number in range(24):
        requests.run(f"others {number}", Priority.EVICTION, seconds=1)
    await asyncio.sleep(0.5)
    requests.evict("again", is_repeated=True)
    requests.evict("first")
    requests.run("list", Priority.LIST)
    await asyncio.sleep(1)
    assert requests.running[24:] == ["list", "first", "again"]
