"""Storms in which the operator is killed, and started again."""

import asyncio
import time

from benchmarks import measurements
from benchmarks.environment import BenchmarkEnvironment, Load, StormFailedError
from benchmarks.figures import Figures
from benchmarks.measurements import MachineTimes
from queue_processor.simulator.demo import scenarios
from tests.cluster import plane, world

# Into the storm, when drains have begun and none of the last ones is over.
_KILL_SECONDS = 1.0
# What a kubelet takes until it starts a container again.
_RESTART_SECONDS = 0.5
_POD = "QUEUE_PROCESSOR_KUBERNETES__POD_"


async def killed_storm(load: Load, *, is_same_pod: bool) -> Figures:
    """Interrupt all nodes at once, kill the operator, and start it again.

    Args:
        load: The nodes that are interrupted, and their pods.
        is_same_pod: True for a container that the kubelet starts again: it takes the Lease over at
            once. Another pod waits until the Lease has run out.

    Raises:
        StormFailedError: The storm was over before the second process did anything.
    """
    async with BenchmarkEnvironment.started(load) as environment:
        requests_log = environment.log_of(world.OPERATOR_USER)
        kubelets_log = environment.log_of(plane.KUBELETS)
        async with environment.operating(_pod("first")) as operator:
            machine_before = MachineTimes.read()
            sent_at = await environment.send(scenarios.interrupt(list(environment.instances)))
            await asyncio.sleep(_KILL_SECONDS)
            killed_at = time.time()
            await operator.process.kill()
        await asyncio.sleep(_RESTART_SECONDS)
        restarted_at = time.time()
        async with environment.operating(_pod("first" if is_same_pod else "second")):
            await environment.until_settled()
            machine = MachineTimes.read()
        await environment.check_cluster()
        gone_at = await environment.pods_gone_at(kubelets_log)
        evictions = requests_log.made("create", "pods/eviction")
    evicted_at = [each.received_at.timestamp() for each in evictions]
    heirs = [at for at in evicted_at if at > restarted_at]
    if not heirs:
        raise StormFailedError("the storm was over before the kill: interrupt more nodes")
    return {
        "first eviction after the kill": min(heirs) - killed_at,
        **measurements.percentiles("pods gone", (at - sent_at for at in gone_at.values())),
        measurements.OTHERS: machine.others_percent(machine_before),
    }


def _pod(name: str) -> dict[str, str]:
    return {f"{_POD}NAME": name, f"{_POD}UID": f"uid-of-{name}"}
