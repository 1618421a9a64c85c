"""Evicts one pod and retries until it is gone; deletes it when a hard deadline leaves no choice.

The API server refuses an eviction that a PodDisruptionBudget does not allow *now* (429), and may
allow it a moment later, when the workload has started the pod elsewhere. So an eviction is repeated
with backoff, and never sooner than `Retry-After`; a deadline that comes nearer shortens the pause.
Which refusals may end, and which mean that the pod is gone, the adapter decides (`EvictionAnswer`).

At a soft deadline nothing more happens. At a hard one AWS takes the instance whatever the budget
allows, and then the pod dies without a SIGTERM. A pod that is still blocked is therefore deleted in
time for its own grace period, or at the latest `force_margin` before the deadline. Karpenter's
`needsForceDelete` is the same idea. The budget loses a pod that it would have lost anyway; the
workload wins a clean stop. `drain.on_deadline: leave` switches that off.

A request may be answered late, or never: an admission webhook may hang, and evictions under one
budget wait for each other. So nothing waits for an answer past the moment when the pod has to be
deleted. The request is left behind, since the API server may still carry it out, and it keeps its
slot until it ends; its answer is counted, but decides nothing any more. A pod that is due when the
drain begins, because its grace period is longer than the time left, gets one attempt of its own: an
eviction that is granted overrides no budget.

Every request names the pod by UID: another pod may have its name by now, such as the next one of a
StatefulSet. That makes repeated requests no-ops.

Rejected: to delete at the deadline itself, which leaves no time to stop, and to delete all pods of
the node at one time, which would not wait for budgets of pods that stop quickly.
"""

import asyncio
import dataclasses
import datetime as dt
import itertools
from collections.abc import Callable
from typing import assert_never

import structlog

from queue_processor.controller import ports
from queue_processor.controller.limiter import Priority, PriorityLimiter
from queue_processor.controller.waiting import ChangeSignal, DeadlineTimer
from queue_processor.domain import deadlines, errors
from queue_processor.domain.events import EventKind
from queue_processor.domain.pods import Eviction, EvictionAnswer, PodView
from queue_processor.observability import event_reasons, metrics
from queue_processor.retrying import Backoff, retrying, within

_log = structlog.get_logger(__name__)

# How long the first attempt may take where the pod is due already.
_FIRST_ATTEMPT = dt.timedelta(seconds=5)


@dataclasses.dataclass(slots=True)
class EvictionStats:
    """Counts what happened to the pods of one node.

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
    """The conditions under which a hard deadline overrules a disruption budget.

    Attributes:
        kind: What the drain is for, to count by.
        force_deletes: False leaves pods that are blocked on the node.
        force_margin: How long before the deadline a pod is deleted at the latest.
    """

    kind: EventKind
    force_deletes: bool
    force_margin: dt.timedelta


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Attempt:
    """One attempt to evict a pod, counted from 1; it begins at a time of the loop's clock."""

    pod: PodView
    number: int
    began_at: float


