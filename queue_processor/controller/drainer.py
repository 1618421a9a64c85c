"""One node's drain: choose, evict, wait, and tell how it went."""

import asyncio
import dataclasses
import datetime as dt
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager

import structlog

from queue_processor.controller import fencing, limiter, ports
from queue_processor.controller.deadline_timer import DeadlineTimer
from queue_processor.controller.eviction import Evictor, ForceDeletePolicy
from queue_processor.controller.node_index import NodeIndex
from queue_processor.controller.node_pods import NodePods
from queue_processor.controller.pod_watcher import PodWatcher
from queue_processor.controller.ports import DrainProgress
from queue_processor.domain import errors, pods
from queue_processor.domain.nodes import NodeView
from queue_processor.domain.plan import InstanceReport, InstanceResult, Plan
from queue_processor.domain.pods import EvictionGroup, PodView
from queue_processor.observability import metrics

_log = structlog.get_logger(__name__)

# What is over before that needs no word that it has begun.
_FIRST_PROGRESS_SECONDS = 1.0
_PROGRESS_INTERVAL_SECONDS = 10.0
_TELLING_LIMIT_SECONDS = 5.0
_AT_ONCE = dt.timedelta(days=365)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DrainOptions:
    """How nodes are drained.

    Attributes:
        force_deletes: Whether a pod that its budget blocks is deleted at a hard deadline.
        force_margin: How long before the deadline at the latest.
        volume_timeout: How long a drained node waits for its volumes to be detached.
        declares_out_of_service: Whether the control plane is told about a dead node.
        own_pod: Namespace and name of the pod that this program runs in.
    """

    force_deletes: bool = True
    force_margin: dt.timedelta = dt.timedelta(seconds=10)
    volume_timeout: dt.timedelta = dt.timedelta(seconds=60)
    declares_out_of_service: bool = True
    own_pod: tuple[str, str] | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """The parts of the cluster that a drain touches, and the gate before all requests."""

    nodes: ports.Nodes
    pods: ports.Pods
    feed: PodWatcher
    volumes: ports.Volumes
    event_recorder: ports.EventRecorder
    notifier: ports.Notifier
    node_index: NodeIndex
    requests: limiter.PriorityLimiter


