"""The cordon of one node: written once for each event that names it, and taken off at the end."""

import asyncio
import dataclasses

import structlog
import tenacity

from queue_processor.controller import limiter, ports
from queue_processor.controller.drain_context import DrainContext
from queue_processor.controller.waiting import DeadlineTimer
from queue_processor.domain import errors
from queue_processor.domain.events import EventKind
from queue_processor.domain.nodes import DrainProgress, Mark, NodeView
from queue_processor.domain.plan import Plan
from queue_processor.observability import event_reasons, metrics
from queue_processor.retrying import retry_on_conflict, retrying

_log = structlog.get_logger(__name__)


class NodeCordon:
    """Marks a node for the events that name it.

    Attributes:
        node: The node as this process wrote it last.
        plan: The plan whose deadline rules.
        timer: That deadline.
    """

    def __init__(self, plan: Plan, node: NodeView, *, context: DrainContext) -> None:
        self.plan = plan
        self.node = node
        self.timer = DeadlineTimer(plan.deadline, clock=context.clock)
        self._nodes = context.ports.nodes
        self._event_recorder = context.ports.event_recorder
        self._limiter = context.limiter
        self._taint_effect = context.options.taint_effect
        self._clock = context.clock
        self._lock = asyncio.Lock()
        self._allows_taint = True

    def tighten(self, plan: Plan) -> bool:
        """Take over the deadline of another event's plan where it rules; True if it does."""
        is_tighter = self.timer.tighten(plan.deadline)
        if is_tighter:
            self.plan = plan
        return is_tighter

    async def apply(self, plan: Plan) -> None:
        """Cordon the node and write the event on it, if that adds anything.

        Raises:
            NotFound: The node is gone.
        """
        async with self._lock:
            mark = Mark(
                taint=plan.kind,
                event_id=self.plan.event_id,
                kind=self.plan.kind,
                deadline_at=self.plan.deadline.at,
                effect=self._taint_effect,
                has_taint=self._allows_taint,
            )
            if mark.adds_to(self.node):
                async for attempt in self._until_deadline(metrics.Call.CORDON):
                    with attempt:
                        self.node = await self._write(mark)
                self._event_recorder.node_event(
                    self.node,
                    event_reasons.INTERRUPTIONS[plan.kind],
                    f"{plan.action}, {_until(plan)} (event {plan.event_id})",
                )

    async def _write(self, mark: Mark) -> NodeView:
        """Write the mark; without its taint if a policy of the cluster refuses the whole.

        The cordon and the evictions matter more than the taint.
        """
        try:
            return await self._try_to_write(mark)
        except errors.PermanentError as refusal:
            if not mark.has_taint:
                raise
            node = await self._try_to_write(dataclasses.replace(mark, has_taint=False))
            self._allows_taint = False
            _log.warning("taint_refused", node=node.name, error=str(refusal))
            return node

    async def _try_to_write(self, mark: Mark) -> NodeView:
        async def cordon(node: NodeView) -> NodeView:
            async with self._limiter.slot(limiter.Priority.CORDON, self.timer.ends_at):
                return await self._nodes.mark(node, mark)

        return await retry_on_conflict(cordon, self.node, refresh=self._refresh)

    def _until_deadline(self, call: metrics.Call) -> tenacity.AsyncRetrying:
        return retrying(
            call, stop_when=lambda: self.timer.is_over, time_left=lambda: self.timer.left
        )

    async def _refresh(self, node: NodeView) -> NodeView:
        return await refresh(self._nodes, node)

    async def remove(self, kinds: frozenset[EventKind]) -> bool:
        """Uncordon the node, if no event of another kind holds it.

        Returns:
            True if there was a mark of ours to take off.

        Raises:
            NotFound: The node is gone.
        """

        async def uncordon(node: NodeView) -> bool:
            if not node.holding_kinds or not node.holding_kinds <= kinds:
                return False
            self.node = await self._nodes.unmark(node)
            return True

        async with self._lock:
            async for attempt in self._until_deadline(metrics.Call.UNCORDON):
                with attempt:
                    node = await self._refresh(self.node)
                    if not await retry_on_conflict(uncordon, node, refresh=self._refresh):
                        return False
        return True

    async def show_uncordoned(self) -> None:
        """Record that the node is schedulable again, as an Event and in its conditions."""
        message = "no event holds the node any more"
        self._event_recorder.node_event(self.node, event_reasons.UNCORDONED, message)
        try:
            await self._nodes.report(self.node, DrainProgress.STOPPED, message, since=self._clock())
        except errors.QueueProcessorError as error:
            _log.info("node_conditions_update_failed", node=self.node.name, error=str(error))


async def refresh(nodes: ports.Nodes, node: NodeView) -> NodeView:
    """Read a node as it is now.

    Raises:
        NotFound: The node is gone, or its name is another instance's now.
    """
    current = await nodes.read(node.name)
    if current is None or current.instance_id != node.instance_id:
        raise errors.NotFound(f"{node.name} is another instance now")
    return current


def _until(plan: Plan) -> str:
    end = f"{plan.deadline.at:%Y-%m-%d %H:%M:%S} UTC"
    return f"the instance goes at {end}" if plan.deadline.is_hard else f"until {end} at most"
