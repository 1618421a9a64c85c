"""Shows how a drain stands: in the conditions of its node, and in an Event at its end."""

import asyncio
import contextlib
import datetime as dt
from collections.abc import Callable, Iterator, Sequence

import structlog

from queue_processor.controller.drain_context import DrainContext
from queue_processor.controller.node_holds import NodeHolds
from queue_processor.controller.node_pods import NodePods
from queue_processor.controller.ranks import Priority
from queue_processor.domain import errors
from queue_processor.domain.holds import Hold
from queue_processor.domain.nodes import DrainProgress
from queue_processor.domain.plan import InstanceReport, InstanceResult
from queue_processor.observability import event_reasons

_log = structlog.get_logger(__name__)

# A drain that is over before that needs no condition that it has begun.
_PROGRESS_INTERVAL_SECONDS = 15.0
_WRITE_LIMIT_SECONDS = 5.0
_LAST_WRITE_LIMIT_SECONDS = 1.0


class DrainStatus:
    """Writes the status of one drain. Best effort: a drain neither depends on it nor waits long."""

    def __init__(self, holds: NodeHolds, *, pods: NodePods, context: DrainContext) -> None:
        self._holds = holds
        self._pods = pods
        self._nodes = context.ports.nodes
        self._event_recorder = context.ports.event_recorder
        self._limiter = context.limiter
        self._clock = context.clock
        self._started_at = context.clock()
        self._shown = ""

    async def follow(self) -> None:
        """Keep the condition on the node true, without a write for every pod."""
        while True:
            await asyncio.sleep(_PROGRESS_INTERVAL_SECONDS)
            if self._pods.left:
                await self.show_in_progress(self._pods_left)

    def _pods_left(self) -> str:
        return f"{len(self._pods.left)} of {self._pods.seen} pods left"

    async def show_in_progress(self, message: Callable[[], str]) -> None:
        """Write the condition of a drain that goes on, once evictions do not wait for slots.

        Args:
            message: Returns how it stands when that time has come.
        """
        with self._failing_softly():
            async with self._limiter.slot(Priority.PROGRESS, self._holds.ends_at):
                now = message()
                if now != self._shown:
                    await self._write(DrainProgress.IN_PROGRESS, now, since=self._started_at)
                    self._shown = now

    async def show_end(self, report: InstanceReport) -> None:
        """Write how the drain ended, unless there is no node any more to write it on."""
        if report.result is InstanceResult.NODE_GONE:
            return
        is_drained = report.result is InstanceResult.DRAINED
        message = report.summary(seen=self._pods.seen)
        async with self._holds.writing:
            with self._failing_softly():
                async with (
                    asyncio.timeout(_limit_of(report.margin)),
                    self._limiter.slot(Priority.ENDING, self._holds.ends_at),
                ):
                    await self._write(
                        DrainProgress.DRAINED if is_drained else DrainProgress.STOPPED,
                        message,
                        since=self._clock(),
                        held=self._holds.written,
                    )
        self._event_recorder.node_event(
            self._holds.node,
            event_reasons.DRAINED if is_drained else event_reasons.DRAIN_STOPPED,
            message,
        )

    async def _write(
        self,
        progress: DrainProgress,
        message: str,
        *,
        since: dt.datetime,
        held: Sequence[Hold] = (),
    ) -> None:
        node = self._holds.node
        self._holds.see(await self._nodes.report(node, progress, message, since=since, held=held))

    @contextlib.contextmanager
    def _failing_softly(self) -> Iterator[None]:
        try:
            yield
        except (TimeoutError, errors.QueueProcessorError) as error:
            _log.info(
                "node_conditions_update_failed",
                node=self._holds.node.name,
                error=str(error) or "timed out",
            )


def _limit_of(left: dt.timedelta | None) -> float:
    """Return how many seconds a write may take with this time left; None: there is no end."""
    if left is None:
        return _WRITE_LIMIT_SECONDS
    return min(max(left.total_seconds(), _LAST_WRITE_LIMIT_SECONDS), _WRITE_LIMIT_SECONDS)
