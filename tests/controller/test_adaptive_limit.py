"""The limit finds what an API server can do, in storms on servers of many kinds.

How well it does is a matter of throughput, compared with that of constant limits. docs/decisions
has the figures of longer storms.
"""

import asyncio
import functools
import statistics

import prometheus_client
import pytest

from queue_processor.controller.adaptive_limit import AdaptiveLimit
from queue_processor.controller.limiter import PriorityLimiter
from queue_processor.simulator.kube import faults
from tests.controller import stage
from tests.controller.loaded_server import Outcome, Server, Storm

CONSTANTS = (8, 12, 16, 24, 32, 48, 64, 96, 128)
EVICTIONS = 1500
SEEDS = (1, 2)

SLOW = Server(workers=8, seconds=0.04)
MEDIUM = Server(workers=24, seconds=0.08)
FAST = Server(workers=100, seconds=0.05)
# Most of it belongs to other clients.
SATURATED = Server(workers=16, seconds=0.05, others=48)
# Nothing is lost by a queue but time.
QUEUEING = Server(workers=16, seconds=0.1, contention=0)
NOISY = Server(workers=32, seconds=0.1, spread=1.0)
REFUSING = Server(workers=100, seconds=0.05, refuses_beyond=40)

BUSY = faults.ErrorResponse(429, "TooManyRequests", "too many requests", retry_after=1)
BLOCKED = faults.ErrorResponse(
    429, "TooManyRequests", "not now", causes=("DisruptionBudget",), retry_after=10
)
REFUSED_BY_A_WEBHOOK = faults.ErrorResponse(
    429, "TooManyRequests", 'admission webhook "guard" denied the request: later'
)
CONFLICTING = faults.ErrorResponse(
    504, "Timeout", "couldn't update PodDisruptionBudget due to conflicts", retry_after=10
)


def storm(
    server: Server, limit: AdaptiveLimit, *, seed: int, evictions: int = EVICTIONS
) -> Outcome:
    return Storm(server, limit, seed=seed).run(evictions)


@functools.cache
def of_constant(server: Server, slots: int) -> float:
    limit = AdaptiveLimit(floor=slots, ceiling=slots)
    return statistics.fmean(storm(server, limit, seed=seed).throughput for seed in SEEDS)


def of_best_constant(server: Server) -> float:
    return max(of_constant(server, slots) for slots in CONSTANTS)


@functools.cache
def of_adaptive(server: Server, *, storms: int = 1) -> float:
    """The share that the last of some storms in a row has of the best constant's throughput."""
    throughputs = []
    for seed in SEEDS:
        limit = AdaptiveLimit()
        outcomes = [storm(server, limit, seed=seed + 100 * number) for number in range(storms)]
        throughputs.append(outcomes[-1].throughput)
    return statistics.fmean(throughputs) / of_best_constant(server)


@pytest.mark.parametrize(
    ("server", "first", "second"),
    [
        pytest.param(SLOW, 0.85, 0.95, id="slow"),
        pytest.param(MEDIUM, 0.9, 0.9, id="medium"),
        # It takes a thousand answers to get from 24 to 100.
        pytest.param(FAST, 0.65, 0.9, id="fast"),
        pytest.param(SATURATED, 0.9, 0.9, id="saturated"),
        pytest.param(QUEUEING, 0.9, 0.9, id="queueing"),
        pytest.param(NOISY, 0.75, 0.75, id="noisy"),
    ],
)
def test_a_storm_is_about_as_fast_as_with_the_best_constant(
    server: Server, first: float, second: float
) -> None:
    assert of_adaptive(server) > first
    assert of_adaptive(server, storms=2) > second


def test_no_constant_does_as_well_on_a_slow_a_fast_and_a_saturated_server() -> None:
    servers = (SLOW, FAST, SATURATED)
    adaptive = statistics.geometric_mean(of_adaptive(server) for server in servers)
    constants = {
        slots: statistics.geometric_mean(
            of_constant(server, slots) / of_best_constant(server) for server in servers
        )
        for slots in CONSTANTS
    }
    assert adaptive > 1.1 * max(constants.values())
    assert adaptive > 1.3 * constants[24]


def test_the_limit_stays_near_the_knee() -> None:
    limits = storm(MEDIUM, AdaptiveLimit(), seed=1, evictions=6000).limits
    assert 24 * 0.9 < statistics.fmean(limits) < 24 * 1.5
    assert max(limits) <= 24 * 1.25**4


