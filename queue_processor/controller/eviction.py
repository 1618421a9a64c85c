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
deleted. The request is left behind, since the API server may still carry it out; its answer is
counted, but decides nothing any more. A pod that is due when the drain begins, because its grace
period is longer than the time left, gets one attempt of its own: an eviction that is granted
overrides no budget.

Every request names the pod by UID: another pod may have its name by now, such as the next one of a
StatefulSet. That makes repeated requests no-ops.

Rejected: to delete at the deadline itself, which leaves no time to stop, and to delete all pods of
the node at one time, which would not wait for budgets of pods that stop quickly.
"""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import assert_never

import structlog

from queue_processor.controller import ports
from queue_processor.controller.limiter import Priority, PriorityLimiter, Slot
from queue_processor.controller.node_holds import NodeHolds
from queue_processor.domain import deadlines, errors
from queue_processor.domain.pods import Eviction, EvictionAnswer, PodView
from queue_processor.observability import event_reasons, metrics
from queue_processor.retrying import Backoff, retrying, within

_log = structlog.get_logger(__name__)

# As many pods as most nodes have: of equally urgent nodes some are done early, and not all late.
_IN_ONE_TURN = 10

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
        force_deletes: False leaves pods that are blocked on the node.
        force_margin: How long before the deadline a pod is deleted at the latest.
    """

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
        holds: NodeHolds,
        look_again: Callable[[], Awaitable[bool]],
        policy: ForceDeletePolicy,
    ) -> None:
        """Build the evictor of one drain.

        Args:
            pods: Where pods are evicted.
            event_recorder: Records pods that are deleted against their budget.
            limiter: Bounds the requests of all drains.
            holds: What the node is drained for, and until when.
            look_again: Reads the node as it is now into `holds`; False if it is gone.
            policy: What happens to pods that are blocked until it is near.
        """
        self._pods = pods
        self._event_recorder = event_recorder
        self._limiter = limiter
        self._holds = holds
        self._look_again = look_again
        self._policy = policy
        self._backoff = Backoff()
        self._turns = itertools.count()
        self._attempts: dict[_Attempt, asyncio.Timeout] = {}
        self.stats = EvictionStats()

    def notice_deadlines(self) -> None:
        """Look at the holds again, because their deadlines have changed."""
        for attempt, limit in self._attempts.items():
            limit.reschedule(self._waits_until(attempt))

    async def remove(self, pod: PodView, departure: asyncio.Event) -> None:
        """Return when the pod is on its way out.

        Args:
            pod: The pod.
            departure: Set once the watch has shown that the pod is terminating, or gone.
        """
        # Waits for a request that was left behind, or cancels it with the drain.
        async with asyncio.TaskGroup() as requests:
            await self._remove(pod, departure, requests)
        self.stats.blocked.pop(pod.ref.uid, None)

    async def _remove(
        self, pod: PodView, departure: asyncio.Event, requests: asyncio.TaskGroup
    ) -> None:
        is_granted = False
        for number in itertools.count(1):
            if departure.is_set():
                return
            attempt = _Attempt(pod, number, began_at=asyncio.get_running_loop().time())
            if is_granted:
                await self._await_departure(attempt, departure)
            else:
                eviction = await self._try_to_evict(attempt, requests)
                is_granted = self._is_granted(pod, eviction)
                if not is_granted:
                    await self._pause(pod, number, eviction)
            is_due = self._needs_force_delete(pod) and not departure.is_set()
            if is_due and await self._force_delete(pod):
                return

    def _is_granted(self, pod: PodView, eviction: Eviction) -> bool:
        """Record an answer; return True if the pod will go, as far as the API server says."""
        match eviction.answer:
            case EvictionAnswer.ACCEPTED:
                self.stats.evicted += 1
                return True
            case EvictionAnswer.GONE:
                return True
            case (
                EvictionAnswer.BLOCKED
                | EvictionAnswer.BUSY
                | EvictionAnswer.AMBIGUOUS
                | EvictionAnswer.NAMESPACE_TERMINATING
            ):
                self._record_blocked(pod, eviction)
                return False
            case _:
                assert_never(eviction.answer)

    async def _await_departure(self, attempt: "_Attempt", departure: asyncio.Event) -> None:
        """Wait until the watch shows that the pod goes, but not past the moment when it has to."""
        with contextlib.suppress(TimeoutError):
            async with self._until_due_for(attempt):
                await departure.wait()

    async def _try_to_evict(self, attempt: "_Attempt", requests: asyncio.TaskGroup) -> Eviction:
        """Return the answer, or that there is none before the pod has to be deleted."""
        pod = attempt.pod
        missing = "no slot was free in time"
        try:
            async with self._until_due_for(attempt):
                slot = await self._limiter.slot_to_evict(
                    pod.ref.namespace,
                    self._holds.ends_at,
                    turn=next(self._turns) // _IN_ONE_TURN,
                    is_repeated=attempt.number > 1,
                )
                missing = "there was no answer in time"
                request = requests.create_task(
                    self._evict(pod, slot), name=f"request for {pod.ref}"
                )
                request.add_done_callback(lambda _: slot.release())
                # Not the request itself: the limit must not cancel it.
                await asyncio.wait((request,))
                return request.result()
        except TimeoutError:
            return Eviction(answer=EvictionAnswer.BUSY, message=missing)
        except errors.TemporaryError as error:
            return _busy(error)

    @contextlib.asynccontextmanager
    async def _until_due_for(self, attempt: "_Attempt") -> AsyncIterator[None]:
        """Raise TimeoutError when an attempt has to be left behind, also if that comes nearer."""
        async with asyncio.timeout_at(self._waits_until(attempt)) as limit:
            self._attempts[attempt] = limit
            try:
                yield
            finally:
                del self._attempts[attempt]

    async def _evict(self, pod: PodView, slot: Slot) -> Eviction:
        try:
            with self._limiter.backing_off():
                eviction = await self._pods.evict(pod.ref)
        except (errors.TemporaryError, errors.PermanentError) as error:
            # A refusal may end: permissions can be mended while the drain goes on.
            eviction = _busy(error)
        if eviction.answer is EvictionAnswer.ACCEPTED:
            slot.accept()
        metrics.EVICTIONS.labels(answer=eviction.answer.name.lower()).inc()
        return eviction

    def _waits_until(self, attempt: "_Attempt") -> float | None:
        """Return when an attempt is left behind, on the loop's clock; None: at no time."""
        until_due = self._until_due(attempt.pod)
        if until_due is None:
            return None
        due_at = asyncio.get_running_loop().time() + until_due.total_seconds()
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
        until_due = self._until_due(pod)
        return until_due is not None and until_due <= dt.timedelta()

    def _until_due(self, pod: PodView) -> dt.timedelta | None:
        """Return the time until the pod has to be deleted; None where its budget is respected."""
        if not self._policy.force_deletes:
            return None
        intent = self._holds.intent
        if intent.is_dead:
            return dt.timedelta()
        due_at = intent.delete_blocked_at(grace=pod.grace, force_margin=self._policy.force_margin)
        return None if due_at is None else due_at - self._holds.now

    async def _pause(self, pod: PodView, attempt: int, eviction: Eviction) -> None:
        """Wait before the next attempt, but not past the moment when the pod has to be deleted."""
        loop = asyncio.get_running_loop()
        delay = self._backoff.after(attempt)
        if eviction.retry_after is not None:
            delay = max(delay, eviction.retry_after)
        until_due = self._until_due(pod)
        delay = within(self._holds.left if until_due is None else until_due, delay)
        ends_at = loop.time() + delay.total_seconds()
        while delay > dt.timedelta() and not self._needs_force_delete(pod):
            until_due = self._until_due(pod)
            await self._holds.changed.wait(delay if until_due is None else min(delay, until_due))
            delay = dt.timedelta(seconds=ends_at - loop.time())

    async def _force_delete(self, pod: PodView) -> bool:
        """Delete the pod against its budget.

        Returns:
            False if its budget has to be respected after all: the deadline was cancelled meanwhile.
        """
        grace = deadlines.MINIMUM_GRACE
        try:
            async for attempt in retrying(
                metrics.Call.DELETE_POD,
                stop_when=lambda: self._is_past_recovery,
                time_left=lambda: self._holds.left,
            ):
                with attempt:
                    async with self._limiter.slot(Priority.FORCE_DELETE, self._holds.ends_at):
                        # The watch may be silently dead, and the node alive again.
                        if self._holds.intent.is_dead and not await self._look_again():
                            return True
                        if not self._needs_force_delete(pod):
                            return False
                        grace = self._grace_that_fits(pod)
                        await self._pods.delete(pod.ref, grace)
        except (errors.TemporaryError, errors.PermanentError) as error:
            _log.error("pod_not_deleted", pod=str(pod.ref), error=str(error))
            return True
        self._record_force_deleted(pod, grace)
        return True

    def _grace_that_fits(self, pod: PodView) -> dt.timedelta:
        intent = self._holds.intent
        if intent.instance_ends_at is None:
            return deadlines.MINIMUM_GRACE if intent.is_dead else pod.grace
        return deadlines.grace_that_fits(intent.instance_ends_at - self._holds.now, grace=pod.grace)

    @property
    def _is_past_recovery(self) -> bool:
        ends_at = self._holds.intent.instance_ends_at
        return ends_at is None or self._holds.now > ends_at + self._policy.force_margin

    def _record_force_deleted(self, pod: PodView, grace: dt.timedelta) -> None:
        self.stats.force_deleted.append(str(pod.ref))
        blocked, ruling = self.stats.blocked.get(pod.ref.uid, ""), self._holds.ruling
        deadline = None if ruling is None else ruling.deadline.at
        if ruling is not None:
            metrics.PODS_DELETED_AT_DEADLINE.labels(kind=ruling.kind).inc()
        _log.warning(
            "pod_deleted_at_deadline",
            pod=str(pod.ref),
            grace_seconds=grace.total_seconds(),
            deadline=None if deadline is None else deadline.isoformat(),
            blocked=blocked,
        )
        until = "" if deadline is None else f" at {deadline:%H:%M:%S} UTC"
        self._event_recorder.pod_event(
            pod.ref,
            event_reasons.DELETED_AT_DEADLINE,
            f"Deleted with {grace.total_seconds():.0f} s of grace, because the instance is taken"
            f" away{until} and the eviction was not granted until now: {blocked}",
        )


def _busy(error: errors.TemporaryError | errors.PermanentError) -> Eviction:
    retry_after = error.retry_after if isinstance(error, errors.TemporaryError) else None
    return Eviction(answer=EvictionAnswer.BUSY, message=str(error), retry_after=retry_after)
