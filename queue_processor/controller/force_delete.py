"""Deletes pods against their budgets when a hard deadline leaves no choice.

At a soft deadline nothing more happens. At a hard one AWS takes the instance whatever the budget
allows, and then the pod dies without a SIGTERM. A pod that is still blocked is therefore deleted in
time for its own grace period, or at the latest `force_margin` before the deadline, and earlier
where more pods are due than the API server can delete at once (`remaining_pods`). Karpenter's
`needsForceDelete` is the same idea. The budget loses a pod that it would have lost anyway; the
workload wins a clean stop. `drain.on_deadline: leave` switches that off.

A pod that waits for its turn to be evicted is deleted instead if the API server is too slow to
evict all that are left. That is decided at its turn, and those behind it have one less before them,
so it ends with the first pod for which the time is enough again. And it needs evidence: in the
first half of the time the API server is busy with cordons and lists, and few evictions show how
fast it is.

Rejected: to delete at the deadline itself, which leaves no time to stop, and to delete all pods of
the node at one time, which would not wait for budgets of pods that stop quickly.
"""

import dataclasses
import datetime as dt
from collections.abc import Awaitable, Callable

import structlog

from queue_processor.controller.drain_context import DrainContext
from queue_processor.controller.limiter import NO_SLOT
from queue_processor.controller.node_holds import NodeHolds
from queue_processor.controller.ranks import Priority
from queue_processor.domain import deadlines, errors
from queue_processor.domain.pods import PodView
from queue_processor.observability import event_reasons, metrics
from queue_processor.retrying import retrying

_log = structlog.get_logger(__name__)


@dataclasses.dataclass(slots=True)
class EvictionStats:
    """Counts what happened to the pods of one node.

    Attributes:
        last_removal_at: When the API server accepted the last eviction or deletion.
        evicted: How many evictions were accepted.
        force_deleted: The pods that were deleted at the deadline against their budget.
        blocked: Why a pod is still there, by uid, in the API server's words.
    """

    last_removal_at: dt.datetime | None = None
    evicted: int = 0
    force_deleted: list[str] = dataclasses.field(default_factory=list)
    blocked: dict[str, str] = dataclasses.field(default_factory=dict)


