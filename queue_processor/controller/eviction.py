"""Evicts one pod and retries until it is gone; has it deleted when a deadline leaves no choice.

The API server refuses an eviction that a PodDisruptionBudget does not allow *now* (429), and may
allow it a moment later, when the workload has started the pod elsewhere. So an eviction is repeated
with backoff, and never sooner than `Retry-After`; a deadline that comes nearer shortens the pause.
Which refusals may end, and which mean that the pod is gone, the adapter decides (`EvictionAnswer`).

A request may be answered late, or never: an admission webhook may hang, and evictions under one
budget wait for each other. So nothing waits for an answer past the moment when the pod has to be
deleted (`force_delete`). The request is left behind, since the API server may still carry it out;
its answer is counted, but decides nothing any more. A pod that is due when the drain begins,
because its grace period is longer than the time left, gets one attempt of its own: an eviction that
is granted overrides no budget.

Every request names the pod by UID: another pod may have its name by now, such as the next one of a
StatefulSet. That makes repeated requests no-ops.
"""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import itertools
from collections.abc import AsyncIterator
from typing import assert_never

from queue_processor.controller.blocked_evictions import BlockedEvictionLog
from queue_processor.controller.drain_context import DrainContext
from queue_processor.controller.force_delete import EvictionStats, ForceDeleter
from queue_processor.controller.limiter import NO_SLOT, Slot
from queue_processor.controller.node_holds import NodeHolds
from queue_processor.controller.waiting import OneTimeEvent
from queue_processor.domain import errors
from queue_processor.domain.pods import Eviction, EvictionAnswer, PodView
from queue_processor.observability import event_reasons, metrics
from queue_processor.retrying import Backoff, within

_TOO_MANY_LEFT = "the API server cannot evict all pods in time"

# As many pods as most nodes have: of equally urgent nodes some are done early, and not all late.
_IN_ONE_TURN = 10

# Where the pod is due already: how long the first request may take, and how long the watch may
# take to show what an accepted one has done.
_PATIENCE = dt.timedelta(seconds=5)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Attempt:
    """One attempt to evict a pod; it is not left behind before `patient_until`.

    That is a time of the loop's clock.
    """

    pod: PodView
    patient_until: float


