"""One drain of one node: evict its pods, wait until they are gone, report how it ended.

A drain is `kubectl drain` against a clock. What makes it more than a list of evictions:

- Pods come and go while it runs. DaemonSets apart, the scheduler may have bound a pod to the node
  right before the cordon, and a budget lets pods go one by one. So the drain follows the pods of
  its node (`node_pods`), starts one eviction for each that has to go, and is over when the watch
  shows that none is left: an eviction that is accepted is not yet a pod that is gone.
- Events come and go, too. The node may be held by several, each with its own deadline and its own
  end (`node_holds`). Nothing here computes an end once: each wait asks for the intent again
  whenever a hold, the node or a pod has changed. The drain is over when no hold drains any more.
- Some pods have to go last: those that others need to stop cleanly, and ourselves. Groups wait for
  each other, but only until the time that is reserved for them begins. Karpenter does the same
  (`groupPodsByPriority`), and also lets pods that are past their deadline skip the order.
- The instance may be gone before its pods are. Their kubelet cannot confirm that they stopped, so
  they stay in the API until the control plane gives up on the node. The out-of-service taint makes
  it do that at once. It deletes pods by force, so it is put on only with evidence that nothing runs
  on the instance (`intent`): a kubelet that cannot be reached may still run its pods.

At a soft deadline a hold gives up, and the pods stay. At a hard one AWS takes the instance, and
pods that their budget still blocks are deleted in time (`force_delete`).

Rejected: one loop that polls all pods of the node, as `kubectl drain` does. It takes a list for
each node and second, sees a pod that comes late only in the next round, and has one timeout for
all pods. Also rejected: to take deadline and order from the event that came first, and to adjust
them when another joins. Each pair of kinds then needs its own rule, in both orders.
"""

import asyncio
import datetime as dt
import functools
from collections.abc import Callable, Collection, Coroutine, Mapping

import structlog

from queue_processor.controller import node_cordon
from queue_processor.controller.drain_context import DrainContext
from queue_processor.controller.drain_status import DrainStatus
from queue_processor.controller.eviction import Evictor
from queue_processor.controller.force_delete import ForceDeleter
from queue_processor.controller.node_holds import NodeHolds
from queue_processor.controller.node_pods import NodePods
from queue_processor.controller.ranks import Priority
from queue_processor.domain import errors, intent, pods
from queue_processor.domain.events import EventKind
from queue_processor.domain.holds import Hold
from queue_processor.domain.identifiers import InstanceId
from queue_processor.domain.nodes import NodeView
from queue_processor.domain.plan import InstanceReport, InstanceResult
from queue_processor.domain.pods import EvictionGroup, PodView
from queue_processor.observability import event_reasons, metrics
from queue_processor.retrying import retry_on_conflict, retrying

_log = structlog.get_logger(__name__)


