"""The operator while nothing happens."""

import asyncio

from benchmarks import measurements
from benchmarks.environment import BenchmarkEnvironment, Load
from benchmarks.figures import Figures
from benchmarks.measurements import MachineTimes

# The first list of thousands of nodes is taken in for some seconds after the start.
_SETTLING_SECONDS = 30.0
_IDLE_SECONDS = 10.0


async def idle(count: int) -> Figures:
    """Start the operator on a cluster of so many nodes, and leave it alone."""
    async with (
        BenchmarkEnvironment.started(Load(count, pods=0)) as environment,
        environment.operating() as operator,
    ):
        await asyncio.sleep(_SETTLING_SECONDS)
        pid = operator.process.pid
        before, machine_before = measurements.cpu_seconds(pid), MachineTimes.read()
        await asyncio.sleep(_IDLE_SECONDS)
        used = measurements.cpu_seconds(pid) - before
        return {
            "CPU, % of a core": 100 * used / _IDLE_SECONDS,
            "RSS, MiB": measurements.memory_mib(pid, "VmRSS"),
            "peak RSS, MiB": measurements.memory_mib(pid, "VmHWM"),
            measurements.OTHERS: MachineTimes.read().others_percent(machine_before),
        }
