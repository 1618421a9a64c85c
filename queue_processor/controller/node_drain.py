"""One drain of one node: evict its pods, wait until they are gone, report how it ended.

A drain is `kubectl drain` against a clock. What makes it more than a list of evictions:

- Pods come and go while it runs. DaemonSets apart, the scheduler may have bound a pod to the node
  right before the cordon, and a budget lets pods go one by one. So the drain follows the pods of
  its node (`node_pods`), starts one eviction for each that has to go, and is over when the watch
  shows that none is left: an eviction that is accepted is not yet a pod that is gone.
- The deadline may come nearer, since a second event may name the node. Nothing here computes an
  end once: each wait asks the timer again whenever something has changed.
- Some pods have to go last: those that others need to stop cleanly, and ourselves. Groups wait for
  each other, but only until the time that is reserved for them begins. Karpenter does the same
  (`groupPodsByPriority`), and also lets pods that are past their deadline skip the order.
- The instance may be gone before its pods are. Their kubelet cannot confirm that they stopped, so
  they stay in the API until the control plane gives up on the node. The out-of-service taint makes
  it do that at once. It deletes pods by force, so it is put on only where the instance is gone
  and the node not ready, or where the node is not ready at a hard deadline.

At a soft deadline the drain gives up, and the pods stay. At a hard one AWS takes the instance, and
pods that their budget still blocks are deleted in time (`eviction`).

Rejected: one loop that polls all pods of the node, as `kubectl drain` does. It takes a list for
each node and second, sees a pod that comes late only in the next round, and has one timeout for
all pods.
"""

import asyncio
import datetime as dt
import functools
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager

import structlog

from queue_processor.controller import limiter, node_cordon
from queue_processor.controller.drain_context import DrainContext
from queue_processor.controller.drain_status import DrainStatus
from queue_processor.controller.eviction import Evictor, ForceDeletePolicy
from queue_processor.controller.node_pods import NodePods
from queue_processor.controller.waiting import ChangeSignal, DeadlineTimer
from queue_processor.domain import errors, pods
from queue_processor.domain.nodes import NodeView
from queue_processor.domain.plan import InstanceReport, InstanceResult, Plan
from queue_processor.domain.pods import EvictionGroup, PodView
from queue_processor.observability import event_reasons, metrics
from queue_processor.retrying import retry_on_conflict

_log = structlog.get_logger(__name__)

_AT_ONCE = dt.timedelta(days=365)


