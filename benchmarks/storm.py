"""Storms of Spot interruptions, measured from outside the operator."""

import asyncio
import dataclasses
import time
from collections.abc import Mapping, Sequence

from benchmarks import measurements
from benchmarks.environment import BenchmarkEnvironment
from queue_processor.adapters.kube.api import KubeApi
from queue_processor.adapters.kube.pods import KubePods
from queue_processor.domain.identifiers import NodeName
from queue_processor.domain.pods import PodRef
from queue_processor.simulator.demo import scenarios
from queue_processor.simulator.demo.results import Spread
from queue_processor.simulator.demo.scenario import PlannedMessage
from tests.cluster import audit, world

PODS = 10
_OPERATOR = "queue-processor"
_EVICTIONS_AT_ONCE = 24
_PAUSE_SECONDS = 1.0
# The first list of thousands of nodes is taken in for some seconds after the start.
_SETTLING_SECONDS = 30.0
_IDLE_SECONDS = 10.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The figures of a storm.

    Attributes:
        nodes: How many nodes were interrupted.
        at_once: How many of them at once.
        cordoned: From the event to the cordon, as the API server has seen it.
        drained: From the event to the condition Drained, when all pods are gone.
        deleted_seconds: From the last event to the deletion of the last message.
        messages_left: How many messages there are at the end.
        requests: To the API server, by verb and resource.
        requests_per_node: All of them, divided by the nodes.
        eviction: How long the API server took for an eviction.
        aws_calls: To AWS, by action.
        aws_calls_per_event: All of them, divided by the events.
        cpu_seconds: Of the operator and of the control plane, by process.
        cpu_ms_per_node: Of the operator.
        peak_rss_mib: Of the operator, since it started.
    """

    nodes: int
    at_once: int
    cordoned: Spread
    drained: Spread
    deleted_seconds: float
    messages_left: int
    requests: Mapping[str, int]
    requests_per_node: float
    eviction: Spread
    aws_calls: Mapping[str, int]
    aws_calls_per_event: float
    cpu_seconds: Mapping[str, float]
    cpu_ms_per_node: float
    peak_rss_mib: float

    @property
    def name(self) -> str:
        """Return the name of the row for people."""
        return f"{self.nodes} nodes " + ("one by one" if self.at_once == 1 else "at once")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Bare:
    """The baseline: the time that the API server takes for the evictions of such a storm alone.

    Attributes:
        nodes: How many nodes had pods.
        seconds: From the first eviction to the end of the last pod.
        cpu_seconds: Of the control plane, by process.
    """

    nodes: int
    seconds: float
    cpu_seconds: Mapping[str, float]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """CPU and memory of the idle operator.

    Attributes:
        nodes: How many nodes it has in its index.
        cpu_percent: Of one core.
        rss_mib: What it holds.
        peak_rss_mib: The most that it held since its start, the first list of nodes included.
    """

    nodes: int
    cpu_percent: float
    rss_mib: float
    peak_rss_mib: float


class StormFailedError(Exception):
    """A node was not cordoned, or has pods left, when the messages were gone."""


async def storm(count: int, *, at_once: int) -> Figures:
    """Interrupt nodes, so many of them at once.

    The next ones come when all is done and a second has passed.
    """
    nodes = scenarios.make_nodes(count)
    planned = scenarios.interrupt([node.name for node in nodes])
    async with BenchmarkEnvironment.started() as environment:
        await environment.populate(nodes, pods=PODS)
        async with environment.operating() as pid:
            await asyncio.sleep(_PAUSE_SECONDS)
            rounds = [planned[first : first + at_once] for first in range(0, count, at_once)]
            return await _measure(environment, pid, rounds)


async def bare(count: int) -> Bare:
    """Evict the pods of so many nodes, and do nothing else."""
    nodes = scenarios.make_nodes(count)
    async with BenchmarkEnvironment.started() as environment:
        await environment.populate(nodes, pods=PODS)
        transport = world.transport_for(await environment.world.operator_access())
        pods = KubePods(KubeApi(transport))
        listed = [await pods.on_node(NodeName(node.name)) for node in nodes]
        before = measurements.processor_times(environment.plane)
        began = time.monotonic()
        await _evict_all(pods, [pod.ref for each in listed for pod in each.pods])
        await environment.until_no_pod_runs()
        seconds = time.monotonic() - began
        after = measurements.processor_times(environment.plane)
        await transport.close()
    return Bare(nodes=count, seconds=seconds, cpu_seconds=measurements.difference(after, before))


async def idle(count: int) -> Idle:
    """Start the operator on a cluster of so many nodes, and leave it alone."""
    async with BenchmarkEnvironment.started() as environment:
        await environment.populate(scenarios.make_nodes(count), pods=0)
        async with environment.operating() as pid:
            await asyncio.sleep(_SETTLING_SECONDS)
            before = measurements.cpu_seconds(pid)
            await asyncio.sleep(_IDLE_SECONDS)
            used = measurements.cpu_seconds(pid) - before
            return Idle(
                nodes=count,
                cpu_percent=100 * used / _IDLE_SECONDS,
                rss_mib=measurements.memory_mib(pid, "VmRSS"),
                peak_rss_mib=measurements.memory_mib(pid, "VmHWM"),
            )


async def _evict_all(pods: KubePods, refs: Sequence[PodRef]) -> None:
    places = asyncio.Semaphore(_EVICTIONS_AT_ONCE)

    async def evict(pod: PodRef) -> None:
        async with places:
            await pods.evict(pod)

    await asyncio.gather(*(evict(pod) for pod in refs))


async def _measure(
    environment: BenchmarkEnvironment, pid: int, rounds: Sequence[Sequence[PlannedMessage]]
) -> Figures:
    """Send the messages of one round at once, then those of the next when all is done."""
    cpu_before, queue_before = _processor_times(environment, pid), await environment.queue_figures()
    log = audit.AuditLog(environment.plane.audit_log, world.OPERATOR_USER)
    sent_at: dict[str, float] = {}
    for planned in rounds:
        names = (node for message in planned for node in message.nodes)
        sent_at |= dict.fromkeys(names, await environment.send(planned))
        await environment.until_settled()
        if planned is not rounds[-1]:
            await asyncio.sleep(_PAUSE_SECONDS)
    cpu_seconds = measurements.difference(_processor_times(environment, pid), cpu_before)
    queue = await environment.queue_figures()
    await _check(environment, sent_at)
    requests = log.requests()
    cordoned, drained = measurements.cordoned_at(requests), measurements.drained_at(requests)
    calls = {
        action: count - queue_before.calls.get(action, 0) for action, count in queue.calls.items()
    }
    return Figures(
        nodes=len(sent_at),
        at_once=len(rounds[0]),
        cordoned=Spread.of(cordoned[name] - sent for name, sent in sent_at.items()),
        drained=Spread.of(drained[name] - sent for name, sent in sent_at.items()),
        deleted_seconds=queue.last_deleted_at - max(sent_at.values()),
        messages_left=queue.left,
        requests=measurements.count(requests),
        requests_per_node=len(requests) / len(sent_at),
        eviction=Spread.of(measurements.eviction_seconds(requests)),
        aws_calls=calls,
        aws_calls_per_event=sum(calls.values()) / len(sent_at),
        cpu_seconds=cpu_seconds,
        cpu_ms_per_node=cpu_seconds[_OPERATOR] * 1000 / len(sent_at),
        peak_rss_mib=measurements.memory_mib(pid, "VmHWM"),
    )


def _processor_times(environment: BenchmarkEnvironment, pid: int) -> dict[str, float]:
    return {
        _OPERATOR: measurements.cpu_seconds(pid),
        **measurements.processor_times(environment.plane),
    }


async def _check(environment: BenchmarkEnvironment, names: Mapping[str, float]) -> None:
    """Check in the cluster, not in what the operator reports, that the work was done."""
    for node in await environment.world.items("/api/v1/nodes"):
        name = node["metadata"]["name"]
        if name in names and not node["spec"].get("unschedulable"):
            raise StormFailedError(f"{name} is not cordoned")
    for pod in await environment.world.items("/api/v1/pods"):
        if pod["spec"].get("nodeName") in names:
            raise StormFailedError(
                f"{pod['metadata']['name']} is left on {pod['spec']['nodeName']}"
            )
