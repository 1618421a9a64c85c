"""One node with all that holds it: its cordon, its drain, and those who wait for their end."""

import asyncio
import datetime as dt
from collections.abc import Iterable

import structlog

from queue_processor.controller import waiting
from queue_processor.controller.drain_context import DrainContext
from queue_processor.controller.node_cordon import NodeCordon
from queue_processor.controller.node_drain import NodeDrain
from queue_processor.controller.node_holds import NodeHolds
from queue_processor.domain import holds, intent, policy
from queue_processor.domain.holds import Hold
from queue_processor.domain.nodes import NodeView
from queue_processor.domain.notifications import DrainNotification
from queue_processor.domain.plan import InstanceReport, InstanceResult, Plan
from queue_processor.observability import event_reasons, metrics, tracing

_log = structlog.get_logger(__name__)


class HeldNode:
    """A node on which plans are carried out.

    Attributes:
        plans: How many.
        holds: What holds the node.
    """

    def __init__(self, node: NodeView, *, context: DrainContext) -> None:
        self.plans = 0
        self.holds = NodeHolds(node, clock=context.clock)
        self._context = context
        self._cordon = NodeCordon(self.holds, context=context)
        self._draining: asyncio.Task[None] | None = None
        self._reports: dict[str, asyncio.Future[InstanceReport]] = {}

    async def hold(self, plan: Plan) -> InstanceReport:
        """Cordon the node for a plan, and drain it if the plan asks for that.

        Raises:
            NotFound: The node is gone.
        """
        hold = self.holds.add(holds.hold_of(plan))
        if intent.is_refuted(hold, self.holds.node):
            self.holds.drop({hold.id})
            return plan.report(InstanceResult.STILL_RUNNING)
        if not hold.is_draining:
            self.holds.end(hold.id, InstanceResult.CORDONED)
        with tracing.span("mark", attributes={"k8s.node.name": self.holds.node.name}):
            await self._apply(plan)
        if not hold.is_draining:
            return plan.report(InstanceResult.CORDONED)
        if all(each.id != hold.id for each in self.holds.draining):
            # It ended, or another event cancelled it, while the node was being cordoned.
            result = self.holds.result_of(hold.id)
            return plan.report(result or InstanceResult.CANCELLED)
        since = self._context.clock()
        report = await self._drain_for(hold)
        self._trace_drain(report, since=since)
        await self._let_go(hold, report)
        return report

    def _trace_drain(self, report: InstanceReport, *, since: dt.datetime) -> None:
        """Record how long an event waited for the evictions, and for the pods to be gone."""
        until = self._context.clock()
        attributes: tracing.Attributes = {
            "k8s.node.name": self.holds.node.name,
            "queue_processor.result": report.result.value,
            "queue_processor.evicted": report.evicted,
            "queue_processor.left": len(report.left),
        }
        evicted_at = report.last_removal_at or until
        tracing.past_span("evict", since=since, until=evicted_at, attributes=attributes)
        tracing.past_span("wait", since=max(since, evicted_at), until=until, attributes=attributes)

    async def _apply(self, plan: Plan) -> None:
        """Write the mark that the holds ask for, and record that if anything was written."""
        if await self._cordon.apply():
            self._context.ports.event_recorder.node_event(
                self.holds.node,
                event_reasons.INTERRUPTIONS[plan.kind],
                f"{plan.action}, {_until(plan)} (event {plan.event_id})",
            )
            since_event = (self._context.clock() - plan.occurred_at).total_seconds()
            metrics.EVENT_TO_CORDON.labels(kind=plan.kind).observe(since_event)

    async def _drain_for(self, hold: Hold) -> InstanceReport:
        """Drain the node, or join the drain that runs; return how the hold ended."""
        report = self._reports.setdefault(hold.id, asyncio.get_running_loop().create_future())
        if self._draining is None or self._draining.done():
            self._draining = asyncio.create_task(
                self._drain(), name=f"drain {self.holds.node.name}"
            )
        return await asyncio.shield(report)

    async def _drain(self) -> None:
        """Drain the node for as long as holds ask for it; a failure concerns all who wait."""
        try:
            while self.holds.draining:
                await self._drain_once()
            self._end_cancelled()
        except asyncio.CancelledError:
            for report in self._reports.values():
                report.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - it is raised to everyone who waits
            for report in self._reports.values():
                report.set_exception(error)
            self._reports.clear()

    async def _drain_once(self) -> None:
        loop = asyncio.get_running_loop()
        clock, notifier = self._context.clock, self._context.ports.notifier
        started_at = loop.time()
        ruling = self.holds.ruling
        if ruling is not None:
            notifier.notify(DrainNotification(at=clock(), plan=self._plan_of(ruling)))
        drain = NodeDrain(self.holds, on_end=self._end, context=self._context)
        ended, report = await drain.run()
        took = dt.timedelta(seconds=loop.time() - started_at)
        notifier.notify(
            DrainNotification(at=clock(), plan=self._plan_of(ended), report=report, took=took)
        )

    def _end_cancelled(self) -> None:
        """Report holds that were cancelled before a drain took them in."""
        node = self.holds.node
        for report in self._reports.values():
            report.set_result(
                InstanceReport(
                    instance_id=node.instance_id,
                    node_name=node.name,
                    result=InstanceResult.CANCELLED,
                )
            )
        self._reports.clear()

    def _plan_of(self, hold: Hold) -> Plan:
        return policy.plan_of(hold, self.holds.node)

    def _end(self, hold: Hold, report: InstanceReport) -> None:
        awaited = self._reports.pop(hold.id, None)
        if awaited is not None:
            awaited.set_result(report)

    async def _let_go(self, hold: Hold, report: InstanceReport) -> None:
        """Take off what an ended hold leaves on the node, where it holds it no more."""
        gave_up = report.result is InstanceResult.GAVE_UP
        if gave_up and self._context.options.uncordons_on_soft_timeout:
            self.holds.drop({hold.id})
        elif report.result is not InstanceResult.STILL_RUNNING:
            return
        await self._uncordon_if_free()

    async def cancel(self, plan: Plan) -> bool:
        """End what an event of cancellation is about; uncordon the node if nothing else holds it.

        Returns:
            True if that was the last hold of the node.

        Raises:
            NotFound: The node is gone.
        """
        await self._cordon.read_again()
        ids = intent.cancelled_by(plan, self.holds.all, self.holds.node)
        self.holds.drop(ids)
        if ids:
            await self._uncordon_if_free()
        return bool(ids) and not self.holds.written

    async def reconcile(self, plans: Iterable[Plan]) -> None:
        """Do what the holds on the node ask for, and carry out further plans.

        Raises:
            NotFound: The node is gone.
        """
        await self._cordon.read_again()
        node = self.holds.node
        if node.has_damaged_holds:
            self._context.ports.event_recorder.node_event(
                node, event_reasons.HOLDS_REBUILT, f"{len(node.holds)} holds are left"
            )
        await self._uncordon_if_free()
        unfinished = [
            policy.plan_to_resume(hold, node, now=self._context.clock())
            for hold in self.holds.written
            if hold.is_draining and hold not in self.holds.draining
        ]
        if unfinished:
            events = [plan.event_id for plan in unfinished]
            _log.info("drain_resumed", node=node.name, event_ids=events)
        plans = (*unfinished, *plans)
        for plan in plans:
            # At once: a cancellation may come before the first of the tasks below begins.
            self.holds.add(holds.hold_of(plan))
        await waiting.gathered(self._resume(plan) for plan in plans)

    async def _resume(self, plan: Plan) -> None:
        if self.holds.has_dropped(plan.hold_id):
            return
        report = await self.hold(plan)
        _log.info(
            "resumed_drain_ended",
            node=self.holds.node.name,
            event_id=plan.event_id,
            result=report.result,
            left=report.left,
        )

    async def _uncordon_if_free(self) -> None:
        if await self._cordon.apply() and not self.holds.written:
            await self._cordon.show_uncordoned()

    async def stop(self) -> None:
        """End the drain, if one runs, and wait until it has stopped."""
        if self._draining is not None and not self._draining.done():
            self._draining.cancel()
            await asyncio.wait((self._draining,))


def _until(plan: Plan) -> str:
    end = f"{plan.deadline.at:%Y-%m-%d %H:%M:%S} UTC"
    return f"the instance goes at {end}" if plan.deadline.is_hard else f"until {end} at most"
