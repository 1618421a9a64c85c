"""Keeps messages invisible and lifecycle actions alive while work is in hand."""

import asyncio
import datetime as dt
import math

import structlog

from queue_processor.controller import ports
from queue_processor.controller.deadline_timer import Pulse
from queue_processor.domain import deadlines, errors
from queue_processor.domain.events import InterruptionEvent, LifecycleAction, LifecycleHook
from queue_processor.domain.identifiers import InstanceId
from queue_processor.domain.messages import ReceivedMessage
from queue_processor.domain.plan import InstanceReport, Plan
from queue_processor.observability import metrics

_log = structlog.get_logger(__name__)

# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html
LONGEST_INVISIBILITY = dt.timedelta(hours=12)

# Until the hook's own timeout is known, every hook is treated as the most impatient one.
# https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_PutLifecycleHook.html
SHORTEST_HEARTBEAT_TIMEOUT = dt.timedelta(seconds=30)

_RETRY_SECONDS = 2.0
_LOOKUP_LIMIT_SECONDS = 2.0
_LONGEST_HEARTBEAT_RETRY_SECONDS = 30.0


class Holding:
    """A message in hand: its newest receipt, and until when it is ours.

    Attributes:
        message: As it was last received; only its receipt handle is valid.
        is_lost: The queue has taken the message back; it will be received again.
        event_id: As its body gives it, once that is understood.
        event: What its body asks for, if it asks for anything.
        plans: What is going to be done, by instance, once that is decided.
        reports: What has been done.
    """

    def __init__(self, message: ReceivedMessage, *, now: float, interval: float) -> None:
        self.message = message
        self.is_lost = False
        self.event_id: str | None = None
        self.event: InterruptionEvent | None = None
        self.plans: dict[InstanceId, Plan] = {}
        self.reports: dict[InstanceId, InstanceReport] = {}
        self.heartbeats: asyncio.Task[None] | None = None
        self._interval = interval
        self.received_again(message, now=now)

    def received_again(self, message: ReceivedMessage, *, now: float) -> None:
        """Take over a newer receipt of the same message: only its handle deletes."""
        self.message = message
        self.is_lost = False
        self.ends_at = now + LONGEST_INVISIBILITY.total_seconds()
        self.due_at = now + self._interval


