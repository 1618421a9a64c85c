"""Storms of Spot interruptions, measured from outside the operator."""

import asyncio
from collections.abc import Mapping, Sequence

from benchmarks import measurements
from benchmarks.control_groups import ControlGroup
from benchmarks.environment import BenchmarkEnvironment, Load
from benchmarks.figures import Figures
from benchmarks.measurements import MachineTimes
from queue_processor.simulator.demo import scenarios
from queue_processor.simulator.demo.scenario import PlannedMessage
from tests.cluster import plane, world

_PAUSE_SECONDS = 1.0
_COMPONENTS = ("kube-apiserver", "etcd")


async def storm(
    load: Load, *, at_once: int | None = None, group: ControlGroup | None = None
) -> Figures:
    """Interrupt nodes and return what came of it.

    Times are seconds since the event of the node was put on the queue; requests and CPU time are
    those from the first event to the deletion of the last message.

    Args:
        load: The nodes that are interrupted, and their pods.
        at_once: How many of them are interrupted at once; the next ones follow when all is done
            and a second has passed. All by default.
        group: The limits of the operator.
    """
    step = at_once or load.nodes
    async with (
        BenchmarkEnvironment.started(load) as environment,
        environment.operating(group=group) as operator,
    ):
        planned = scenarios.interrupt(list(environment.instances))
        waves = [planned[first : first + step] for first in range(0, load.nodes, step)]
        figures = await _measure(environment, operator.process.pid, waves)
        return {"ready": operator.ready_seconds, **figures}


async def _measure(
    environment: BenchmarkEnvironment, pid: int, waves: Sequence[Sequence[PlannedMessage]]
) -> Figures:
    requests_log = environment.log_of(world.OPERATOR_USER)
    kubelets_log = environment.log_of(plane.KUBELETS)
    queue_before = await environment.queue.figures()
    cpu_before, machine_before = _processor_times(environment, pid), MachineTimes.read()
    sent_at = await _send(environment, waves)
    machine, cpu = MachineTimes.read(), _processor_times(environment, pid)
    queue = await environment.queue.figures()
    await environment.check_cluster()
    gone_at, requests = await environment.pods_gone_at(kubelets_log), requests_log.requests()
    cordoned_at, drained_at = measurements.cordoned_at(requests), measurements.drained_at(requests)
    aws_calls = sum(queue.calls.values()) - sum(queue_before.calls.values())
    cpu_used = {name: cpu[name] - before for name, before in cpu_before.items()}
    counts = measurements.count(requests)
    return {
        **measurements.percentiles("cordoned", (cordoned_at[node] - at for node, at in sent_at)),
        **measurements.percentiles("pods gone", (gone_at[node] - at for node, at in sent_at)),
        **measurements.percentiles(
            "drained", (drained_at[node] - at for node, at in sent_at if node in drained_at)
        ),
        "not drained": sum(node not in drained_at for node, _ in sent_at),
        "messages deleted": queue.last_deleted_at - max(at for _, at in sent_at),
        "messages left": queue.left,
        "API requests a node": len(requests) / len(sent_at),
        "AWS calls an event": aws_calls / len(sent_at),
        **measurements.percentiles("eviction", measurements.eviction_seconds(requests)),
        "CPU a node, ms": 1000 * cpu_used["operator"] / len(sent_at),
        "peak RSS, MiB": measurements.memory_mib(pid, "VmHWM"),
        **_shares(cpu_used),
        measurements.OTHERS: machine.others_percent(machine_before),
        **{f"request: {name}": count for name, count in counts.items()},
    }


async def _send(
    environment: BenchmarkEnvironment, waves: Sequence[Sequence[PlannedMessage]]
) -> Sequence[tuple[str, float]]:
    """Send the messages of one wave at once, then those of the next when all is done.

    Returns:
        Each node, and when its message was sent.
    """
    sent_at: list[tuple[str, float]] = []
    for planned in waves:
        if sent_at:
            await asyncio.sleep(_PAUSE_SECONDS)
        at = await environment.send(planned)
        sent_at += [(node, at) for message in planned for node in message.nodes]
        await environment.until_settled()
    return sent_at


def _processor_times(environment: BenchmarkEnvironment, pid: int) -> dict[str, float]:
    return {
        "operator": measurements.cpu_seconds(pid),
        **measurements.processor_times(environment.plane),
    }


def _shares(cpu_used: Mapping[str, float]) -> Figures:
    """Return what part of the CPU time of them all each process had."""
    total = sum(cpu_used.values())
    named = ("operator", *_COMPONENTS)
    shares = {f"CPU of {name}, %": 100 * cpu_used[name] / total for name in named}
    return {**shares, "CPU of other components, %": 100 - sum(shares.values())}
