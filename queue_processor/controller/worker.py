"""One worker a node: all events that name it meet here."""

import asyncio
import datetime as dt
from typing import assert_never

import structlog

from queue_processor.controller import fencing, limiter, ports
from queue_processor.controller.deadline_timer import DeadlineTimer
from queue_processor.controller.drainer import Cluster, Drain, DrainOptions
from queue_processor.controller.ports import DrainProgress
from queue_processor.controller.retrying import retrying
from queue_processor.domain import errors
from queue_processor.domain.events import EventKind
from queue_processor.domain.identifiers import InstanceId
from queue_processor.domain.nodes import Mark, NodeView
from queue_processor.domain.notifications import DrainNotification
from queue_processor.domain.plan import Action, InstanceReport, InstanceResult, Plan
from queue_processor.observability import metrics

_log = structlog.get_logger(__name__)


class NodeDrain:
    """What is in hand for one node: its mark, its deadline and, perhaps, its drain."""

    def __init__(
        self,
        plan: Plan,
        node: NodeView,
        *,
        cluster: Cluster,
        options: DrainOptions,
        taint_effect: str,
        clock: ports.Clock,
    ) -> None:
        self.holders = 0
        self._ruling = plan
        self._node = node
        self._cluster = cluster
        self._options = options
        self._taint_effect = taint_effect
        self._clock = clock
        self._timer = DeadlineTimer(plan.deadline, clock=clock)
        self._marking = asyncio.Lock()
        self._drain: Drain | None = None
        self._draining: asyncio.Task[InstanceReport] | None = None

    async def mark(self, plan: Plan) -> None:
        """Cordon the node and write the event on it, if that adds anything.

        Raises:
            NotFound: The node is gone.
        """
        is_tighter = self._timer.tighten(plan.deadline)
        if is_tighter:
            self._ruling = plan
        async with self._marking:
            mark = Mark(
                taint=plan.kind,
                event_id=self._ruling.event_id,
                kind=self._ruling.kind,
                deadline_at=self._ruling.deadline.at,
                effect=self._taint_effect,
            )
            if mark.adds_to(self._node):
                async for attempt in retrying(
                    metrics.Call.CORDON, stop_when=lambda: self._timer.is_over
                ):
                    with attempt:
                        self._node = await self._write(mark)
                self._cluster.event_recorder.node_event(
                    self._node,
                    plan.kind.reason,
                    f"{plan.action}, {_until(plan)} (event {plan.event_id})",
                    is_warning=False,
                )

    async def _write(self, mark: Mark) -> NodeView:
        async def cordon(node: NodeView) -> NodeView:
            async with self._cluster.requests.slot(limiter.Priority.CORDON, self._timer.ends_at):
                return await self._cluster.nodes.mark(node, mark)

        return await fencing.retry_on_conflict(self._cluster.nodes, self._node, cordon)

    async def drain(self) -> InstanceReport:
        """Drain the node, or join the drain in hand."""
        if self._draining is None or self._draining.done():
            self._drain = Drain(
                self._ruling,
                self._node,
                timer=self._timer,
                cluster=self._cluster,
                options=self._options,
                clock=self._clock,
            )
            self._draining = asyncio.create_task(
                self._announced(self._drain), name=f"drain {self._node.name}"
            )
        return await asyncio.shield(self._draining)

    async def _announced(self, drain: Drain) -> InstanceReport:
        """Run a drain, and have its beginning and its end told outside of the cluster."""
        loop = asyncio.get_running_loop()
        notifier, began_at = self._cluster.notifier, loop.time()
        notifier.notify(DrainNotification(at=self._clock(), plan=self._ruling))
        report = await drain.run()
        took = dt.timedelta(seconds=loop.time() - began_at)
        notifier.notify(
            DrainNotification(at=self._clock(), plan=self._ruling, report=report, took=took)
        )
        return report

    async def unmark(self, kinds: frozenset[EventKind]) -> bool:
        """Undo the mark, and the drain in hand, if no event of another kind holds the node.

        Returns:
            Whether anything was undone: the mark has to be ours.

        Raises:
            NotFound: The node is gone.
        """

        async def uncordon(node: NodeView) -> bool:
            if not node.holding_kinds or not node.holding_kinds <= kinds:
                return False
            self._node = await self._cluster.nodes.unmark(node)
            return True

        nodes = self._cluster.nodes
        async with self._marking:
            async for attempt in retrying(
                metrics.Call.UNCORDON, stop_when=lambda: self._timer.is_over
            ):
                with attempt:
                    node = await fencing.refresh(nodes, self._node)
                    if not await fencing.retry_on_conflict(nodes, node, uncordon):
                        return False
        if self._drain is not None:
            self._drain.cancel_drain()
        await self._tell_unmarked()
        return True

    async def _tell_unmarked(self) -> None:
        """Take back what the conditions said; the node is as good as any other again."""
        message = "no event holds the node any more"
        self._cluster.event_recorder.node_event(self._node, "Uncordoned", message, is_warning=False)
        try:
            await self._cluster.nodes.report(
                self._node, DrainProgress.STOPPED, message, since=self._clock()
            )
        except (errors.NotFound, errors.TemporaryError, errors.PermanentError) as error:
            _log.info("node_conditions_update_failed", node=self._node.name, error=str(error))

    async def stop(self) -> None:
        """End the drain in hand, if there is one, and wait until it has stopped."""
        if self._draining is not None and not self._draining.done():
            self._draining.cancel()
            await asyncio.wait((self._draining,))


