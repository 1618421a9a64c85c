"""Storms of Spot interruptions, measured from outside of the operator."""

import asyncio
import dataclasses
import math
import time
from collections.abc import Mapping, Sequence

from benchmarks import requests, surroundings
from benchmarks.surroundings import Node, Surroundings
from queue_processor.adapters.kube.api import KubeApi
from queue_processor.adapters.kube.pods import KubePods
from queue_processor.domain.identifiers import NodeName
from queue_processor.domain.pods import PodRef
from tests.cluster import audit, world

PODS = 10
_OPERATOR = "queue-processor"
_EVICTIONS_AT_ONCE = 24
_PAUSE_SECONDS = 1.0
# The first list of thousands of nodes is taken in for some seconds after the start.
_SETTLING_SECONDS = 30.0
_IDLE_SECONDS = 10.0


@dataclasses.dataclass(frozen=True, slots=True)
class Spread:
    """How a figure is spread over the nodes, in seconds."""

    p50: float
    p99: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """The spread of at least one value, by nearest rank."""
        ordered = sorted(values)

        def at(share: float) -> float:
            return ordered[math.ceil(share * len(ordered)) - 1]

        return cls(p50=at(0.5), p99=at(0.99), max=ordered[-1])


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What it took to drain nodes.

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
        """What was done, for people."""
        return f"{self.nodes} nodes " + ("one by one" if self.at_once == 1 else "at once")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Bare:
    """What the API server takes for the evictions of such a storm alone: the baseline.

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
    """What the operator needs when nothing happens.

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


class StormFailed(Exception):
    """A node was not cordoned, or has pods left, when the messages were gone."""


async def storm(count: int, *, at_once: int) -> Figures:
    """Interrupt so many nodes, so many of them at once.

    The next ones come when all is done and a second has passed.
    """
    async with surroundings.surrounded() as around:
        nodes = await around.populate(count, pods=PODS)
        async with around.operating() as pid:
            await asyncio.sleep(_PAUSE_SECONDS)
            rounds = [nodes[first : first + at_once] for first in range(0, count, at_once)]
            return await _measure(around, pid, rounds)


async def bare(count: int) -> Bare:
    """Evict the pods of so many nodes, and do nothing else."""
    async with surroundings.surrounded() as around:
        nodes = await around.populate(count, pods=PODS)
        transport = world.transport_for(await around.world.operator_access())
        pods = KubePods(KubeApi(transport))
        found = [await pods.on_node(NodeName(node.name)) for node in nodes]
        before = dict(surroundings.processor_time(around.plane))
        began = time.monotonic()
        await _evict_all(pods, [pod.ref for listed in found for pod in listed.pods])
        await around.until_no_pod_runs()
        seconds = time.monotonic() - began
        after = dict(surroundings.processor_time(around.plane))
        await transport.close()
    return Bare(nodes=count, seconds=seconds, cpu_seconds=_difference(after, before))


async def idle(count: int) -> Idle:
    """Start the operator on a cluster of so many nodes, and leave it alone."""
    async with surroundings.surrounded() as around:
        await around.populate(count, pods=0)
        async with around.operating() as pid:
            await asyncio.sleep(_SETTLING_SECONDS)
            used = surroundings.cpu_seconds(pid)
            await asyncio.sleep(_IDLE_SECONDS)
            used = surroundings.cpu_seconds(pid) - used
            return Idle(
                nodes=count,
                cpu_percent=100 * used / _IDLE_SECONDS,
                rss_mib=surroundings.memory_mib(pid, "VmRSS"),
                peak_rss_mib=surroundings.memory_mib(pid, "VmHWM"),
            )


async def _evict_all(pods: KubePods, found: Sequence[PodRef]) -> None:
    places = asyncio.Semaphore(_EVICTIONS_AT_ONCE)

    async def evict(pod: PodRef) -> None:
        async with places:
            await pods.evict(pod)

    await asyncio.gather(*(evict(pod) for pod in found))


async def _measure(around: Surroundings, pid: int, rounds: Sequence[Sequence[Node]]) -> Figures:
    """Interrupt the nodes of one round at once, then those of the next when all is done."""
    cpu_before, mail_before = _processor_times(around, pid), await around.mail_figures()
    log = audit.AuditLog(around.plane.audit_log, world.OPERATOR_USER)
    sent_at: dict[str, float] = {}
    for nodes in rounds:
        sent_at |= dict.fromkeys((node.name for node in nodes), await around.interrupt(nodes))
        await around.until_settled()
        if nodes is not rounds[-1]:
            await asyncio.sleep(_PAUSE_SECONDS)
    cpu_seconds = _difference(_processor_times(around, pid), cpu_before)
    mail = await around.mail_figures()
    await _check(around, sent_at)
    asked = log.requests()
    cordoned, drained = requests.cordoned_at(asked), requests.drained_at(asked)
    calls = {
        action: count - mail_before.calls.get(action, 0) for action, count in mail.calls.items()
    }
    return Figures(
        nodes=len(sent_at),
        at_once=len(rounds[0]),
        cordoned=Spread.of([cordoned[name] - sent for name, sent in sent_at.items()]),
        drained=Spread.of([drained[name] - sent for name, sent in sent_at.items()]),
        deleted_seconds=mail.last_deleted_at - max(sent_at.values()),
        messages_left=mail.left,
        requests=requests.count(asked),
        requests_per_node=len(asked) / len(sent_at),
        eviction=Spread.of(requests.eviction_seconds(asked)),
        aws_calls=calls,
        aws_calls_per_event=sum(calls.values()) / len(sent_at),
        cpu_seconds=cpu_seconds,
        cpu_ms_per_node=cpu_seconds[_OPERATOR] * 1000 / len(sent_at),
        peak_rss_mib=surroundings.memory_mib(pid, "VmHWM"),
    )


def _processor_times(around: Surroundings, pid: int) -> dict[str, float]:
    return {
        _OPERATOR: surroundings.cpu_seconds(pid),
        **dict(surroundings.processor_time(around.plane)),
    }


def _difference(after: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    return {name: round(after[name] - before[name], 2) for name in after}


async def _check(around: Surroundings, names: Mapping[str, float]) -> None:
    """See in the cluster, not in what the operator says, that the work was done."""
    for node in await around.world.items("/api/v1/nodes"):
        name = node["metadata"]["name"]
        if name in names and not node["spec"].get("unschedulable"):
            raise StormFailed(f"{name} is not cordoned")
    for pod in await around.world.items("/api/v1/pods"):
        if pod["spec"].get("nodeName") in names:
            raise StormFailed(f"{pod['metadata']['name']} is left on {pod['spec']['nodeName']}")
