"""Reports what plans would do, in place of carrying them out (the setting `mode: observe`).

It reads the pods of the node and the disruption budgets once, and writes nothing. What cannot be
read now is left to the queue, which delivers the message again.

Rejected: evictions with `dryRun: All`. They need the permission to evict, and a platform that wants
to watch first does not want to grant it.
"""

import asyncio
import datetime as dt
from collections.abc import Callable, Sequence

import structlog

from queue_processor.controller import log_fields, ports
from queue_processor.controller.cancellations import Cancellations
from queue_processor.controller.limiter import PriorityLimiter
from queue_processor.controller.node_index import NodeIndex
from queue_processor.controller.ranks import Priority
from queue_processor.domain import forecast, holds, intent
from queue_processor.domain.forecast import GuardedPod
from queue_processor.domain.identifiers import InstanceId
from queue_processor.domain.nodes import NodeView
from queue_processor.domain.plan import Action, InstanceReport, InstanceResult, Plan, combined

_log = structlog.get_logger(__name__)


class PlanObserver:
    """Logs what each plan would do to its node, as things are now."""

    def __init__(
        self,
        guarded_pods: ports.GuardedPods,
        *,
        node_index: NodeIndex,
        cancellations: Cancellations,
        limiter: PriorityLimiter,
        force_margin: dt.timedelta | None,
        clock: ports.Clock,
    ) -> None:
        """Build the observer.

        Args:
            guarded_pods: The pods of nodes, with their budgets.
            node_index: Finds nodes.
            cancellations: What later events have cancelled.
            limiter: Bounds the requests.
            force_margin: How long before a hard deadline a drain deletes a blocked pod at the
                latest; None where it leaves it.
            clock: The present.
        """
        self._guarded_pods = guarded_pods
        self._node_index = node_index
        self._cancellations = cancellations
        self._limiter = limiter
        self._force_margin = force_margin
        self._clock = clock

    async def carry_out_on_nodes_of(
        self, instance_id: InstanceId, plan_for: Callable[[NodeView], Plan]
    ) -> InstanceReport:
        """Report the plan for every Node that the instance has now."""
        nodes = self._node_index.nodes_of(instance_id)
        reports = [await self._observe(plan_for(node), node) for node in nodes]
        return combined(instance_id, reports)

    async def _observe(self, plan: Plan, node: NodeView) -> InstanceReport:
        if (result := self._result_without_work(plan, node)) is not None:
            return plan.report(result)
        expected = forecast.forecast(
            plan,
            node,
            await self._pods_to_drain(plan, node),
            now=self._clock(),
            force_margin=self._force_margin,
        )
        _log.info("plan_observed", **log_fields.of_forecast(plan, expected))
        return plan.report(InstanceResult.OBSERVED)

    def _result_without_work(self, plan: Plan, node: NodeView) -> InstanceResult | None:
        """Return the result of a plan for which there is nothing to do; None if there is."""
        if plan.action is Action.UNCORDON:
            cancelled = intent.cancelled_by(plan, node.holds, node)
            is_freed = cancelled and all(hold.id in cancelled for hold in node.holds)
            return None if is_freed else InstanceResult.HELD_BY_ANOTHER
        if self._cancellations.cover(plan):
            return InstanceResult.CANCELLED
        if intent.is_refuted(holds.hold_of(plan), node):
            return InstanceResult.STILL_RUNNING
        return None

    async def _pods_to_drain(self, plan: Plan, node: NodeView) -> Sequence[GuardedPod]:
        if plan.action is not Action.CORDON_AND_DRAIN:
            return ()
        left = plan.deadline.last_at - self._clock()
        ends_at = asyncio.get_running_loop().time() + left.total_seconds()
        async with self._limiter.slot(Priority.LIST, ends_at):
            return await self._guarded_pods.on_node(node.name)
