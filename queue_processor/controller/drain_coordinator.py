"""Brings together all events that name one node: one cordon, one drain."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable
from typing import assert_never

from queue_processor.controller import waiting
from queue_processor.controller.cancellations import Cancellations
from queue_processor.controller.drain_context import DrainContext
from queue_processor.controller.held_node import HeldNode
from queue_processor.domain import errors
from queue_processor.domain.identifiers import InstanceId
from queue_processor.domain.nodes import NodeView
from queue_processor.domain.plan import (
    Action,
    InstanceReport,
    InstanceResult,
    Plan,
    combined,
)
from queue_processor.observability import metrics


class DrainCoordinator:
    """Carries out plans, by node."""

    def __init__(self, context: DrainContext, *, cancellations: Cancellations) -> None:
        self._context = context
        self._cancellations = cancellations
        self._active: dict[str, HeldNode] = {}
        self._lost: dict[InstanceId, dict[str, Plan]] = {}

    def is_active(self, node: NodeView) -> bool:
        """Return True while plans are carried out on the node."""
        return node.uid in self._active

    async def carry_out_on_nodes_of(
        self, instance_id: InstanceId, plan_for: Callable[[NodeView], Plan]
    ) -> InstanceReport:
        """Carry out a plan on every Node, those that appear meanwhile included.

        A kubelet that registers again, or under another name, makes another Node.
        """
        index = self._context.node_index
        by_uid: dict[str, asyncio.Task[InstanceReport]] = {}

        def start(node: NodeView) -> None:
            if node.uid not in by_uid:
                work = self.carry_out(plan_for(node), node)
                by_uid[node.uid] = asyncio.create_task(work, name=f"plan {node.name}")

        try:
            with index.following(instance_id, start):
                while working := [task for task in by_uid.values() if not task.done()]:
                    await asyncio.wait(working)
        finally:
            await waiting.end(by_uid.values())
        return combined(instance_id, waiting.results_of(by_uid.values()))

    async def carry_out(self, plan: Plan, node: NodeView) -> InstanceReport:
        """Carry out a plan, together with the other plans for the same node.

        When all who joined have been cancelled, the drain stops.

        Raises:
            TemporaryError: The API server could not be reached in time.
            PermanentError: The API server refuses us.
        """
        async with self._held(node) as held:
            try:
                report = await self._act(plan, held)
            except errors.NotFound:
                report = plan.report(InstanceResult.NODE_GONE)
        if report.result is InstanceResult.NODE_GONE:
            self._context.node_index.forget(node)
            self._keep_lost(plan)
        return report

    def has_lost_plans(self, node: NodeView) -> bool:
        """Return True if the instance of the node is going, and its Node was gone for a while."""
        return bool(self._lost_plans(node))

    async def reconcile(self, node: NodeView) -> None:
        """Do for a node what its holds ask for, without any new event.

        Raises:
            TemporaryError: The API server could not be reached in time.
            PermanentError: The API server refuses us.
        """
        plans = self._lost_plans(node)
        self._lost.pop(node.instance_id, None)
        async with self._held(node) as held:
            try:
                await held.reconcile(
                    dataclasses.replace(plan, node_name=node.name) for plan in plans
                )
            except errors.NotFound:
                self._context.node_index.forget(node)

    def _keep_lost(self, plan: Plan) -> None:
        """Remember until its deadline what was planned for a Node that is gone.

        Its instance is still there, and its kubelet may register again.
        """
        if not plan.deadline.is_hard or plan.is_instance_gone or plan.action is Action.UNCORDON:
            return
        self._lost.setdefault(plan.instance_id, {})[plan.hold_id] = plan
        for instance_id, plans in tuple(self._lost.items()):
            if not any(self._is_ahead(each) for each in plans.values()):
                del self._lost[instance_id]

    def _lost_plans(self, node: NodeView) -> list[Plan]:
        """Return what was planned for a Node of the same instance, where its deadline is ahead."""
        plans = self._lost.get(node.instance_id, {}).values()
        return [plan for plan in plans if self._is_ahead(plan)]

    def _is_ahead(self, plan: Plan) -> bool:
        return plan.deadline.last_at > self._context.clock()

    @contextlib.asynccontextmanager
    async def _held(self, node: NodeView) -> AsyncIterator[HeldNode]:
        held = self._active.get(node.uid)
        if held is None:
            held = self._active[node.uid] = HeldNode(node, context=self._context)
        held.plans += 1
        metrics.NODES_DRAINING.set(len(self._active))
        try:
            yield held
        finally:
            held.plans -= 1
            if not held.plans:
                self._active.pop(node.uid, None)
                self._context.node_index.update(held.holds.node)
                metrics.NODES_DRAINING.set(len(self._active))
                await held.stop()

    async def _act(self, plan: Plan, held: HeldNode) -> InstanceReport:
        match plan.action:
            case Action.CORDON | Action.CORDON_AND_DRAIN if self._cancellations.cover(plan):
                return plan.report(InstanceResult.CANCELLED)
            case Action.CORDON | Action.CORDON_AND_DRAIN:
                report = await held.hold(plan)
                if report.margin is not None:
                    margin = report.margin.total_seconds()
                    metrics.DEADLINE_MARGIN.labels(kind=plan.kind).observe(margin)
                return report
            case Action.UNCORDON:
                is_free = await held.cancel(plan)
                return plan.report(
                    InstanceResult.UNCORDONED if is_free else InstanceResult.HELD_BY_ANOTHER
                )
            case Action.AWAIT_READY | Action.IGNORE:
                raise AssertionError(f"{plan.action} changes no node")
            case _:
                assert_never(plan.action)