class ForceDeleter:
    """Knows when the pods of one node have to be deleted, and deletes them."""

    def __init__(
        self,
        holds: NodeHolds,
        *,
        look_again: Callable[[], Awaitable[bool]],
        context: DrainContext,
    ) -> None:
        """Build the deleter of one drain.

        Args:
            holds: What the node is drained for, and until when.
            look_again: Reads the node as it is now into `holds`; False if it is gone.
            context: What all drains share.
        """
        self._holds = holds
        self._look_again = look_again
        self._pods = context.ports.pods
        self._event_recorder = context.ports.event_recorder
        self._limiter = context.limiter
        self._remaining = context.remaining_pods
        self._options = context.options
        self._began_at = holds.now
        self._brought_forward: dict[str, dt.datetime] = {}
        self.stats = EvictionStats()

    def is_due(self, pod: PodView, *, lead: dt.timedelta | None = None) -> bool:
        """Return True if the pod has to be deleted now; see `until_due`."""
        until_due = self.until_due(pod, lead=lead)
        return until_due is not None and until_due <= dt.timedelta()

    def until_due(self, pod: PodView, *, lead: dt.timedelta | None = None) -> dt.timedelta | None:
        """Return the time until the pod has to be deleted; None where its budget is respected.

        Args:
            pod: The pod.
            lead: How much earlier; None: as much as the other pods make necessary.
        """
        if self._options.force_deletes and self._holds.intent.is_dead:
            return dt.timedelta()
        due_at = self.due_at(pod)
        if due_at is None:
            return None
        if lead is None:
            lead = self._lead(pod, due_at)
        return due_at - lead - self._holds.now

    def due_at(self, pod: PodView) -> dt.datetime | None:
        """Return when the pod has to be deleted, if it is the only one; None: it is not deleted."""
        if not self._options.force_deletes:
            return None
        force_margin = self._options.force_margin
        return self._holds.intent.delete_blocked_at(grace=pod.grace, force_margin=force_margin)

    def bring_forward(self, pod: PodView) -> bool:
        """Decide whether a pod has to be deleted now that it could be evicted.

        Returns:
            True if there is no time to evict all pods that are left. The pod is due from now on,
            unless its deadline changes.
        """
        due_at = self.due_at(pod)
        if due_at is None:
            return False
        left, half = due_at - self._holds.now, (due_at - self._began_at) / 2
        # One that is due by itself gets its eviction.
        if not dt.timedelta() < left < half or self._remaining.time_for_all(due_at) <= left:
            return False
        self._brought_forward[pod.ref.uid] = due_at
        self._remaining.discard(pod.ref.uid)
        return True

    def _lead(self, pod: PodView, due_at: dt.datetime) -> dt.timedelta:
        if self._brought_forward.get(pod.ref.uid) == due_at:
            return due_at - self._holds.now
        return self._remaining.lead(due_at)

    async def delete(self, pod: PodView) -> bool:
        """Delete the pod against its budget.

        Returns:
            False if its budget has to be respected after all: the deadline was cancelled meanwhile.
        """
        grace, is_early = deadlines.MINIMUM_GRACE, False
        # It was due with this lead, which gets shorter with every pod that is deleted.
        due_at = self.due_at(pod)
        lead = dt.timedelta() if due_at is None else self._lead(pod, due_at)
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
                        if not self.is_due(pod, lead=lead):
                            return False
                        is_early = not self.is_due(pod, lead=dt.timedelta())
                        grace = self._grace_that_fits(pod)
                        await self._pods.delete(pod.ref, grace)
                        self._remaining.count_answer()
        except (errors.TemporaryError, errors.PermanentError) as error:
            _log.error("pod_not_deleted", pod=str(pod.ref), error=str(error))
            return True
        self._record_force_deleted(pod, grace, is_early=is_early)
        return True

    def _grace_that_fits(self, pod: PodView) -> dt.timedelta:
        intent = self._holds.intent
        if intent.instance_ends_at is None:
            return deadlines.MINIMUM_GRACE if intent.is_dead else pod.grace
        return deadlines.grace_that_fits(intent.instance_ends_at - self._holds.now, grace=pod.grace)

    @property
    def _is_past_recovery(self) -> bool:
        ends_at = self._holds.intent.instance_ends_at
        return ends_at is None or self._holds.now > ends_at + self._options.force_margin

    def _record_force_deleted(self, pod: PodView, grace: dt.timedelta, *, is_early: bool) -> None:
        self.stats.force_deleted.append(str(pod.ref))
        self.stats.last_removal_at = self._holds.now
        blocked, ruling = self.stats.blocked.get(pod.ref.uid, ""), self._holds.ruling
        deadline = None if ruling is None else ruling.deadline.at
        was_too_slow = is_early or blocked == NO_SLOT
        cause = metrics.DeletionCause.API_SERVER if was_too_slow else metrics.DeletionCause.REFUSED
        if ruling is not None:
            metrics.PODS_DELETED_AT_DEADLINE.labels(kind=ruling.kind, cause=cause).inc()
        _log.warning(
            "pod_deleted_at_deadline",
            pod=str(pod.ref),
            grace_seconds=grace.total_seconds(),
            deadline=None if deadline is None else deadline.isoformat(),
            cause=cause,
            blocked=blocked,
        )
        until = "" if deadline is None else f" at {deadline:%H:%M:%S} UTC"
        self._event_recorder.pod_event(
            pod.ref,
            event_reasons.DELETED_AT_DEADLINE,
            f"Deleted with {grace.total_seconds():.0f} s of grace, because the instance is taken"
            f" away{until} and the eviction was not granted until now: {blocked}",
        )
