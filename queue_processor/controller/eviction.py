"""One pod's way off its node: evict, wait for its budget, delete at the deadline."""

import asyncio
import dataclasses
import datetime as dt
from collections.abc import Callable
from typing import assert_never

import structlog

from queue_processor.controller import gate, ports, retrying
from queue_processor.controller.countdown import Countdown
from queue_processor.domain import deadlines, errors
from queue_processor.domain.events import EventKind
from queue_processor.domain.pods import Eviction, EvictionAnswer, PodView
from queue_processor.observability import metrics

_log = structlog.get_logger(__name__)


@dataclasses.dataclass(slots=True)
class EvictionTally:
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
class DeadlineRule:
    """When a hard deadline rules over a disruption budget.

    Attributes:
        kind: What the drain is for, to count by.
        overrides: Whether it does at all.
        force_margin: How long before the deadline a pod is deleted at the latest.
    """

    kind: EventKind
    overrides: bool
    force_margin: dt.timedelta


class Evictor:
    """Gets pods off one node before its deadline."""

    def __init__(
        self,
        *,
        pods: ports.Pods,
        narrator: ports.Narrator,
        requests: gate.RequestGate,
        countdown: Countdown,
        rule: DeadlineRule,
    ) -> None:
        """Build the evictor of one drain.

        Args:
            pods: Where pods are evicted.
            narrator: Told about pods that are deleted against their budget.
            requests: Bounds the requests of all drains.
            countdown: The drain's deadline.
            rule: What happens to pods that are blocked until it is near.
        """
        self._pods = pods
        self._narrator = narrator
        self._requests = requests
        self._countdown = countdown
        self._rule = rule
        self._backoff = retrying.Backoff()
        self.tally = EvictionTally()

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
                    self.tally.evicted += 1
                    break
                case EvictionAnswer.GONE | EvictionAnswer.NAMESPACE_TERMINATING:
                    break
                case EvictionAnswer.BLOCKED | EvictionAnswer.BUSY | EvictionAnswer.AMBIGUOUS:
                    self._note(pod, eviction)
                case _:
                    assert_never(eviction.answer)
            if self._is_due(pod):
                await self._override(pod)
                break
            await self._pause(pod, attempt, eviction)
        self.tally.blocked.pop(pod.ref.uid, None)

    async def _evict(self, pod: PodView) -> Eviction:
        try:
            async with self._requests.turn(gate.Rank.DRAIN, self._countdown.ends_at):
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
        if self.tally.blocked.get(pod.ref.uid) == eviction.message:
            return
        self.tally.blocked[pod.ref.uid] = eviction.message
        _log.info(
            "eviction_blocked",
            pod=str(pod.ref),
            answer=eviction.answer.name.lower(),
            said=eviction.message,
        )
        if eviction.answer is EvictionAnswer.AMBIGUOUS:
            self._narrator.about_pod(pod.ref, "EvictionBlocked", eviction.message)

    def _is_due(self, pod: PodView) -> bool:
        return self._rules_over_budgets and self._until_due(pod) <= dt.timedelta()

    @property
    def _rules_over_budgets(self) -> bool:
        return self._rule.overrides and self._countdown.deadline.is_hard

    def _until_due(self, pod: PodView) -> dt.timedelta:
        return deadlines.force_delete_after(
            self._countdown.left, grace=pod.grace, force_margin=self._rule.force_margin
        )

    async def _pause(self, pod: PodView, attempt: int, eviction: Eviction) -> None:
        """Wait before the next attempt, but not past the moment when the deadline rules."""
        loop = asyncio.get_running_loop()
        delay = self._backoff.after(attempt)
        if eviction.retry_after is not None:
            delay = max(delay, eviction.retry_after)
        ends_at = loop.time() + delay.total_seconds()
        while delay > dt.timedelta() and not self._is_due(pod):
            limit = min(delay, self._until_due(pod)) if self._rules_over_budgets else delay
            await self._countdown.changed.wait(limit)
            delay = dt.timedelta(seconds=ends_at - loop.time())

    async def _override(self, pod: PodView) -> None:
        grace = deadlines.MINIMUM_GRACE
        try:
            async for attempt in retrying.patiently(
                metrics.Call.DELETE_POD, gives_up=self._is_hopeless
            ):
                with attempt:
                    grace = deadlines.grace_that_fits(self._countdown.left, grace=pod.grace)
                    async with self._requests.turn(gate.Rank.DRAIN, self._countdown.ends_at):
                        await self._pods.delete(pod.ref, grace)
        except (errors.TemporaryError, errors.PermanentError) as error:
            _log.error("pod_not_deleted", pod=str(pod.ref), error=str(error))
            return
        self.tally.force_deleted.append(str(pod.ref))
        metrics.PODS_OVERRIDDEN.labels(kind=self._rule.kind).inc()
        blocked = self.tally.blocked.get(pod.ref.uid, "")
        _log.warning(
            "pod_deleted_at_deadline",
            pod=str(pod.ref),
            grace_seconds=grace.total_seconds(),
            deadline=self._countdown.deadline.at.isoformat(),
            blocked=blocked,
        )
        self._narrator.about_pod(
            pod.ref,
            "DeletedAtDeadline",
            f"Deleted with {grace.total_seconds():.0f} s of grace, because the instance is taken"
            f" away at {self._countdown.deadline.at:%H:%M:%S} UTC and the eviction was refused"
            f" until now: {blocked}",
        )

    def _is_hopeless(self) -> bool:
        return self._countdown.left < -self._rule.force_margin
