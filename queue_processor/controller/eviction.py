"""One pod's way off its node: evict, wait for its budget, delete at the deadline."""

import asyncio
import dataclasses
import datetime as dt
from collections.abc import Callable
from typing import assert_never

import structlog

from queue_processor.controller import limiter, ports, retrying
from queue_processor.controller.deadline_timer import DeadlineTimer
from queue_processor.domain import deadlines, errors
from queue_processor.domain.events import EventKind
from queue_processor.domain.pods import Eviction, EvictionAnswer, PodView
from queue_processor.observability import metrics

_log = structlog.get_logger(__name__)


@dataclasses.dataclass(slots=True)
class EvictionStats:
    """What became of the pods of one node.

    Attributes:
        evicted: How many evictions were accepted.
        force_deleted: The pods that were deleted at the deadline against their budget.
        blocked: Why a pod is still there, by uid, in the API server's words.
    """

    evicted: int = 0
    force_deleted: list[str] = dataclasses.field(default_factory=list)
    blocked: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ForceDeletePolicy:
    """When a hard deadline rules over a disruption budget.

    Attributes:
        kind: What the drain is for, to count by.
        force_deletes: Whether it does at all.
        force_margin: How long before the deadline a pod is deleted at the latest.
    """

    kind: EventKind
    force_deletes: bool
    force_margin: dt.timedelta


class Evictor:
    """Gets pods off one node before its deadline."""

    def __init__(
        self,
        *,
        pods: ports.Pods,
        event_recorder: ports.EventRecorder,
        requests: limiter.PriorityLimiter,
        timer: DeadlineTimer,
        rule: ForceDeletePolicy,
    ) -> None:
        """Build the evictor of one drain.

        Args:
            pods: Where pods are evicted.
            event_recorder: Told about pods that are deleted against their budget.
            requests: Bounds the requests of all drains.
            timer: The drain's deadline.
            rule: What happens to pods that are blocked until it is near.
        """
        self._pods = pods
        self._event_recorder = event_recorder
        self._requests = requests
        self._timer = timer
        self._rule = rule
        self._backoff = retrying.Backoff()
        self.stats = EvictionStats()

    async def remove(self, pod: PodView, *, is_gone: Callable[[], bool]) -> None:
        """Return when the pod is on its way out.

        Args:
            pod: The pod.
            is_gone: What the watch says: another pod may have its name by now.
        """
        attempt = 0
        while not is_gone():
            attempt += 1
            eviction = await self._evict(pod)
            match eviction.answer:
                case EvictionAnswer.ACCEPTED:
                    self.stats.evicted += 1
                    break
                case EvictionAnswer.GONE | EvictionAnswer.NAMESPACE_TERMINATING:
                    break
                case EvictionAnswer.BLOCKED | EvictionAnswer.BUSY | EvictionAnswer.AMBIGUOUS:
                    self._note(pod, eviction)
                case _:
                    assert_never(eviction.answer)
            if self._needs_force_delete(pod):
                await self._force_delete(pod)
                break
            await self._pause(pod, attempt, eviction)
        self.stats.blocked.pop(pod.ref.uid, None)

    async def _evict(self, pod: PodView) -> Eviction:
        try:
            async with self._requests.slot(limiter.Priority.DRAIN, self._timer.ends_at):
                eviction = await self._pods.evict(pod.ref)
        except errors.TemporaryError as error:
            eviction = Eviction(
                answer=EvictionAnswer.BUSY, message=str(error), retry_after=error.retry_after
            )
        except errors.PermanentError as error:
            # Refused today is not refused for ever: permissions get mended in mid-drain.
            eviction = Eviction(answer=EvictionAnswer.BUSY, message=str(error))
        metrics.EVICTIONS.labels(answer=eviction.answer.name.lower()).inc()
        return eviction

    def _note(self, pod: PodView, eviction: Eviction) -> None:
        if self.stats.blocked.get(pod.ref.uid) == eviction.message:
            return
        self.stats.blocked[pod.ref.uid] = eviction.message
        _log.info(
            "eviction_blocked",
            pod=str(pod.ref),
            answer=eviction.answer.name.lower(),
            response=eviction.message,
        )
        if eviction.answer is EvictionAnswer.AMBIGUOUS:
            self._event_recorder.pod_event(pod.ref, "EvictionBlocked", eviction.message)

    def _needs_force_delete(self, pod: PodView) -> bool:
        return self._force_deletes and self._until_due(pod) <= dt.timedelta()

    @property
    def _force_deletes(self) -> bool:
        return self._rule.force_deletes and self._timer.deadline.is_hard

    def _until_due(self, pod: PodView) -> dt.timedelta:
        return deadlines.force_delete_after(
            self._timer.left, grace=pod.grace, force_margin=self._rule.force_margin
        )

    async def _pause(self, pod: PodView, attempt: int, eviction: Eviction) -> None:
        """Wait before the next attempt, but not past the moment when the deadline rules."""
        loop = asyncio.get_running_loop()
        delay = self._backoff.after(attempt)
        if eviction.retry_after is not None:
            delay = max(delay, eviction.retry_after)
        ends_at = loop.time() + delay.total_seconds()
        while delay > dt.timedelta() and not self._needs_force_delete(pod):
            limit = min(delay, self._until_due(pod)) if self._force_deletes else delay
            await self._timer.changed.wait(limit)
            delay = dt.timedelta(seconds=ends_at - loop.time())

    async def _force_delete(self, pod: PodView) -> None:
        grace = deadlines.MINIMUM_GRACE
        try:
            async for attempt in retrying.retrying(
                metrics.Call.DELETE_POD, stop_when=self._past_recovery
            ):
                with attempt:
                    grace = deadlines.grace_that_fits(self._timer.left, grace=pod.grace)
                    async with self._requests.slot(limiter.Priority.DRAIN, self._timer.ends_at):
                        await self._pods.delete(pod.ref, grace)
        except (errors.TemporaryError, errors.PermanentError) as error:
            _log.error("pod_not_deleted", pod=str(pod.ref), error=str(error))
            return
        self.stats.force_deleted.append(str(pod.ref))
        metrics.PODS_DELETED_AT_DEADLINE.labels(kind=self._rule.kind).inc()
        blocked = self.stats.blocked.get(pod.ref.uid, "")
        _log.warning(
            "pod_deleted_at_deadline",
            pod=str(pod.ref),
            grace_seconds=grace.total_seconds(),
            deadline=self._timer.deadline.at.isoformat(),
            blocked=blocked,
        )
        self._event_recorder.pod_event(
            pod.ref,
            "DeletedAtDeadline",
            f"Deleted with {grace.total_seconds():.0f} s of grace, because the instance is taken"
            f" away at {self._timer.deadline.at:%H:%M:%S} UTC and the eviction was refused"
            f" until now: {blocked}",
        )

    def _past_recovery(self) -> bool:
        return self._timer.left < -self._rule.force_margin
