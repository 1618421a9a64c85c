"""Keeps lifecycle actions of Auto Scaling groups open while we work on their instances."""

import asyncio
import dataclasses
import datetime as dt
import math
from collections.abc import Awaitable, Callable
from typing import NoReturn

import structlog

from queue_processor.controller import ports
from queue_processor.domain import deadlines, errors
from queue_processor.domain.events import LifecycleAction
from queue_processor.observability import metrics

_log = structlog.get_logger(__name__)

# When the hook's own timeout cannot be looked up, it is treated as the most impatient one.
# https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_PutLifecycleHook.html
SHORTEST_HEARTBEAT_TIMEOUT = dt.timedelta(seconds=30)

_LOOKUP_LIMIT_SECONDS = 2.0
_LONGEST_RETRY_SECONDS = 30.0


class LifecycleHeartbeats:
    """Records heartbeats, twice in each heartbeat timeout, until stopped."""

    def __init__(
        self, lifecycle: ports.LifecycleActions, *, is_recording: bool, clock: ports.Clock
    ) -> None:
        """Build the heartbeats.

        Args:
            lifecycle: Where they are recorded, and hooks are looked up.
            is_recording: False where lifecycle actions are only looked at.
            clock: The present.
        """
        self._lifecycle = lifecycle
        self._is_recording = is_recording
        self._clock = clock
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def with_hook_timeout(self, action: LifecycleAction) -> LifecycleAction:
        """Return the action with its hook's heartbeat timeout, which no event states.

        A lookup that fails or takes longer than two seconds yields the shortest timeout.
        """
        try:
            async with asyncio.timeout(_LOOKUP_LIMIT_SECONDS):
                timeout = await self._lifecycle.heartbeat_timeout(action.hook)
        except (
            TimeoutError,
            errors.NotFound,
            errors.TemporaryError,
            errors.PermanentError,
        ) as error:
            _log.warning(
                "lifecycle_hook_lookup_failed",
                group=action.hook.group,
                hook=action.hook.name,
                error=str(error),
            )
            return dataclasses.replace(action, heartbeat_timeout=SHORTEST_HEARTBEAT_TIMEOUT)
        return dataclasses.replace(action, heartbeat_timeout=timeout, is_timeout_assumed=False)

    def start(
        self,
        delivery_id: str,
        action: LifecycleAction,
        *,
        since: dt.datetime,
        await_progress: Callable[[], Awaitable[object]],
    ) -> None:
        """Begin to record heartbeats for the action of a delivery.

        Args:
            delivery_id: Names the heartbeats; `stop` takes it.
            action: The action, with its hook's timeout.
            since: When the action began.
            await_progress: Returns while there is progress to wait for; each heartbeat awaits it.
        """
        if not self._is_recording:
            return
        self._tasks[delivery_id] = asyncio.create_task(
            self._record_until_over(action, since, await_progress),
            name=f"heartbeats {action.instance_id}",
        )

    async def stop(self, delivery_id: str) -> None:
        """Record no more heartbeats for a delivery; a no-op where none were started."""
        task = self._tasks.pop(delivery_id, None)
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))

    async def _record_until_over(
        self,
        action: LifecycleAction,
        since: dt.datetime,
        await_progress: Callable[[], Awaitable[object]],
    ) -> None:
        loop = asyncio.get_running_loop()
        # From here on the monotonic clock counts: somebody may set the other one.
        began = loop.time() - (self._clock() - since).total_seconds()
        interval = action.heartbeat_timeout / 2
        ends_at = began + deadlines.global_timeout(action.heartbeat_timeout).total_seconds()
        due_at = began + interval.total_seconds()
        while due_at < ends_at:
            await asyncio.sleep(due_at - loop.time())
            await await_progress()
            due_at = loop.time() + await self._record(action, interval)

    async def _record(self, action: LifecycleAction, interval: dt.timedelta) -> float:
        """Record one heartbeat; the seconds until the next, infinite when the action is over."""
        try:
            await self._lifecycle.heartbeat(action)
        except errors.NotFound as over:
            _count(metrics.HeartbeatOutcome.OVER)
            _log.info(
                "lifecycle_action_already_ended", instance_id=action.instance_id, response=str(over)
            )
            return math.inf
        except (errors.TemporaryError, errors.PermanentError) as error:
            _count(metrics.HeartbeatOutcome.FAILED)
            _log.warning("heartbeat_failed", instance_id=action.instance_id, error=str(error))
            return min(interval.total_seconds() / 3, _LONGEST_RETRY_SECONDS)
        _count(metrics.HeartbeatOutcome.RECORDED)
        return interval.total_seconds()


class NoLifecycleActions:
    """Refuses every call: only messages name lifecycle actions, and there is no queue."""

    async def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise errors.PermanentError("there is no queue, and so no lifecycle action")

    complete = heartbeat = heartbeat_timeout = group = _refuse


def _count(outcome: metrics.HeartbeatOutcome) -> None:
    metrics.HEARTBEATS.labels(outcome=outcome).inc()