class Evictor:
    """Evicts pods from one node before its deadline."""

    def __init__(
        self,
        holds: NodeHolds,
        *,
        force_deleter: ForceDeleter,
        context: DrainContext,
    ) -> None:
        """Build the evictor of one drain.

        Args:
            holds: What the node is drained for, and until when.
            force_deleter: Deletes the pods that their budgets block until they are due.
            context: What all drains share.
        """
        self._holds = holds
        self._pods = context.ports.pods
        self._event_recorder = context.ports.event_recorder
        self._limiter = context.limiter
        self._remaining = context.remaining_pods
        self._turnstile = context.turnstile
        self._force = force_deleter
        self._blocked_log = BlockedEvictionLog(holds.node.name)
        self._backoff = Backoff()
        self._turns = itertools.count()
        self._attempts: dict[_Attempt, asyncio.Timeout] = {}
        self._intent = holds.intent

    @property
    def stats(self) -> EvictionStats:
        """The counts of the pods of this node so far."""
        return self._force.stats

    def notice_deadlines(self) -> None:
        """Look at the holds again, because their deadlines may have changed."""
        if self._holds.intent is self._intent:
            return
        self._intent = self._holds.intent
        for attempt, limit in self._attempts.items():
            # One that expires in this very moment cannot be changed any more.
            if not limit.expired():
                self._expect(attempt.pod)
                limit.reschedule(self._waits_until(attempt))

    async def remove(self, pod: PodView, departure: OneTimeEvent) -> None:
        """Return when the pod is on its way out.

        Args:
            pod: The pod.
            departure: Set once the watch has shown that the pod is terminating, or gone.
        """
        # Waits for a request that was left behind, or cancels it with the drain.
        try:
            async with asyncio.TaskGroup() as requests:
                await self._remove(pod, departure, requests)
        finally:
            self._remaining.discard(pod.ref.uid)
        self.stats.blocked.pop(pod.ref.uid, None)

    def _expect(self, pod: PodView) -> None:
        self._remaining.add(pod.ref.uid, self._force.due_at(pod))

    async def _remove(
        self, pod: PodView, departure: OneTimeEvent, requests: asyncio.TaskGroup
    ) -> None:
        is_granted = False
        for number in itertools.count(1):
            if departure.is_set():
                return
            if is_granted:
                await self._await_departure(pod, departure)
            else:
                self._expect(pod)
                eviction = await self._try_to_evict(pod, requests, is_repeated=number > 1)
                is_granted = self._is_granted(pod, eviction)
                if is_granted:
                    continue
                await self._pause(pod, number, eviction)
            if self._force.is_due(pod):
                await self._turnstile.pass_through()
                if not departure.is_set() and await self._force.delete(pod):
                    return

    def _is_granted(self, pod: PodView, eviction: Eviction) -> bool:
        """Record an answer; return True if the pod will go, as far as the API server says."""
        match eviction.answer:
            case EvictionAnswer.ACCEPTED:
                self.stats.evicted += 1
                self.stats.last_removal_at = self._holds.now
                self._remaining.discard(pod.ref.uid)
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

    async def _await_departure(self, pod: PodView, departure: OneTimeEvent) -> None:
        """Wait until the watch shows that the pod goes, but not past the moment when it has to."""
        with contextlib.suppress(TimeoutError):
            async with self._until_due_for(pod, patience=_PATIENCE):
                await departure.wait()

    async def _try_to_evict(
        self, pod: PodView, requests: asyncio.TaskGroup, *, is_repeated: bool
    ) -> Eviction:
        """Return the answer, or that there is none before the pod has to be deleted."""
        missing = NO_SLOT
        patience = dt.timedelta() if is_repeated else _PATIENCE
        try:
            async with self._until_due_for(pod, patience=patience):
                slot = await self._limiter.slot_to_evict(
                    pod.ref.namespace,
                    self._holds.ends_at,
                    turn=next(self._turns) // _IN_ONE_TURN,
                    is_repeated=is_repeated,
                )
                if self._force.bring_forward(pod):
                    slot.release()
                    return Eviction(answer=EvictionAnswer.BUSY, message=_TOO_MANY_LEFT)
                missing = "there was no answer in time"
                request = requests.create_task(
                    self._evict(pod, slot), name=f"request for {pod.ref}"
                )
                request.add_done_callback(lambda _: slot.release())
                # Not the request itself: the limit must not cancel it.
                await asyncio.wait((request,))
                return request.result()
        except TimeoutError:
            await self._turnstile.pass_through()
            return Eviction(answer=EvictionAnswer.BUSY, message=missing)
        except errors.TemporaryError as error:
            return _busy(error)

    @contextlib.asynccontextmanager
    async def _until_due_for(self, pod: PodView, *, patience: dt.timedelta) -> AsyncIterator[None]:
        """Raise TimeoutError when an attempt has to be left behind, also if that comes nearer."""
        now = asyncio.get_running_loop().time()
        attempt = _Attempt(pod, patient_until=now + patience.total_seconds())
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
        self._remaining.count_answer()
        return eviction

    def _waits_until(self, attempt: "_Attempt") -> float | None:
        """Return when an attempt is left behind, on the loop's clock; None: at no time."""
        until_due = self._force.until_due(attempt.pod)
        if until_due is None:
            return None
        due_at = asyncio.get_running_loop().time() + until_due.total_seconds()
        return max(due_at, attempt.patient_until)

    def _record_blocked(self, pod: PodView, eviction: Eviction) -> None:
        if eviction.answer is EvictionAnswer.BLOCKED:
            self._remaining.note_blocked(pod.ref.uid)
        if self.stats.blocked.get(pod.ref.uid) == eviction.message:
            return
        self.stats.blocked[pod.ref.uid] = eviction.message
        self._blocked_log.add(pod.ref, eviction)
        if eviction.answer is EvictionAnswer.AMBIGUOUS:
            self._event_recorder.pod_event(
                pod.ref, event_reasons.EVICTION_BLOCKED, eviction.message
            )

    async def _pause(self, pod: PodView, attempt: int, eviction: Eviction) -> None:
        """Wait before the next attempt, but not past the moment when the pod has to be deleted."""
        loop = asyncio.get_running_loop()
        delay = self._backoff.after(attempt)
        if eviction.retry_after is not None:
            delay = max(delay, eviction.retry_after)
        until_due = self._force.until_due(pod)
        delay = within(self._holds.left if until_due is None else until_due, delay)
        ends_at = loop.time() + delay.total_seconds()
        while delay > dt.timedelta() and not self._force.is_due(pod):
            until_due = self._force.until_due(pod)
            await self._holds.changed.wait(delay if until_due is None else min(delay, until_due))
            delay = dt.timedelta(seconds=ends_at - loop.time())


def _busy(error: errors.TemporaryError | errors.PermanentError) -> Eviction:
    retry_after = error.retry_after if isinstance(error, errors.TemporaryError) else None
    return Eviction(answer=EvictionAnswer.BUSY, message=str(error), retry_after=retry_after)
