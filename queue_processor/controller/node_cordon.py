"""The mark of one node: written whenever its holds ask for another, and taken off with the last."""

import asyncio
import datetime as dt

import structlog
import tenacity

from queue_processor.controller import ports
from queue_processor.controller.drain_context import DrainContext
from queue_processor.controller.node_holds import NodeHolds
from queue_processor.controller.ranks import Priority
from queue_processor.domain import errors
from queue_processor.domain.intent import Intent
from queue_processor.domain.nodes import DrainProgress, Mark, MarkScope, NodeView
from queue_processor.observability import event_reasons, metrics
from queue_processor.retrying import retry_on_conflict, retrying

_log = structlog.get_logger(__name__)

# Where no drain has a deadline, somebody else waits for us.
_LIMIT_WITHOUT_DEADLINE = dt.timedelta(minutes=2)


class NodeCordon:
    """Keeps the mark of a node in line with its holds."""

    def __init__(self, holds: NodeHolds, *, context: DrainContext) -> None:
        self._holds = holds
        self._nodes = context.ports.nodes
        self._event_recorder = context.ports.event_recorder
        self._limiter = context.limiter
        self._taint_effect = context.options.taint_effect
        self._clock = context.clock
        self._scope = MarkScope.EVERYTHING

    async def apply(self) -> bool:
        """Write the mark that the holds ask for, unless the node carries it.

        Returns:
            True if it was written.

        Raises:
            NotFound: The node is gone.
        """
        call = metrics.Call.CORDON if self._holds.written else metrics.Call.UNCORDON
        async for attempt in self._until_deadline(call):
            with attempt:
                # Not while it pauses: a plan with an earlier deadline may join.
                async with self._holds.writing:
                    return await self._write()
        raise AssertionError("an attempt that fails raises")

    async def _write(self) -> bool:
        """Write the mark, or as much of it as the policies of the cluster allow.

        The cordon matters more than the taints, and the evictions more than the cordon.
        """
        while True:
            try:
                return await retry_on_conflict(
                    self._try_to_write, self._holds.node, refresh=self._refresh
                )
            except errors.PermanentError as refusal:
                if not self._holds.written:
                    raise
                self._narrow(refusal)

    def _narrow(self, refusal: errors.PermanentError) -> None:
        """Leave out of the mark what may be the reason for a refusal."""
        name, error = self._holds.node.name, str(refusal)
        self._scope = MarkScope(self._scope + 1)
        if self._scope is MarkScope.NOTHING:
            _log.warning("cordon_refused", node=name, error=error)
        else:
            _log.warning("mark_refused", node=name, without=self._scope.name.lower(), error=error)

    async def _try_to_write(self, node: NodeView) -> bool:
        mark = self._mark()
        if not mark.differs_from(node):
            return False
        priority = Priority.CORDON if mark.holds else Priority.ENDING
        async with self._limiter.slot(priority, self._holds.ends_at):
            self._holds.see(await self._nodes.mark(node, mark))
        return True

    def _mark(self) -> Mark:
        written = self._holds.written
        return Mark(
            holds=written,
            ruling=Intent(holds=written).ruling,
            effect=self._taint_effect,
            scope=self._scope,
        )

    def _until_deadline(self, call: metrics.Call) -> tenacity.AsyncRetrying:
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + _LIMIT_WITHOUT_DEADLINE.total_seconds()

        def left() -> dt.timedelta:
            if self._holds.intent.draining:
                return self._holds.left
            return dt.timedelta(seconds=ends_at - loop.time())

        return retrying(call, stop_when=lambda: left() <= dt.timedelta(), time_left=left)

    async def _refresh(self, node: NodeView) -> NodeView:
        current = await refresh(self._nodes, node)
        self._holds.see(current)
        return current

    async def read_again(self) -> None:
        """Take in the node as it is now.

        Raises:
            NotFound: The node is gone.
        """
        async for attempt in self._until_deadline(metrics.Call.UNCORDON):
            with attempt:
                # A new leader does this for every node of a storm, and at once.
                async with self._limiter.slot(Priority.LIST, self._holds.ends_at):
                    await self._refresh(self._holds.node)

    async def show_uncordoned(self) -> None:
        """Record that the node is schedulable again, as an Event and in its conditions."""
        message = "no event holds the node any more"
        node = self._holds.node
        self._event_recorder.node_event(node, event_reasons.UNCORDONED, message)
        try:
            await self._nodes.report(node, DrainProgress.STOPPED, message, since=self._clock())
        except errors.QueueProcessorError as error:
            _log.info("node_conditions_update_failed", node=node.name, error=str(error))


async def refresh(nodes: ports.Nodes, node: NodeView) -> NodeView:
    """Read a node as it is now.

    Raises:
        NotFound: The node is gone, or another has its name now.
    """
    current = await nodes.read(node.name)
    if current is None or current.uid != node.uid or current.is_deleted:
        raise errors.NotFound(f"{node.name} is gone")
    return current