class Keepalive:
    """All messages in hand."""

    def __init__(
        self,
        *,
        queue: ports.MessageQueue,
        lifecycle: ports.LifecycleActions,
        visibility_timeout: dt.timedelta,
        clock: ports.Clock,
    ) -> None:
        self._queue = queue
        self._lifecycle = lifecycle
        self._timeout = visibility_timeout.total_seconds()
        self._clock = clock
        self._held: dict[str, Holding] = {}
        self._changed = Pulse()

    def __len__(self) -> int:
        return len(self._held)

    def oldest_age_seconds(self) -> float:
        """How long ago the oldest message in hand was sent; 0 with none."""
        now = self._clock()
        ages = (now - holding.message.sent_at for holding in self._held.values())
        return max(ages, default=dt.timedelta()).total_seconds()

    def hold(self, message: ReceivedMessage) -> Holding | None:
        """Take a message in hand.

        Returns:
            Its holding, or None for another receipt of a message that is in hand already.
        """
        now = asyncio.get_running_loop().time()
        holding = self._held.get(message.message_id)
        if holding is not None:
            holding.received_again(message, now=now)
            return None
        holding = Holding(message, now=now, interval=self._timeout / 3)
        self._held[message.message_id] = holding
        metrics.MESSAGES_IN_FLIGHT.set(len(self._held))
        self._changed.fire()
        return holding

    async def let_go(self, holding: Holding) -> None:
        """Stop caring for a message, and for its lifecycle action."""
        self._held.pop(holding.message.message_id, None)
        metrics.MESSAGES_IN_FLIGHT.set(len(self._held))
        if holding.heartbeats is not None:
            holding.heartbeats.cancel()
            await asyncio.wait((holding.heartbeats,))

    async def run(self) -> None:
        """Extend the visibility of what is in hand, for ever."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            while True:
                now = loop.time()
                # Those that are nearly due come along, so that batches fill up.
                horizon = now + self._timeout / 12
                for holding in self._held.values():
                    if holding.due_at <= horizon:
                        holding.due_at = math.inf
                        group.create_task(self._extend(holding), name="extend visibility")
                next_due = min((held.due_at for held in self._held.values()), default=math.inf)
                limit = min(next_due - now, self._timeout)
                await self._changed.wait(dt.timedelta(seconds=limit))

    async def _extend(self, holding: Holding) -> None:
        loop = asyncio.get_running_loop()
        left = holding.ends_at - loop.time()
        message_id = holding.message.message_id
        if left < 1.0:
            holding.is_lost = True
            _count_extension(metrics.ExtensionOutcome.LOST)
            _log.warning("message_visibility_limit_reached", message_id=message_id)
            return
        handle = holding.message.receipt_handle
        try:
            await self._queue.hide(handle, dt.timedelta(seconds=min(self._timeout, int(left))))
        except errors.StaleReceiptHandle as lost:
            # A message that has been settled meanwhile is nobody's any more.
            is_held = self._held.get(message_id) is holding
            if is_held and handle == holding.message.receipt_handle:
                holding.is_lost = True
                _count_extension(metrics.ExtensionOutcome.LOST)
                _log.warning("message_lost", message_id=message_id, error=str(lost))
            return
        except (errors.TemporaryError, errors.PermanentError) as error:
            _count_extension(metrics.ExtensionOutcome.FAILED)
            _log.warning("visibility_not_extended", message_id=message_id, error=str(error))
            holding.due_at = min(holding.due_at, loop.time() + _RETRY_SECONDS)
        else:
            _count_extension(metrics.ExtensionOutcome.EXTENDED)
            holding.due_at = min(holding.due_at, loop.time() + self._timeout / 3)
        self._changed.fire()

    def beat(self, holding: Holding, action: LifecycleAction, *, since: dt.datetime) -> None:
        """Keep a lifecycle action alive until its message is let go.

        Args:
            holding: The message that told of the action.
            action: The action.
            since: When it began.
        """
        holding.heartbeats = asyncio.create_task(
            self._beat(action, since), name=f"heartbeats {action.instance_id}"
        )

    async def heartbeat_timeout(self, hook: LifecycleHook) -> dt.timedelta:
        """The hook's heartbeat timeout, or the shortest there is when nobody tells."""
        try:
            async with asyncio.timeout(_LOOKUP_LIMIT_SECONDS):
                return await self._lifecycle.heartbeat_timeout(hook)
        except (
            TimeoutError,
            errors.NotFound,
            errors.TemporaryError,
            errors.PermanentError,
        ) as error:
            _log.warning(
                "lifecycle_hook_lookup_failed", group=hook.group, hook=hook.name, error=str(error)
            )
            return SHORTEST_HEARTBEAT_TIMEOUT

    async def _beat(self, action: LifecycleAction, since: dt.datetime) -> None:
        loop = asyncio.get_running_loop()
        # From here on the monotonic clock counts: somebody may set the other one.
        began = loop.time() - (self._clock() - since).total_seconds()
        timeout = await self.heartbeat_timeout(action.hook)
        ends_at = began + deadlines.global_timeout(timeout).total_seconds()
        due_at = began + timeout.total_seconds() / 2
        while due_at < ends_at:
            await asyncio.sleep(due_at - loop.time())
            due_at = loop.time() + await self._beat_once(action, timeout / 2)

    async def _beat_once(self, action: LifecycleAction, interval: dt.timedelta) -> float:
        """Record one heartbeat; the seconds until the next, without end when it is over."""
        try:
            await self._lifecycle.heartbeat(action)
        except errors.NotFound as over:
            _count_heartbeat(metrics.HeartbeatOutcome.OVER)
            _log.info(
                "lifecycle_action_already_ended", instance_id=action.instance_id, response=str(over)
            )
            return math.inf
        except (errors.TemporaryError, errors.PermanentError) as error:
            _count_heartbeat(metrics.HeartbeatOutcome.FAILED)
            _log.warning("heartbeat_failed", instance_id=action.instance_id, error=str(error))
            return min(interval.total_seconds() / 3, _LONGEST_HEARTBEAT_RETRY_SECONDS)
        _count_heartbeat(metrics.HeartbeatOutcome.RECORDED)
        return interval.total_seconds()


def _count_extension(outcome: metrics.ExtensionOutcome) -> None:
    metrics.VISIBILITY_EXTENSIONS.labels(outcome=outcome).inc()


def _count_heartbeat(outcome: metrics.HeartbeatOutcome) -> None:
    metrics.HEARTBEATS.labels(outcome=outcome).inc()
