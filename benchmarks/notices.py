"""Notices of instance metadata: what the watchers cost, and how soon a node is cordoned."""

import asyncio
import dataclasses
import time

from benchmarks import measurements
from benchmarks.environment import BenchmarkEnvironment
from queue_processor.domain.events import EventKind
from queue_processor.simulator.demo import scenarios
from queue_processor.simulator.demo.results import Spread
from tests.cluster import audit, world
from tests.cluster.watchers import WATCHER_USER, WatchedNodes

POLL_SECONDS = 2
_PODS = 10
# Imports, the first poll, and the connection that stays open.
_SETTLING_SECONDS = 10.0
_IDLE_SECONDS = 60.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NoticeFigures:
    """The figures of watchers, and of a storm that they announce.

    Attributes:
        nodes: How many nodes have a watcher each, and are interrupted at once.
        rss_mib: Of each watcher after its notice, at the end.
        cpu_percent: Of a core, of each watcher while nothing is announced.
        idle_requests: To the API server, of all watchers in that time.
        cordoned: From the announcement to the cordon, as the API server has seen it.
        watcher_requests: To the API server, of all watchers in the storm.
    """

    nodes: int
    rss_mib: Spread
    cpu_percent: Spread
    idle_requests: int
    cordoned: Spread
    watcher_requests: int


async def notices(count: int) -> NoticeFigures:
    """Let a watcher run on each of so many nodes, then interrupt all of them at once."""
    nodes = scenarios.make_nodes(count)
    async with BenchmarkEnvironment.started() as environment:
        await environment.populate(nodes, pods=_PODS)
        watched = WatchedNodes(environment.world, environment.folder, poll_seconds=POLL_SECONDS)
        try:
            async with environment.operating(QUEUE_PROCESSOR_SOURCES__NOTICES__ENABLED="true"):
                await watched.start(environment.instances)
                return await _measure(environment, watched)
        finally:
            await watched.close()


async def _measure(environment: BenchmarkEnvironment, watched: WatchedNodes) -> NoticeFigures:
    pids, names = watched.process_ids, list(environment.instances)
    await asyncio.sleep(_SETTLING_SECONDS)
    requests = audit.AuditLog(environment.plane.audit_log, WATCHER_USER)
    before = [measurements.cpu_seconds(pid) for pid in pids]
    await asyncio.sleep(_IDLE_SECONDS)
    after = [measurements.cpu_seconds(pid) for pid in pids]
    idle_requests = len(requests.requests())
    operator = audit.AuditLog(environment.plane.audit_log, world.OPERATOR_USER)
    announced_at = {}
    for name in names:
        announced_at[name] = time.time()
        watched.announce(name, EventKind.SPOT_INTERRUPTION)
    await environment.until_no_pod_runs()
    await watched.until_settled(*names)
    cordoned = measurements.cordoned_at(operator.requests())
    return NoticeFigures(
        nodes=len(names),
        rss_mib=Spread.of(measurements.memory_mib(pid, "VmRSS") for pid in pids),
        cpu_percent=Spread.of(
            100 * (end - begin) / _IDLE_SECONDS for begin, end in zip(before, after, strict=True)
        ),
        idle_requests=idle_requests,
        cordoned=Spread.of(cordoned[name] - at for name, at in announced_at.items()),
        watcher_requests=len(requests.requests()) - idle_requests,
    )