class NodeDrain:
    """A drain that runs; its timer may be tightened meanwhile."""

    def __init__(
        self, plan: Plan, node: NodeView, *, timer: DeadlineTimer, context: DrainContext
    ) -> None:
        self._plan = plan
        self._node = node
        self._timer = timer
        self._ports = context.ports
        self._node_index = context.node_index
        self._limiter = context.limiter
        self._options = context.options
        self._time_at_start = timer.left
        self._changed = ChangeSignal()
        self._group = asyncio.TaskGroup()
        self._tasks: list[asyncio.Task[None]] = []
        self._has_volumes = False
        self._is_cancelled = False
        self._pods = NodePods(
            node.name,
            watcher=context.pod_watcher,
            slot=self._slot_to_list,
            time_left=lambda: self._timer.left,
            on_change=self._changed.notify_all,
            on_arrival=self._on_arrival,
        )
        self._status = DrainStatus(node, pods=self._pods, timer=timer, context=context)
        self._evictor = Evictor(
            pods=context.ports.pods,
            event_recorder=context.ports.event_recorder,
            limiter=context.limiter,
            timer=timer,
            changed=self._changed,
            policy=ForceDeletePolicy(
                kind=plan.kind,
                force_deletes=context.options.force_deletes,
                # Nothing runs on an instance that is gone: no budget protects anything there.
                force_margin=_AT_ONCE if plan.is_instance_gone else context.options.force_margin,
            ),
        )

    async def run(self) -> InstanceReport:
        """Drain the node, or stop at its deadline.

        Raises:
            TemporaryError: The pods of the node could never be listed.
        """
        loop = asyncio.get_running_loop()
        started_at = loop.time()
        result = await self._drain_pods()
        if result is InstanceResult.DRAINED and self._has_volumes:
            await self._await_volume_detachment()
        report = self._report(result)
        self._observe(report, seconds=loop.time() - started_at)
        await self._status.show_end(report)
        return report

    def cancel(self) -> None:
        """Stop, because the event that asked for the drain has been cancelled."""
        self._is_cancelled = True
        self._changed.notify_all()

    def notice_deadline(self) -> None:
        """Look at the timer again, because its deadline has come nearer."""
        self._evictor.notice_deadline()
        self._changed.notify_all()

    # Drain the pods.

    async def _drain_pods(self) -> InstanceResult:
        async with self._group:
            self._start(self._pods.follow(), "pods of")
            self._start(self._watch_node(), "watch")
            self._start(self._status.follow(), "show")
            if self._plan.is_instance_gone and self._options.declares_out_of_service:
                self._start(self._free_dead_node(), "free")
            result = await self._await_end()
            for task in self._tasks:
                task.cancel()
        if result is None:
            # Raised out here: the task group would wrap it, and hide that it is temporary.
            failure = self._pods.list_failure
            _log.warning("pods_not_listed", node=self._node.name, error=failure)
            raise errors.TemporaryError(
                f"the pods of {self._node.name} were not listed in time: {failure}"
            )
        return result

    def _start(self, work: Coroutine[None, None, None], verb: str) -> None:
        name = f"{verb} {self._node.name}"
        self._tasks.append(self._group.create_task(work, name=name))

    async def _await_end(self) -> InstanceResult | None:
        """Return how the drain ended; None if its pods were not listed before the deadline."""
        while True:
            if self._is_cancelled:
                return InstanceResult.CANCELLED
            if self._node_index.find(self._node.instance_id) is None:
                return InstanceResult.NODE_GONE
            if self._pods.is_listed and not self._pods.left:
                return InstanceResult.DRAINED
            if self._timer.is_over:
                return await self._end_at_deadline()
            await self._changed.wait(self._timer.left)

    async def _end_at_deadline(self) -> InstanceResult | None:
        if not self._pods.is_listed:
            return None
        if not self._timer.deadline.is_hard:
            return InstanceResult.GAVE_UP
        if self._options.declares_out_of_service:
            await self._declare_out_of_service()
        return InstanceResult.PAST_DEADLINE

    async def _watch_node(self) -> None:
        await self._node_index.until(self._node.instance_id, lambda node: node is None)
        self._changed.notify_all()

    # Evict one pod.

    def _slot_to_list(self) -> AbstractAsyncContextManager[None]:
        return self._limiter.slot(limiter.Priority.DRAIN, self._timer.ends_at, opens=True)

    def _on_arrival(self, pod: PodView) -> None:
        self._has_volumes = self._has_volumes or bool(pod.claims)
        if not pod.is_terminating:
            self._start(self._evict(pod), f"evict {pod.ref} from")

    async def _evict(self, pod: PodView) -> None:
        await self._await_turn_of(pods.group_of(pod, own_pod=self._options.own_pod))
        await self._evictor.remove(pod, is_departing=lambda: self._pods.is_departing(pod.ref.uid))

    async def _await_turn_of(self, group: EvictionGroup) -> None:
        """Wait for the groups before this one, but not into the time that is kept for it."""
        kept = self._time_at_start * pods.TIME_KEPT[group]
        while self._is_preceded(group) and self._timer.left > kept:
            await self._changed.wait(self._timer.left - kept)

    def _is_preceded(self, group: EvictionGroup) -> bool:
        own_pod = self._options.own_pod
        return any(pods.group_of(pod, own_pod=own_pod) < group for pod in self._pods.left.values())

    # Free what a dead node holds.

    async def _free_dead_node(self) -> None:
        await self._pods.until_listed()
        await self._node_index.until(
            self._node.instance_id,
            lambda node: node is None or not node.is_ready,
            limit=self._timer.left,
        )
        await self._declare_out_of_service()

    async def _declare_out_of_service(self) -> None:
        """Free the pods and volumes of the node, if it is certain that nothing runs there."""
        nodes = self._ports.nodes
        refresh = functools.partial(node_cordon.refresh, nodes)

        async def declare(node: NodeView) -> None:
            if not node.is_ready and self._pods.left:
                await nodes.declare_out_of_service(node)
                metrics.NODES_OUT_OF_SERVICE.inc()
                _log.warning("node_out_of_service", node=node.name, pods_left=len(self._pods.left))
                message = f"not ready, with {len(self._pods.left)} pods that run no more"
                self._ports.event_recorder.node_event(node, event_reasons.OUT_OF_SERVICE, message)

        try:
            await retry_on_conflict(declare, await refresh(self._node), refresh=refresh)
        except (errors.NotFound, errors.TemporaryError, errors.PermanentError) as error:
            _log.warning("out_of_service_taint_failed", node=self._node.name, error=str(error))

    # Wait for volumes, and report.

    async def _await_volume_detachment(self) -> None:
        """Wait until the volumes of the pods that left can be attached elsewhere."""
        await self._status.show_in_progress("no pods left, volumes still attached")
        limit = min(self._options.volume_timeout, self._timer.left).total_seconds()
        staying = {
            (pod.ref.namespace, claim)
            for pod in self._pods.staying.values()
            for claim in pod.claims
        }
        try:
            async with asyncio.timeout(max(limit, 0.0)):
                await self._ports.volumes.await_detached(self._node.name, staying=staying)
        except TimeoutError:
            _log.warning("volumes_still_attached", node=self._node.name)
        except (errors.TemporaryError, errors.PermanentError) as error:
            _log.warning("volumes_not_watched", node=self._node.name, error=str(error))

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

    def _observe(self, report: InstanceReport, *, seconds: float) -> None:
        labels = {"kind": self._plan.kind, "result": report.result}
        metrics.DRAIN_DURATION.labels(**labels).observe(seconds)
        metrics.PODS_LEFT.labels(**labels).inc(len(report.left))