class DrainCoordinator:
    """The work in hand, by instance."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        options: DrainOptions,
        taint_effect: str,
        uncordons_on_soft_timeout: bool,
        clock: ports.Clock,
    ) -> None:
        self._cluster = cluster
        self._options = options
        self._taint_effect = taint_effect
        self._uncordons_on_soft_timeout = uncordons_on_soft_timeout
        self._clock = clock
        self._in_hand: dict[InstanceId, NodeDrain] = {}

    async def carry_out(self, plan: Plan, node: NodeView) -> InstanceReport:
        """Do what the plan says, joining the work in hand for the same node.

        When everybody who joined has been cancelled, the drain stops.

        Raises:
            TemporaryError: The API server could not be reached in time.
            PermanentError: The API server refuses us.
        """
        work = self._in_hand.get(plan.instance_id)
        if work is None:
            work = self._in_hand[plan.instance_id] = NodeDrain(
                plan,
                node,
                cluster=self._cluster,
                options=self._options,
                taint_effect=self._taint_effect,
                clock=self._clock,
            )
            metrics.NODES_DRAINING.set(len(self._in_hand))
        work.holders += 1
        try:
            return await self._act(plan, work)
        except errors.NotFound:
            self._cluster.node_index.forget(node)
            return self._without_drain(plan, InstanceResult.NODE_GONE)
        finally:
            work.holders -= 1
            if not work.holders:
                self._in_hand.pop(plan.instance_id, None)
                metrics.NODES_DRAINING.set(len(self._in_hand))
                await work.stop()

    async def _act(self, plan: Plan, work: NodeDrain) -> InstanceReport:
        match plan.action:
            case Action.CORDON:
                await work.mark(plan)
                self._observe_cordon(plan)
                return self._without_drain(plan, InstanceResult.CORDONED)
            case Action.CORDON_AND_DRAIN:
                await work.mark(plan)
                self._observe_cordon(plan)
                report = await work.drain()
                if report.margin is not None:
                    margin = report.margin.total_seconds()
                    metrics.DEADLINE_MARGIN.labels(kind=plan.kind).observe(margin)
                if report.result is InstanceResult.GAVE_UP and self._uncordons_on_soft_timeout:
                    await work.unmark(frozenset({plan.kind}))
                return report
            case Action.UNCORDON:
                done = await work.unmark(frozenset({plan.kind}))
                return self._without_drain(
                    plan, InstanceResult.UNCORDONED if done else InstanceResult.HELD_BY_ANOTHER
                )
            case Action.AWAIT_READY | Action.IGNORE:
                raise AssertionError(f"{plan.action} changes no node")
            case _:
                assert_never(plan.action)

    def _observe_cordon(self, plan: Plan) -> None:
        since_event = (self._clock() - plan.occurred_at).total_seconds()
        metrics.EVENT_TO_CORDON.labels(kind=plan.kind).observe(since_event)

    def _without_drain(self, plan: Plan, result: InstanceResult) -> InstanceReport:
        return InstanceReport(instance_id=plan.instance_id, node_name=plan.node_name, result=result)


def _until(plan: Plan) -> str:
    end = f"{plan.deadline.at:%Y-%m-%d %H:%M:%S} UTC"
    return f"the instance goes at {end}" if plan.deadline.is_hard else f"until {end} at most"
