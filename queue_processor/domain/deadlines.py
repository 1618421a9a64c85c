"""Deadline and grace arithmetic; every moment is UTC."""

import dataclasses
import datetime as dt

from queue_processor.domain.events import (
    DEFAULT_HEARTBEAT_TIMEOUT,
    EventKind,
    InterruptionEvent,
)

# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
INTERRUPTION_NOTICE = dt.timedelta(seconds=120)

# A node that outlived its deadline may go at any second, but as long as it stands its
# pods are owed a SIGTERM and the grace period that Kubernetes gives by default.
LATE_WINDOW = dt.timedelta(seconds=30)

# How long the control plane may take to see that a node is dead, with a reserve: the
# node monitor waits 50 s. https://kubernetes.io/docs/concepts/architecture/nodes/#node-heartbeats
DEAD_NODE_WINDOW = dt.timedelta(seconds=120)

# Of our own limit: the default grace period of a pod.
_LONGEST_OWN_LEAD = dt.timedelta(seconds=30)

# The API counts grace in whole seconds, and a deletion takes a moment to arrive.
DELETION_LEAD = dt.timedelta(seconds=1)

MINIMUM_GRACE = dt.timedelta(seconds=1)

# https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_PutLifecycleHook.html
_GLOBAL_TIMEOUT_LIMIT = dt.timedelta(hours=48)
_GLOBAL_TIMEOUT_HEARTBEATS = 100


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """The end of the time for a drain, finished or not.

    Attributes:
        is_hard: The instance is taken away then, so a pod that a budget still blocks is
            deleted in time. A soft deadline is only where we give up.
        instance_ends_at: When AWS takes the instance, if that is later than our own limit `at`.
            We respect budgets until `at`, but do not cut the grace period of a pod because of it.
    """

    at: dt.datetime
    is_hard: bool
    instance_ends_at: dt.datetime | None = None

    @property
    def last_at(self) -> dt.datetime:
        """The time when nothing runs on the instance any more, or we have given up."""
        return self.at if self.instance_ends_at is None else max(self.at, self.instance_ends_at)

    def shifted(self, by: dt.timedelta) -> "Deadline":
        """Return the same deadline on a clock that is ahead by this much."""
        ends_at = self.instance_ends_at
        return dataclasses.replace(
            self, at=self.at + by, instance_ends_at=None if ends_at is None else ends_at + by
        )

    def delete_blocked_at(self, *, grace: dt.timedelta, force_margin: dt.timedelta) -> dt.datetime:
        """Return when a pod that a budget still blocks has to be deleted.

        The pod has its whole grace period before AWS takes the instance. Our own limit is no
        reason to override a budget hours before that: its lead has a bound.

        Args:
            grace: The pod's own grace period.
            force_margin: How long before the deadline every pod has to have its SIGTERM.
        """
        lead = max(grace, force_margin)
        own_limit_at = self.at - min(lead, _LONGEST_OWN_LEAD)
        return min(self.last_at - lead, own_limit_at) - DELETION_LEAD

    def ends_at(self, longest_grace: dt.timedelta) -> dt.datetime:
        """Return when a drain is over, whatever is left.

        Args:
            longest_grace: Of the pods that are left; they keep it past a limit of our own.
        """
        spare = max(longest_grace - _LONGEST_OWN_LEAD, dt.timedelta())
        return min(self.at + spare, self.last_at)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DrainTimeouts:
    """Limits of a drain where AWS sets no deadline, or a later one than we want."""

    soft: dt.timedelta
    lifecycle: dt.timedelta


def global_timeout(heartbeat_timeout: dt.timedelta) -> dt.timedelta:
    """Return how long a lifecycle action lasts at most, however many heartbeats it gets."""
    return min(_GLOBAL_TIMEOUT_LIMIT, _GLOBAL_TIMEOUT_HEARTBEATS * heartbeat_timeout)


def terminates_at(
    event: InterruptionEvent,
    *,
    now: dt.datetime,
    timeouts: DrainTimeouts,
) -> dt.datetime | None:
    """Return when the instances of an event go: by what the event says, or by our own limit.

    Args:
        event: The event.
        now: The present.
        timeouts: Our own limits.

    Returns:
        The moment, which may have passed; None where neither sets one.
    """
    at = _instance_ends_at(event, now=now)
    if at is not None and event.kind is EventKind.AUTOSCALING_TERMINATION:
        return min(at, now + timeouts.lifecycle)
    return at


def _instance_ends_at(event: InterruptionEvent, *, now: dt.datetime) -> dt.datetime | None:
    announced = event.scheduled_at
    at: dt.datetime | None
    match event.kind:
        case EventKind.REBALANCE_RECOMMENDATION:
            at = None
        case EventKind.SCHEDULED_CHANGE:
            at = announced if announced is not None and announced > now else None
        case EventKind.SPOT_INTERRUPTION | EventKind.CAPACITY_RESERVATION_INTERRUPTION if (
            announced is not None
        ):
            at = announced
        case EventKind.AUTOSCALING_LAUNCH | EventKind.AUTOSCALING_TERMINATION:
            at = event.occurred_at + _longest_wait(event)
        case EventKind.STATE_CHANGE if is_instance_gone(event):
            at = event.occurred_at
        case _:
            at = event.occurred_at + INTERRUPTION_NOTICE
    return at


def deadline_for(
    event: InterruptionEvent,
    *,
    now: dt.datetime,
    timeouts: DrainTimeouts,
) -> Deadline:
    """Return until when the nodes of an event have to be drained.

    Args:
        event: The event.
        now: The present.
        timeouts: Our own limits.

    Returns:
        A deadline in the future, even for an event that arrives after its own.
    """
    if is_instance_gone(event):
        return Deadline(at=now + DEAD_NODE_WINDOW, is_hard=True)
    ends_at = _instance_ends_at(event, now=now)
    if ends_at is None:
        return Deadline(at=now + timeouts.soft, is_hard=False)
    if ends_at <= now:
        return Deadline(at=now + LATE_WINDOW, is_hard=True)
    own_limit_at = now + timeouts.lifecycle
    if event.kind is EventKind.AUTOSCALING_TERMINATION and own_limit_at < ends_at:
        return Deadline(at=own_limit_at, is_hard=True, instance_ends_at=ends_at)
    return Deadline(at=ends_at, is_hard=True)


def _longest_wait(event: InterruptionEvent) -> dt.timedelta:
    action = event.lifecycle_action
    return global_timeout(DEFAULT_HEARTBEAT_TIMEOUT if action is None else action.heartbeat_timeout)


def joins_by(event: InterruptionEvent) -> dt.datetime:
    """Return when the launch of an instance that has not joined the cluster is over.

    Only an instance that has joined makes progress and gets heartbeats. Without one, the hook's own
    timeout ends the launch, and the group replaces the instance.
    """
    action = event.lifecycle_action
    if action is None or action.is_timeout_assumed:
        return event.occurred_at + DEFAULT_HEARTBEAT_TIMEOUT
    return event.occurred_at + action.heartbeat_timeout


def is_instance_gone(event: InterruptionEvent) -> bool:
    """Return True if the event reports that the instance no longer runs."""
    return event.instance_state is not None and event.instance_state.is_final


def grace_that_fits(time_left: dt.timedelta, *, grace: dt.timedelta) -> dt.timedelta:
    """Return the grace period for a pod that is deleted now: its own, or what remains.

    Returns:
        Whole seconds, at least one: zero would kill the pod without a SIGTERM.
    """
    fitting = max(min(grace, time_left), MINIMUM_GRACE)
    return dt.timedelta(seconds=int(fitting.total_seconds()))