@pytest.mark.parametrize(
    ("before", "seconds", "after"),
    [(100, 5.0, 16), (12, 5.0, 100), (1000, 3.0, 16), (2, 30.0, 100)],
    ids=["slower", "faster", "from the ceiling", "from the floor"],
)
def test_the_limit_follows_a_server_that_changes(before: int, seconds: float, after: int) -> None:
    server = Server(workers=before, seconds=0.05, changes=(seconds, after))
    outcome = storm(server, AdaptiveLimit(), seed=1, evictions=20_000)
    assert after * 0.75 < statistics.median(outcome.limits[-3000:]) < after * 1.6


def test_a_server_that_refuses_is_used_up_to_its_own_limit() -> None:
    outcome = storm(REFUSING, AdaptiveLimit(), seed=1, evictions=3000)
    assert outcome.throughput > 1.1 * of_constant(REFUSING, 24)
    assert outcome.refused < 0.1 * 3000


def test_the_refusals_of_one_round_count_once() -> None:
    limit = AdaptiveLimit()
    began_in = limit.round
    for _ in range(20):
        limit.back_off(began_in)
    assert limit.slots == 19


def test_the_limit_stays_within_its_bounds() -> None:
    limit = AdaptiveLimit()
    for _ in range(20):
        limit.back_off(limit.round)
    assert limit.slots == 8

    limits = storm(Server(workers=1000, seconds=0.05), limit, seed=1, evictions=10_000).limits
    assert max(limits) == 128


def test_a_limit_that_is_set_is_constant() -> None:
    limit = AdaptiveLimit(floor=30, ceiling=30)
    assert set(storm(REFUSING, limit, seed=1).limits) == {30}
    limit.back_off(limit.round)
    assert limit.slots == 30


class Evictions:
    """Evictions that are accepted after a time that a test sets, in their namespaces."""

    def __init__(self) -> None:
        self.limit = AdaptiveLimit()
        self._limiter = PriorityLimiter(self.limit, may_write=lambda: True)

    async def run(self, count: int, *, seconds: float, namespace: str = "web") -> None:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(count):
                tasks.create_task(self._run(namespace, seconds), name="evict")

    async def _run(self, namespace: str, seconds: float) -> None:
        slot = await self._limiter.slot_to_evict(namespace, 0.0, turn=0, is_repeated=False)
        try:
            await asyncio.sleep(seconds)
            slot.accept()
        finally:
            slot.release()


@pytest.mark.looptime
async def test_nothing_is_learned_while_slots_are_free() -> None:
    evictions = Evictions()
    for _ in range(100):
        async with asyncio.TaskGroup() as tasks:
            # The last one takes the last slot, and the first one ends before it is free again.
            tasks.create_task(evictions.run(12, seconds=0.1, namespace="web"), name="web")
            tasks.create_task(evictions.run(12, seconds=0.1, namespace="api"), name="api")
    assert evictions.limit.slots == 24


@pytest.mark.looptime
@pytest.mark.parametrize(
    "seconds", [10.0, 0.6], ids=["a webhook hangs", "evictions wait for each other"]
)
async def test_a_slow_namespace_does_not_lower_the_limit_for_others(seconds: float) -> None:
    evictions = Evictions()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(evictions.run(100, seconds=seconds, namespace="slow"), name="slow")
        tasks.create_task(evictions.run(3000, seconds=0.05), name="web")
    assert evictions.limit.slots > 100


def current_limit() -> float | None:
    return prometheus_client.REGISTRY.get_sample_value("queue_processor_requests_in_flight_limit")


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("answer", "path", "limit"),
    [
        (BUSY, ".*/eviction", 19),
        (BUSY, "/api/v1/nodes/node-0", 19),
        (BLOCKED, ".*/eviction", 24),
        (REFUSED_BY_A_WEBHOOK, ".*/eviction", 24),
        (CONFLICTING, ".*/eviction", 24),
    ],
    ids=["eviction", "cordon", "budget", "webhook", "conflict"],
)
async def test_only_an_api_server_with_too_many_requests_lowers_the_limit(
    world: stage.World, answer: faults.ErrorResponse, path: str, limit: int
) -> None:
    world.add_nodes(2)
    world.cluster.add_pod("web", node="node-0")
    world.server.faults.add(faults.Fault(answer, path=path, times=1))
    await world.start()

    world.send_spot(0)
    await world.until_settled(limit=119)

    assert current_limit() == limit
