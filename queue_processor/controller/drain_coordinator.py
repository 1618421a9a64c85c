"""Brings together all events that name one node: one cordon, one deadline, one drain."""

import asyncio
import datetime as dt
from typing import assert_never

from queue_processor.controller.drain_context import DrainContext
from queue_processor.controller.node_cordon import NodeCordon
from queue_processor.controller.node_drain import NodeDrain
from queue_processor.domain import errors
from queue_processor.domain.events import EventKind
from queue_processor.domain.identifiers import InstanceId
from queue_processor.domain.nodes import NodeView
from queue_processor.domain.notifications import DrainNotification
from queue_processor.domain.plan import Action, InstanceReport, InstanceResult, Plan
from queue_processor.observability import metrics


class DrainCoordinator:
    """Carries out plans, by instance."""

    def __init__(self, context: DrainContext) -> None:
        self._context = context
        self._active: dict[InstanceId, _ActiveNode] = {}

    async def carry_out(self, plan: Plan, node: NodeView) -> InstanceReport:
        """Carry out a plan, together with the other plans for the same node.

        When all who joined have been cancelled, the drain stops.

        Raises:
            TemporaryError: The API server could not be reached in time.
            PermanentError: The API server refuses us.
        """
        active = self._active.get(plan.instance_id)
        if active is None:
            active = self._active[plan.instance_id] = _ActiveNode(plan, node, context=self._context)
            metrics.NODES_DRAINING.set(len(self._active))
        active.plans += 1
        try:
            return await self._act(plan, active)
        except errors.NotFound:
            self._context.node_index.forget(node)
            return _report_without_drain(plan, InstanceResult.NODE_GONE)
        finally:
            active.plans -= 1
            if not active.plans:
                self._active.pop(plan.instance_id, None)
                metrics.NODES_DRAINING.set(len(self._active))
                await active.stop()

    async def _act(self, plan: Plan, active: "_ActiveNode") -> InstanceReport:
        match plan.action:
            case Action.CORDON:
                await self._cordon(plan, active)
                return _report_without_drain(plan, InstanceResult.CORDONED)
            case Action.CORDON_AND_DRAIN:
                await self._cordon(plan, active)
                return await self._drain(plan, active)
            case Action.UNCORDON:
                is_ours = await active.uncordon(frozenset({plan.kind}))
                return _report_without_drain(
                    plan, InstanceResult.UNCORDONED if is_ours else InstanceResult.HELD_BY_ANOTHER
                )
            case Action.AWAIT_READY | Action.IGNORE:
                raise AssertionError(f"{plan.action} changes no node")
            case _:
                assert_never(plan.action)

    async def _cordon(self, plan: Plan, active: "_ActiveNode") -> None:
        await active.cordon(plan)
        since_event = (self._context.clock() - plan.occurred_at).total_seconds()
        metrics.EVENT_TO_CORDON.labels(kind=plan.kind).observe(since_event)

    async def _drain(self, plan: Plan, active: "_ActiveNode") -> InstanceReport:
        report = await active.drain()
        if report.margin is not None:
            margin = report.margin.total_seconds()
            metrics.DEADLINE_MARGIN.labels(kind=plan.kind).observe(margin)
        gave_up = report.result is InstanceResult.GAVE_UP
        if gave_up and self._context.options.uncordons_on_soft_timeout:
            await active.uncordon(frozenset({plan.kind}))
        return report


class _ActiveNode:
    """A node on which plans are carried out.

    Attributes:
        plans: How many.
    """

    def __init__(self, plan: Plan, node: NodeView, *, context: DrainContext) -> None:
        self.plans = 0
        self._context = context
        self._cordon = NodeCordon(plan, node, context=context)
        self._drain: NodeDrain | None = None
        self._draining: asyncio.Task[InstanceReport] | None = None

    async def cordon(self, plan: Plan) -> None:
        if self._cordon.tighten(plan) and self._drain is not None:
            self._drain.notice_deadline()
        await self._cordon.apply(plan)

    async def drain(self) -> InstanceReport:
        """Drain the node, or join the drain that runs."""
        if self._draining is None or self._draining.done():
            node = self._cordon.node
            self._drain = NodeDrain(
                self._cordon.plan, node, timer=self._cordon.timer, context=self._context
            )
            self._draining = asyncio.create_task(
                self._run_and_notify(self._drain), name=f"drain {node.name}"
            )
        return await asyncio.shield(self._draining)

    async def _run_and_notify(self, drain: NodeDrain) -> InstanceReport:
        loop = asyncio.get_running_loop()
        clock, notifier = self._context.clock, self._context.ports.notifier
        started_at = loop.time()
        notifier.notify(DrainNotification(at=clock(), plan=self._cordon.plan))
        report = await drain.run()
        took = dt.timedelta(seconds=loop.time() - started_at)
        notifier.notify(
            DrainNotification(at=clock(), plan=self._cordon.plan, report=report, took=took)
        )
        return report

    async def uncordon(self, kinds: frozenset[EventKind]) -> bool:
        """Uncordon the node and cancel its drain, if no event of another kind holds it."""
        is_ours = await self._cordon.remove(kinds)
        if is_ours:
            if self._drain is not None:
                self._drain.cancel()
            await self._cordon.show_uncordoned()
        return is_ours

    async def stop(self) -> None:
        """End the drain, if one runs, and wait until it has stopped."""
        if self._draining is not None and not self._draining.done():
            self._draining.cancel()
            await asyncio.wait((self._draining,))


def _report_without_drain(plan: Plan, result: InstanceResult) -> InstanceReport:
    return InstanceReport(instance_id=plan.instance_id, node_name=plan.node_name, result=result)