class Drain:
    """A drain in hand; its timer may be tightened while it runs."""

    def __init__(
        self,
        plan: Plan,
        node: NodeView,
        *,
        timer: DeadlineTimer,
        cluster: Cluster,
        options: DrainOptions,
        clock: ports.Clock,
    ) -> None:
        self._plan = plan
        self._node = node
        self._timer = timer
        self._cluster = cluster
        self._options = options
        self._clock = clock
        self._began_at = clock()
        self._reserve = timer.left
        self._group = asyncio.TaskGroup()
        self._tasks: list[asyncio.Task[None]] = []
        self._has_volumes = False
        self._is_cancelled = False
        self._pods = NodePods(
            node.name,
            feed=cluster.feed,
            slot=self._turn_to_list,
            changed=timer.changed,
            arrived=self._on_arrival,
        )
        self._evictor = Evictor(
            pods=cluster.pods,
            event_recorder=cluster.event_recorder,
            requests=cluster.requests,
            timer=timer,
            rule=ForceDeletePolicy(
                kind=plan.kind,
                force_deletes=options.force_deletes,
                # Nothing runs on an instance that is gone: no budget protects anything there.
                force_margin=_AT_ONCE if plan.is_instance_gone else options.force_margin,
            ),
        )

    async def run(self) -> InstanceReport:
        """Drain the node, or stop at its deadline.

        Raises:
            TemporaryError: The pods of the node could never be listed.
        """
        loop = asyncio.get_running_loop()
        started_at = loop.time()
        async with self._group:
            self._start(self._pods.follow(), "pods of")
            self._start(self._watch_node(), "watch")
            self._start(self._show_progress(), "show")
            if self._plan.is_instance_gone and self._options.declares_out_of_service:
                self._start(self._free_dead_node(), "free")
            result = await self._until_over()
            for task in self._tasks:
                task.cancel()
        if result is InstanceResult.DRAINED and self._has_volumes:
            await self._until_detached()
        report = self._report(result)
        took = loop.time() - started_at
        metrics.DRAIN_DURATION.labels(kind=self._plan.kind, result=result).observe(took)
        metrics.PODS_LEFT.labels(kind=self._plan.kind, result=result).inc(len(report.left))
        await self._tell_ending(report)
        return report

    def cancel_drain(self) -> None:
        """Stop, because the event that asked for the drain has been taken back."""
        self._is_cancelled = True
        self._timer.changed.fire()

    def _start(self, work: Coroutine[None, None, None], verb: str) -> None:
        name = f"{verb} {self._node.name}"
        self._tasks.append(self._group.create_task(work, name=name))

    # Choose and evict.

    def _turn_to_list(self) -> AbstractAsyncContextManager[None]:
        return self._cluster.requests.slot(limiter.Priority.DRAIN, self._timer.ends_at, opens=True)

    def _on_arrival(self, pod: PodView) -> None:
        self._has_volumes = self._has_volumes or bool(pod.claims)
        if not pod.is_terminating:
            self._start(self._evict(pod), f"evict {pod.ref} from")

    async def _evict(self, pod: PodView) -> None:
        await self._until_turn_of(pods.group_of(pod, own_pod=self._options.own_pod))
        if pod.ref.uid in self._pods.left:
            await self._evictor.remove(pod, is_gone=lambda: pod.ref.uid not in self._pods.left)

    async def _until_turn_of(self, group: EvictionGroup) -> None:
        """Wait for the groups before this one, but not past the time kept for it.

        Half of the time is kept for the second group, a quarter for the third.
        """
        kept = self._reserve / 2**group
        while self._has_before(group) and self._timer.left > kept:
            await self._timer.changed.wait(self._timer.left - kept)

    def _has_before(self, group: EvictionGroup) -> bool:
        own_pod = self._options.own_pod
        return any(pods.group_of(pod, own_pod=own_pod) < group for pod in self._pods.left.values())

    # Wait.

    async def _until_over(self) -> InstanceResult:
        while True:
            if self._is_cancelled:
                return InstanceResult.CANCELLED
            if self._cluster.node_index.find(self._node.instance_id) is None:
                return InstanceResult.NODE_GONE
            if self._pods.is_listed and not self._pods.left:
                return InstanceResult.DRAINED
            if self._timer.is_over:
                return await self._at_deadline()
            await self._timer.changed.wait(self._timer.left)

    async def _at_deadline(self) -> InstanceResult:
        if not self._pods.is_listed:
            raise errors.TemporaryError(f"the pods of {self._node.name} could not be listed")
        if not self._timer.deadline.is_hard:
            return InstanceResult.GAVE_UP
        if self._options.declares_out_of_service:
            await self._declare_out_of_service()
        return InstanceResult.PAST_DEADLINE

    async def _watch_node(self) -> None:
        await self._cluster.node_index.until(self._node.instance_id, lambda found: found is None)
        self._timer.changed.fire()

    async def _until_listed(self) -> None:
        while not self._pods.is_listed:
            await self._timer.changed.wait()

    async def _free_dead_node(self) -> None:
        await self._until_listed()
        await self._cluster.node_index.until(
            self._node.instance_id,
            lambda found: found is None or not found.is_ready,
            limit=self._timer.left,
        )
        await self._declare_out_of_service()

    async def _declare_out_of_service(self) -> None:
        """Free the pods and volumes of the node, if it is certain that nothing runs there."""
        nodes = self._cluster.nodes

        async def declare(node: NodeView) -> None:
            if not node.is_ready and self._pods.left:
                await nodes.declare_out_of_service(node)
                metrics.NODES_OUT_OF_SERVICE.inc()
                _log.warning("node_out_of_service", node=node.name, pods_left=len(self._pods.left))
                message = f"not ready, with {len(self._pods.left)} pods that run no more"
                self._cluster.event_recorder.node_event(
                    node, "OutOfService", message, is_warning=True
                )

        try:
            await fencing.retry_on_conflict(
                nodes, await fencing.refresh(nodes, self._node), declare
            )
        except (errors.NotFound, errors.TemporaryError, errors.PermanentError) as error:
            _log.warning("out_of_service_taint_failed", node=self._node.name, error=str(error))

    async def _until_detached(self) -> None:
        await self._show_in_progress("no pods left, volumes still attached")
        limit = min(self._options.volume_timeout, self._timer.left).total_seconds()
        staying = {
            (pod.ref.namespace, claim)
            for pod in self._pods.staying.values()
            for claim in pod.claims
        }
        try:
            async with asyncio.timeout(max(limit, 0.0)):
                await self._cluster.volumes.await_detached(self._node.name, staying=staying)
        except TimeoutError:
            _log.warning("volumes_still_attached", node=self._node.name)
        except (errors.TemporaryError, errors.PermanentError) as error:
            _log.warning("volumes_not_watched", node=self._node.name, error=str(error))

    # Tell.

    def _report(self, result: InstanceResult) -> InstanceReport:
        return InstanceReport(
            instance_id=self._node.instance_id,
            node_name=self._node.name,
            result=result,
            evicted=self._evictor.stats.evicted,
            force_deleted=tuple(self._evictor.stats.force_deleted),
            left=tuple(sorted(str(pod.ref) for pod in self._pods.left.values())),
            margin=max(self._timer.left, dt.timedelta()) if self._timer.deadline.is_hard else None,
        )

    async def _show_progress(self) -> None:
        """Keep the condition on the node true, without a write for every pod."""
        await self._until_listed()
        await asyncio.sleep(_FIRST_PROGRESS_SECONDS)
        shown = None
        while True:
            message = f"{len(self._pods.left)} of {self._pods.seen} pods left"
            if message != shown and self._pods.left:
                await self._show_in_progress(message)
                shown = message
            await asyncio.sleep(_PROGRESS_INTERVAL_SECONDS)

    async def _tell_ending(self, report: InstanceReport) -> None:
        if report.result is InstanceResult.NODE_GONE:
            return
        is_drained = report.result is InstanceResult.DRAINED
        message = report.summary(seen=self._pods.seen)
        await self._show(
            DrainProgress.DRAINED if is_drained else DrainProgress.STOPPED,
            message,
            since=self._clock(),
            priority=limiter.Priority.ENDING,
        )
        self._cluster.event_recorder.node_event(
            self._node,
            "Drained" if is_drained else "DrainStopped",
            message,
            is_warning=not is_drained,
        )

    async def _show_in_progress(self, message: str) -> None:
        await self._show(
            DrainProgress.IN_PROGRESS,
            message,
            since=self._began_at,
            priority=limiter.Priority.PROGRESS,
        )

    async def _show(
        self,
        progress: DrainProgress,
        message: str,
        *,
        since: dt.datetime,
        priority: limiter.Priority,
    ) -> None:
        """Write a condition, which a drain neither depends on nor waits long for."""
        try:
            async with (
                asyncio.timeout(_TELLING_LIMIT_SECONDS),
                self._cluster.requests.slot(priority, self._timer.ends_at),
            ):
                await self._cluster.nodes.report(self._node, progress, message, since=since)
        except (
            TimeoutError,
            errors.NotFound,
            errors.TemporaryError,
            errors.PermanentError,
        ) as error:
            _log.info(
                "node_conditions_update_failed",
                node=self._node.name,
                error=str(error) or "timed out",
            )