class NodeDrain:
    """A drain that runs for as long as there are holds that drain the node."""

    def __init__(
        self,
        holds: NodeHolds,
        *,
        on_end: Callable[[Hold, InstanceReport], None],
        context: DrainContext,
    ) -> None:
        """Build the drain.

        Args:
            holds: What holds the node.
            on_end: Called once for each hold whose work has ended.
            context: What all drains share.
        """
        self._holds = holds
        self._on_end = on_end
        self._ports = context.ports
        self._node_index = context.node_index
        self._limiter = context.limiter
        self._options = context.options
        self._group = asyncio.TaskGroup()
        self._tasks: list[asyncio.Task[None]] = []
        self._has_volumes = False
        self._is_gone = False
        self._freeing: asyncio.Task[None] | None = None
        self._showing: asyncio.Task[None] | None = None
        self._detaching: asyncio.Task[None] | None = None
        self._pods = NodePods(
            holds.node.name,
            watcher=context.pod_watcher,
            ends_at=lambda: self._holds.ends_at,
            time_left=lambda: self._holds.left,
            on_change=self._holds.changed.notify_all,
            on_arrival=self._on_arrival,
        )
        self._status = DrainStatus(holds, pods=self._pods, context=context)
        force_deleter = ForceDeleter(holds, look_again=self._look_again, context=context)
        self._evictor = Evictor(holds, force_deleter=force_deleter, context=context)

    async def run(self) -> tuple[Hold, InstanceReport]:
        """Drain the node until the last of its holds has ended; return that one, and how it ended.

        Raises:
            TemporaryError: The pods of the node could never be listed.
        """
        loop = asyncio.get_running_loop()
        started_at = loop.time()
        ended = await self._drain_pods()
        last_hold, report = ended[-1]
        self._observe(last_hold.kind, report, seconds=loop.time() - started_at)
        await self._status.show_end(report)
        for hold, its_report in ended:
            self._on_end(hold, its_report)
        return last_hold, report

    # Follow the holds.

    async def _drain_pods(self) -> list[tuple[Hold, InstanceReport]]:
        """Drain until no hold asks for it; return the holds that ended last."""
        async with self._group:
            self._start(self._pods.follow(), "pods of")
            self._start(self._follow_node(), "watch")
            ended = await self._follow_holds()
            for task in self._tasks:
                task.cancel()
        if not ended:
            # Raised out here: the task group would wrap it, and hide that it is temporary.
            failure, name = self._pods.list_failure, self._holds.node.name
            _log.warning("pods_not_listed", node=name, error=failure)
            raise errors.TemporaryError(f"the pods of {name} were not listed in time: {failure}")
        return ended

    def _show_if_listed(self) -> None:
        if self._pods.is_listed and self._showing is None:
            self._showing = self._start(self._status.follow(), "show")

    def _start(self, work: Coroutine[None, None, None], verb: str) -> asyncio.Task[None]:
        task = self._group.create_task(work, name=f"{verb} {self._holds.node.name}")
        self._tasks.append(task)
        return task

    async def _follow_holds(self) -> list[tuple[Hold, InstanceReport]]:
        """End each hold when its work is over.

        Returns:
            The holds that ended last, all at the same time; none if the pods were not listed before
            the last deadline.
        """
        serving: dict[str, Hold] = {}
        while True:
            self._evictor.notice_deadlines()
            self._show_if_listed()
            self._free_if_dead()
            serving |= {hold.id: hold for hold in self._holds.draining}
            results = self._results(serving)
            if not results:
                if self._holds.is_over:
                    return []
                await self._holds.changed.wait(self._until_next_end())
                continue
            ended = [(serving.pop(hold_id), result) for hold_id, result in results.items()]
            reports = [(hold, self._end(hold, result)) for hold, result in ended]
            if not serving:
                return reports
            for hold, report in reports:
                self._on_end(hold, report)

    def _results(self, serving: Mapping[str, Hold]) -> Mapping[str, InstanceResult]:
        """Return the results of the holds, by id, whose work is over."""
        results = self._without_drain(serving)
        lasting = [each for each in serving if each not in results]
        if self._is_gone:
            results |= dict.fromkeys(lasting, InstanceResult.NODE_GONE)
        elif self._is_empty and not self._has_volumes:
            results |= dict.fromkeys(lasting, InstanceResult.DRAINED)
        elif self._is_empty:
            self._await_volumes()
            results |= dict.fromkeys(self._over(lasting), InstanceResult.DRAINED)
        elif self._pods.is_listed:
            ended = self._over(lasting)
            results |= {hold_id: intent.result_at_end(serving[hold_id]) for hold_id in ended}
        return results

    def _over(self, ids: Collection[str]) -> list[str]:
        """Return the ids of those holds whose time is over."""
        over = self._holds.intent.over(self._holds.now, longest_grace=self._longest_grace())
        return [hold.id for hold in over if hold.id in ids]

    @property
    def _is_empty(self) -> bool:
        return self._pods.is_listed and not self._pods.left

    def _without_drain(self, serving: Collection[str]) -> dict[str, InstanceResult]:
        """Return the results of the holds that ask for no drain any more."""
        draining = {hold.id for hold in self._holds.draining}
        results = {each: InstanceResult.CANCELLED for each in serving if each not in draining}
        refuted = (hold.id for hold in self._holds.refuted if hold.id in serving)
        return results | dict.fromkeys(refuted, InstanceResult.STILL_RUNNING)

    def _until_next_end(self) -> dt.timedelta:
        if not self._pods.is_listed:
            return self._holds.left
        next_end_at = self._holds.intent.next_end_at(self._longest_grace())
        return self._holds.left if next_end_at is None else next_end_at - self._holds.now

    def _longest_grace(self) -> dt.timedelta:
        """Return how long the pods that are left may take once they are deleted."""
        if not self._options.force_deletes:
            return dt.timedelta()
        return max((pod.grace for pod in self._pods.left.values()), default=dt.timedelta())

    def _end(self, hold: Hold, result: InstanceResult) -> InstanceReport:
        """End a hold, and return its report."""
        node = self._holds.node
        margin = max(self._holds.until_deadline(hold), dt.timedelta())
        if result is InstanceResult.STILL_RUNNING:
            self._holds.drop({hold.id})
        elif result is not InstanceResult.CANCELLED:
            self._holds.end(hold.id, result)
        return InstanceReport(
            instance_id=node.instance_id,
            node_name=node.name,
            result=result,
            evicted=self._evictor.stats.evicted,
            force_deleted=tuple(self._evictor.stats.force_deleted),
            left=tuple(sorted(str(pod.ref) for pod in self._pods.left.values())),
            margin=margin if hold.deadline.is_hard else None,
            last_removal_at=self._evictor.stats.last_removal_at,
        )

    async def _follow_node(self) -> None:
        """Take in each change of the node, until it is gone."""
        instance_id, uid = self._holds.node.instance_id, self._holds.node.uid
        seen = self._node_index.get(uid)
        while True:
            if seen is not None:
                self._holds.see(seen)
            elif not await self._look_again():
                return
            seen = await self._until_changed(instance_id, uid, seen)

    async def _until_changed(
        self, instance_id: InstanceId, uid: str, seen: NodeView | None
    ) -> NodeView | None:
        await self._node_index.until(instance_id, lambda _: self._node_index.get(uid) is not seen)
        return self._node_index.get(uid)

    async def _look_again(self) -> bool:
        """Read the node as it is now, since the index may be old; return False if it is gone."""
        if await self._is_node_gone():
            self._is_gone = True
            self._holds.changed.notify_all()
        return not self._is_gone

    async def _is_node_gone(self) -> bool:
        """Ask the API server: a node that is not in the index may only be ours no more."""
        async for attempt in retrying(
            time_left=lambda: self._holds.left, on=(errors.TemporaryError, errors.PermanentError)
        ):
            with attempt:
                try:
                    self._holds.see(await node_cordon.refresh(self._ports.nodes, self._holds.node))
                except errors.NotFound:
                    return True
        return False

    # Evict one pod.

    def _on_arrival(self, pod: PodView) -> None:
        self._has_volumes = self._has_volumes or bool(pod.claims)
        if not pod.is_terminating:
            evict = self._evict_late if self._pods.is_listed else self._evict
            self._start(evict(pod), f"evict {pod.ref} from")

    async def _evict_late(self, pod: PodView) -> None:
        """Evict a pod that arrived although the node is cordoned, if that is still the same Node.

        A Node that registered again under its name, while the watch of nodes is silently dead, gets
        pods all the time.
        """
        if await self._look_again():
            await self._evict(pod)

    async def _evict(self, pod: PodView) -> None:
        await self._await_turn_of(pods.group_of(pod, own_pod=self._options.own_pod))
        if not self._holds.draining:
            # It was cancelled, and the pod may stay.
            return
        await self._evictor.remove(pod, self._pods.departure_of(pod.ref.uid))

    async def _await_turn_of(self, group: EvictionGroup) -> None:
        """Wait for the groups before this one, but not into the time that is kept for it."""
        while self._is_preceded(group):
            turn_at = self._holds.intent.turn_at(group)
            wait = None if turn_at is None else turn_at - self._holds.now
            if wait is not None and wait <= dt.timedelta():
                return
            await self._holds.changed.wait(wait)

    def _is_preceded(self, group: EvictionGroup) -> bool:
        own_pod = self._options.own_pod
        return any(pods.group_of(pod, own_pod=own_pod) < group for pod in self._pods.left.values())

    # Free what a dead node holds.

    def _free_if_dead(self) -> None:
        """Begin to free pods and volumes once it is certain that nothing runs on the node."""
        may_declare = self._options.declares_out_of_service and self._freeing is None
        if may_declare and self._needs_out_of_service():
            self._freeing = self._start(self._free_dead_node(), "free")

    async def _free_dead_node(self) -> None:
        try:
            async for attempt in retrying(time_left=lambda: self._holds.left):
                with attempt:
                    await self._declare_out_of_service()
        except (errors.NotFound, errors.PermanentError) as error:
            name = self._holds.node.name
            _log.warning("out_of_service_taint_failed", node=name, error=str(error))

    def _needs_out_of_service(self) -> bool:
        is_occupied = self._pods.is_listed and bool(self._pods.left)
        return self._holds.intent.is_dead and is_occupied

    async def _declare_out_of_service(self) -> None:
        nodes = self._ports.nodes
        refresh = functools.partial(node_cordon.refresh, nodes)

        async def declare(node: NodeView) -> None:
            self._holds.see(node)
            if node.is_out_of_service or not self._needs_out_of_service():
                return
            async with self._limiter.slot(Priority.ENDING, self._holds.ends_at):
                self._holds.see(await nodes.declare_out_of_service(node))
            metrics.NODES_OUT_OF_SERVICE.inc()
            _log.warning("node_out_of_service", node=node.name, pods_left=len(self._pods.left))
            message = f"not ready, with {len(self._pods.left)} pods that run no more"
            self._ports.event_recorder.node_event(node, event_reasons.OUT_OF_SERVICE, message)

        await retry_on_conflict(declare, await refresh(self._holds.node), refresh=refresh)

    # Wait for volumes, and report.

    def _await_volumes(self) -> None:
        if self._detaching is None or self._detaching.done():
            self._detaching = self._start(self._await_volume_detachment(), "volumes of")

    async def _await_volume_detachment(self) -> None:
        """Wait until the volumes of the pods that left can be attached elsewhere."""
        message = "no pods left, volumes still attached"
        self._start(self._status.show_in_progress(lambda: message), "show volumes of")
        limit = min(self._options.volume_timeout, self._holds.left).total_seconds()
        staying = {
            (pod.ref.namespace, claim)
            for pod in self._pods.staying.values()
            for claim in pod.claims
        }
        name = self._holds.node.name
        try:
            async with asyncio.timeout(max(limit, 0.0)):
                await self._ports.volumes.await_detached(name, staying=staying)
        except TimeoutError:
            _log.warning("volumes_still_attached", node=name)
        except (errors.TemporaryError, errors.PermanentError) as error:
            _log.warning("volumes_not_watched", node=name, error=str(error))
        self._has_volumes = False
        self._holds.changed.notify_all()

    def _observe(self, kind: EventKind, report: InstanceReport, *, seconds: float) -> None:
        labels = {"kind": kind, "result": report.result}
        metrics.DRAIN_DURATION.labels(**labels).observe(seconds)
        metrics.PODS_LEFT.labels(**labels).inc(len(report.left))