class Evictor:
    """Evicts pods from one node before its deadline."""

    def __init__(
        self,
        *,
        pods: ports.Pods,
        event_recorder: ports.EventRecorder,
        limiter: PriorityLimiter,
        timer: DeadlineTimer,
        changed: ChangeSignal,
        policy: ForceDeletePolicy,
    ) -> None:
        """Build the evictor of one drain.

        Args:
            pods: Where pods are evicted.
            event_recorder: Records pods that are deleted against their budget.
            limiter: Bounds the requests of all drains.
            timer: The drain's deadline.
            changed: Notified when a pod has gone, or the deadline has come nearer.
            policy: What happens to pods that are blocked until it is near.
        """
        self._pods = pods
        self._event_recorder = event_recorder
        self._limiter = limiter
        self._timer = timer
        self._changed = changed
        self._policy = policy
        self._backoff = Backoff()
        self._turns = itertools.count()
        self._attempts: dict[_Attempt, asyncio.Timeout] = {}
        self.stats = EvictionStats()

    def notice_deadline(self) -> None:
        """Look at the timer again, because its deadline has come nearer."""
        for attempt, limit in self._attempts.items():
            limit.reschedule(self._waits_until(attempt))

    async def remove(self, pod: PodView, *, is_departing: Callable[[], bool]) -> None:
        """Return when the pod is on its way out.

        Args:
            pod: The pod.
            is_departing: True once the watch has shown that the pod is terminating, or gone.
        """
        # Waits for a request that was left behind, or cancels it with the drain.
        async with asyncio.TaskGroup() as requests:
            await self._remove(pod, is_departing, requests)
        self.stats.blocked.pop(pod.ref.uid, None)

    async def _remove(
        self, pod: PodView, is_departing: Callable[[], bool], requests: asyncio.TaskGroup
    ) -> None:
        for number in itertools.count(1):
            if is_departing():
                return
            attempt = _Attempt(pod, number, began_at=asyncio.get_running_loop().time())
            eviction = await self._try_to_evict(attempt, requests)
            match eviction.answer:
                case EvictionAnswer.ACCEPTED:
                    self.stats.evicted += 1
                    return
                case EvictionAnswer.GONE:
                    return
                case (
                    EvictionAnswer.BLOCKED
                    | EvictionAnswer.BUSY
                    | EvictionAnswer.AMBIGUOUS
                    | EvictionAnswer.NAMESPACE_TERMINATING
                ):
                    self._record_blocked(pod, eviction)
                case _:
                    assert_never(eviction.answer)
            await self._pause(pod, number, eviction)
            if self._needs_force_delete(pod) and not is_departing():
                await self._force_delete(pod)
                return

    async def _try_to_evict(self, attempt: "_Attempt", requests: asyncio.TaskGroup) -> Eviction:
        """Return the answer, or that there is none before the pod has to be deleted."""
        pod = attempt.pod
        missing = "no slot was free in time"
        try:
            async with asyncio.timeout_at(self._waits_until(attempt)) as limit:
                self._attempts[attempt] = limit
                slot = await self._limiter.slot_to_evict(
                    pod.ref.namespace,
                    self._timer.ends_at,
                    turn=next(self._turns),
                    is_repeated=attempt.number > 1,
                )
                missing = "there was no answer in time"
                request = requests.create_task(self._evict(pod), name=f"request for {pod.ref}")
                request.add_done_callback(lambda _: slot.release())
                # Not the request itself: the limit must not cancel it.
                await asyncio.wait((request,))
                return request.result()
        except TimeoutError:
            return Eviction(answer=EvictionAnswer.BUSY, message=missing)
        except errors.TemporaryError as error:
            return _busy(error)
        finally:
            del self._attempts[attempt]

    async def _evict(self, pod: PodView) -> Eviction:
        try:
            eviction = await self._pods.evict(pod.ref)
        except (errors.TemporaryError, errors.PermanentError) as error:
            # A refusal may end: permissions can be mended while the drain goes on.
            eviction = _busy(error)
        metrics.EVICTIONS.labels(answer=eviction.answer.name.lower()).inc()
        return eviction

    def _waits_until(self, attempt: "_Attempt") -> float | None:
        """Return when an attempt is left behind, on the loop's clock; None: at no time."""
        if not self._force_deletes:
            return None
        due_at = asyncio.get_running_loop().time() + self._until_due(attempt.pod).total_seconds()
        if attempt.number > 1:
            return due_at
        return max(due_at, attempt.began_at + _FIRST_ATTEMPT.total_seconds())

    def _record_blocked(self, pod: PodView, eviction: Eviction) -> None:
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
            self._event_recorder.pod_event(
                pod.ref, event_reasons.EVICTION_BLOCKED, eviction.message
            )

    def _needs_force_delete(self, pod: PodView) -> bool:
        return self._force_deletes and self._until_due(pod) <= dt.timedelta()

    @property
    def _force_deletes(self) -> bool:
        return self._policy.force_deletes and self._timer.deadline.is_hard

    def _until_due(self, pod: PodView) -> dt.timedelta:
        return deadlines.force_delete_after(
            self._timer.left, grace=pod.grace, force_margin=self._policy.force_margin
        )

    def _time_to_evict(self, pod: PodView) -> dt.timedelta:
        return self._until_due(pod) if self._force_deletes else self._timer.left

    async def _pause(self, pod: PodView, attempt: int, eviction: Eviction) -> None:
        """Wait before the next attempt, but not past the moment when the pod has to be deleted."""
        loop = asyncio.get_running_loop()
        delay = self._backoff.after(attempt)
        if eviction.retry_after is not None:
            delay = max(delay, eviction.retry_after)
        delay = within(self._time_to_evict(pod), delay)
        ends_at = loop.time() + delay.total_seconds()
        while delay > dt.timedelta() and not self._needs_force_delete(pod):
            limit = min(delay, self._until_due(pod)) if self._force_deletes else delay
            await self._changed.wait(limit)
            delay = dt.timedelta(seconds=ends_at - loop.time())

    async def _force_delete(self, pod: PodView) -> None:
        grace = deadlines.MINIMUM_GRACE
        try:
            async for attempt in retrying(
                metrics.Call.DELETE_POD,
                stop_when=self._past_recovery,
                time_left=lambda: self._timer.left,
            ):
                with attempt:
                    grace = deadlines.grace_that_fits(self._timer.left, grace=pod.grace)
                    async with self._limiter.slot(Priority.FORCE_DELETE, self._timer.ends_at):
                        await self._pods.delete(pod.ref, grace)
        except (errors.TemporaryError, errors.PermanentError) as error:
            _log.error("pod_not_deleted", pod=str(pod.ref), error=str(error))
            return
        self.stats.force_deleted.append(str(pod.ref))
        metrics.PODS_DELETED_AT_DEADLINE.labels(kind=self._policy.kind).inc()
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
            event_reasons.DELETED_AT_DEADLINE,
            f"Deleted with {grace.total_seconds():.0f} s of grace, because the instance is taken"
            f" away at {self._timer.deadline.at:%H:%M:%S} UTC and the eviction was not granted"
            f" until now: {blocked}",
        )

    def _past_recovery(self) -> bool:
        return self._timer.left < -self._policy.force_margin


def _busy(error: errors.TemporaryError | errors.PermanentError) -> Eviction:
    retry_after = error.retry_after if isinstance(error, errors.TemporaryError) else None
    return Eviction(answer=EvictionAnswer.BUSY, message=str(error), retry_after=retry_after)
