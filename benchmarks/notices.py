"""Notices of instance metadata: what the watchers cost, and how soon a node is cordoned."""

import asyncio
import time
from collections.abc import Sequence

from benchmarks import measurements
from benchmarks.environment import BenchmarkEnvironment, Load
from benchmarks.figures import Figures
from benchmarks.measurements import MachineTimes, percentiles
from queue_processor.domain.events import EventKind
from tests.cluster import world
from tests.cluster.watchers import WATCHER_USER, WatchedNodes

POLL_SECONDS = 2
# Imports, the first poll, and the connection that stays open.
_SETTLING_SECONDS = 10.0
_IDLE_SECONDS = 60.0


async def notices(count: int) -> Figures:
    """Let a watcher run on each of so many nodes, then interrupt all of them at once.

    Returns:
        Of each watcher: its memory after its notice, and its CPU while nothing is announced, in
        percent of a core. From the announcement to the cordon: seconds. Of all watchers: requests
        to the API server.
    """
    async with BenchmarkEnvironment.started(Load(count)) as environment:
        watched = WatchedNodes(environment.world, environment.folder, poll_seconds=POLL_SECONDS)
        try:
            async with environment.operating({"QUEUE_PROCESSOR_SOURCES__NOTICES__ENABLED": "true"}):
                await watched.start(environment.instances)
                return await _measure(environment, watched)
        finally:
            await watched.close()


async def _measure(environment: BenchmarkEnvironment, watched: WatchedNodes) -> Figures:
    await asyncio.sleep(_SETTLING_SECONDS)
    pids = watched.process_ids
    requests_log = environment.log_of(WATCHER_USER)
    machine_before, before = MachineTimes.read(), [measurements.cpu_seconds(pid) for pid in pids]
    await asyncio.sleep(_IDLE_SECONDS)
    after = [measurements.cpu_seconds(pid) for pid in pids]
    idle_requests = len(requests_log.requests())
    used = (100 * (end - begin) / _IDLE_SECONDS for begin, end in zip(before, after, strict=True))
    cordoned = await _announce(environment, watched)
    return {
        **percentiles("watcher RSS, MiB", (measurements.memory_mib(pid, "VmRSS") for pid in pids)),
        **percentiles("idle CPU, %", used),
        "idle requests": idle_requests,
        **percentiles("cordoned", cordoned),
        "requests in the storm": len(requests_log.requests()) - idle_requests,
        measurements.OTHERS: MachineTimes.read().others_percent(machine_before),
    }


async def _announce(environment: BenchmarkEnvironment, watched: WatchedNodes) -> Sequence[float]:
    """Interrupt all nodes, and return the seconds until each was cordoned."""
    operator_log = environment.log_of(world.OPERATOR_USER)
    announced_at = {}
    for name in environment.instances:
        announced_at[name] = time.time()
        watched.announce(name, EventKind.SPOT_INTERRUPTION)
    await environment.until_no_pod_runs()
    await watched.until_settled(*environment.instances)
    cordoned_at = measurements.cordoned_at(operator_log.requests())
    return [cordoned_at[name] - at for name, at in announced_at.items()]
