import dataclasses
import datetime as dt

import pytest

from queue_processor.domain import deadlines
from queue_processor.domain.deadlines import Deadline
from queue_processor.domain.events import (
    BodyShape,
    EventKind,
    InstanceState,
    InterruptionEvent,
    LifecycleAction,
    LifecycleHook,
    LifecycleTransition,
)
from queue_processor.domain.identifiers import InstanceId

NOON = dt.datetime(2026, 8, 27, 12, 0, tzinfo=dt.UTC)
SECOND = dt.timedelta(seconds=1)
MINUTE = dt.timedelta(minutes=1)
HOUR = dt.timedelta(hours=1)
TIMEOUTS = deadlines.DrainTimeouts(soft=30 * MINUTE, lifecycle=HOUR)
SPOT = InterruptionEvent(
    event_id="event-1",
    kind=EventKind.SPOT_INTERRUPTION,
    shape=BodyShape.EVENTBRIDGE,
    instance_ids=(InstanceId("i-1234567890abcdef0"),),
    occurred_at=NOON,
)


def event(
    kind: EventKind, *, end: dt.datetime | None = None, state: InstanceState | None = None
) -> InterruptionEvent:
    return dataclasses.replace(SPOT, kind=kind, scheduled_at=end, instance_state=state)


def deadline(interruption: InterruptionEvent, *, after: dt.timedelta = 10 * SECOND) -> Deadline:
    """The deadline as it is set so long after noon, when the event happened."""
    return deadlines.deadline_for(interruption, now=NOON + after, timeouts=TIMEOUTS)


def of_hook(kind: EventKind, heartbeat_timeout: dt.timedelta) -> InterruptionEvent:
    action = LifecycleAction(
        hook=LifecycleHook(group="workers", name="drain"),
        transition=LifecycleTransition.TERMINATING,
        instance_id=SPOT.instance_ids[0],
        token=None,
        heartbeat_timeout=heartbeat_timeout,
    )
    return dataclasses.replace(SPOT, kind=kind, lifecycle_action=action)


def hard(at: dt.datetime) -> Deadline:
    return Deadline(at=at, is_hard=True)


def soft(at: dt.datetime) -> Deadline:
    return Deadline(at=at, is_hard=False)


# One kind after the other.


def test_a_spot_interruption_ends_two_minutes_after_the_event() -> None:
    assert deadline(event(EventKind.SPOT_INTERRUPTION)) == hard(NOON + 120 * SECOND)


def test_a_capacity_reservation_ends_when_aws_says() -> None:
    reserved = event(EventKind.CAPACITY_RESERVATION_INTERRUPTION, end=NOON + 40 * MINUTE)

    assert deadline(reserved) == hard(NOON + 40 * MINUTE)


def test_a_capacity_reservation_of_which_aws_says_nothing_ends_after_two_minutes() -> None:
    reserved = event(EventKind.CAPACITY_RESERVATION_INTERRUPTION)

    assert deadline(reserved) == hard(NOON + 120 * SECOND)


def test_a_rebalance_recommendation_has_only_our_own_soft_timeout_from_now() -> None:
    recommended = event(EventKind.REBALANCE_RECOMMENDATION)

    assert deadline(recommended) == soft(NOON + 10 * SECOND + 30 * MINUTE)


@pytest.mark.parametrize(
    ("heartbeat_timeout", "lasts"),
    [
        (30 * SECOND, 3000 * SECOND),
        (35 * SECOND, 3500 * SECOND),
        # From here on it is our own timeout, which counts from now.
        (HOUR, 10 * SECOND + HOUR),
        (2 * HOUR, 10 * SECOND + HOUR),
    ],
)
def test_an_autoscaling_termination_ends_with_its_hook_or_our_timeout(
    heartbeat_timeout: dt.timedelta, lasts: dt.timedelta
) -> None:
    terminated = of_hook(EventKind.AUTOSCALING_TERMINATION, heartbeat_timeout)
    ends_at = NOON + deadlines.global_timeout(heartbeat_timeout)

    assert deadline(terminated).at == NOON + lasts
    assert deadline(terminated).last_at == ends_at
    assert deadline(terminated).is_hard


@pytest.mark.parametrize(
    ("heartbeat_timeout", "lasts"),
    [(30 * SECOND, 3000 * SECOND), (HOUR, 48 * HOUR), (2 * HOUR, 48 * HOUR)],
)
def test_an_autoscaling_launch_ends_with_its_hook(
    heartbeat_timeout: dt.timedelta, lasts: dt.timedelta
) -> None:
    launched = of_hook(EventKind.AUTOSCALING_LAUNCH, heartbeat_timeout)

    assert deadline(launched) == hard(NOON + lasts)


@pytest.mark.parametrize("state", [InstanceState.STOPPING, InstanceState.SHUTTING_DOWN])
def test_an_instance_on_its_way_out_has_two_minutes_from_the_event(state: InstanceState) -> None:
    changed = event(EventKind.STATE_CHANGE, state=state)

    assert deadline(changed) == hard(NOON + 120 * SECOND)
    assert not deadlines.is_instance_gone(changed)


@pytest.mark.parametrize("state", [InstanceState.STOPPED, InstanceState.TERMINATED])
def test_an_instance_that_is_gone_leaves_time_to_see_its_node_die(state: InstanceState) -> None:
    changed = event(EventKind.STATE_CHANGE, state=state)

    late = deadline(changed, after=HOUR)

    assert late == hard(NOON + HOUR + deadlines.DEAD_NODE_WINDOW)
    assert deadlines.is_instance_gone(changed)


def test_a_scheduled_change_ends_when_it_starts() -> None:
    assert deadline(event(EventKind.SCHEDULED_CHANGE, end=NOON + 48 * HOUR)) == hard(
        NOON + 48 * HOUR
    )


@pytest.mark.parametrize("start", [None, NOON - HOUR, NOON, NOON + 10 * SECOND])
def test_a_scheduled_change_that_may_begin_at_any_time_is_soft(start: dt.datetime | None) -> None:
    changed = event(EventKind.SCHEDULED_CHANGE, end=start)

    assert deadline(changed) == soft(NOON + 10 * SECOND + 30 * MINUTE)


# Late.


@pytest.mark.parametrize(
    "late",
    [
        event(EventKind.SPOT_INTERRUPTION),
        event(EventKind.CAPACITY_RESERVATION_INTERRUPTION),
        event(EventKind.CAPACITY_RESERVATION_INTERRUPTION, end=NOON + MINUTE),
        event(EventKind.CAPACITY_RESERVATION_INTERRUPTION, end=NOON - HOUR),
        event(EventKind.STATE_CHANGE, state=InstanceState.STOPPING),
        event(EventKind.AUTOSCALING_TERMINATION),
        event(EventKind.AUTOSCALING_LAUNCH),
    ],
)
def test_an_event_after_its_own_deadline_still_leaves_time_for_a_sigterm(
    late: InterruptionEvent,
) -> None:
    now = 49 * HOUR

    assert deadline(late, after=now) == hard(NOON + now + deadlines.LATE_WINDOW)
    assert deadlines.LATE_WINDOW >= 30 * SECOND


def test_the_very_moment_of_the_deadline_is_late_already() -> None:
    spot = event(EventKind.SPOT_INTERRUPTION)

    assert deadline(spot, after=120 * SECOND).at == NOON + 120 * SECOND + deadlines.LATE_WINDOW
    assert deadline(spot, after=119 * SECOND).at == NOON + 120 * SECOND


@pytest.mark.parametrize("kind", list(EventKind))
@pytest.mark.parametrize("after", [-HOUR, dt.timedelta(), 119 * SECOND, HOUR, 400 * 24 * HOUR])
@pytest.mark.parametrize("end", [None, NOON - HOUR, NOON, NOON + HOUR])
def test_every_deadline_lies_ahead(
    kind: EventKind, after: dt.timedelta, end: dt.datetime | None
) -> None:
    assert deadline(event(kind, end=end), after=after).at > NOON + after


# The lifecycle hook.


@pytest.mark.parametrize(
    ("heartbeat_timeout", "lives"),
    [
        (30 * SECOND, 50 * MINUTE),
        (1728 * SECOND, 48 * HOUR),
        (1729 * SECOND, 48 * HOUR),
        (2 * HOUR, 48 * HOUR),
    ],
)
def test_a_lifecycle_action_lives_a_hundred_heartbeats_or_two_days(
    heartbeat_timeout: dt.timedelta, lives: dt.timedelta
) -> None:
    assert deadlines.global_timeout(heartbeat_timeout) == lives


# The pod that a budget blocks.


@pytest.mark.parametrize(
    ("time_left", "grace", "seconds"),
    [
        # A second earlier, so that the whole of the grace fits.
        (120, 30, 89),
        (120, 10, 109),
        # A pod that needs less than the margin gets the margin.
        (120, 0, 109),
        (120, 5, 109),
        (120, 600, 0),
        (30, 30, 0),
        (10, 5, 0),
        (0, 30, 0),
        (-5, 30, 0),
    ],
)
def test_a_budget_rules_until_grace_or_margin_before_the_deadline(
    time_left: int, grace: int, seconds: int
) -> None:
    due_at = hard(NOON + time_left * SECOND).delete_blocked_at(
        grace=grace * SECOND, force_margin=10 * SECOND
    )

    assert max(due_at, NOON) == NOON + seconds * SECOND


@pytest.mark.parametrize(
    ("grace", "due"),
    [
        (0, HOUR - 11 * SECOND),
        (30, HOUR - 31 * SECOND),
        # The limit is ours: a long grace period is no reason to override a budget any earlier.
        (60, HOUR - 31 * SECOND),
        (2 * 3600, HOUR - 31 * SECOND),
        # Here it is the end that AWS has set.
        (47.5 * 3600, HOUR / 2 - SECOND),
        (50 * 3600, -2 * HOUR - SECOND),
    ],
)
def test_a_limit_of_our_own_overrides_no_budget_for_the_sake_of_a_long_grace_period(
    grace: float, due: dt.timedelta
) -> None:
    own = Deadline(at=NOON + HOUR, is_hard=True, instance_ends_at=NOON + 48 * HOUR)

    due_at = own.delete_blocked_at(grace=grace * SECOND, force_margin=10 * SECOND)

    assert due_at == NOON + due


@pytest.mark.parametrize(
    ("grace", "ends"),
    [
        (dt.timedelta(), HOUR),
        (30 * SECOND, HOUR),
        (90 * SECOND, HOUR + MINUTE),
        (2 * HOUR, 3 * HOUR - 30 * SECOND),
        (400 * HOUR, 48 * HOUR),
    ],
)
def test_a_pod_keeps_its_grace_period_past_a_limit_of_our_own(
    grace: dt.timedelta, ends: dt.timedelta
) -> None:
    own = Deadline(at=NOON + HOUR, is_hard=True, instance_ends_at=NOON + 48 * HOUR)

    assert own.ends_at(grace) == NOON + ends
    assert hard(NOON + HOUR).ends_at(grace) == NOON + HOUR
    assert soft(NOON + HOUR).ends_at(grace) == NOON + HOUR


@pytest.mark.parametrize(
    ("time_left", "grace", "seconds"),
    [
        (120, 30, 30),
        (120, 600, 120),
        (20, 30, 20),
        (20.9, 30, 20),
        (1.5, 30, 1),
        (0.2, 30, 1),
        (0, 30, 1),
        (-60, 30, 1),
        (120, 0, 1),
        (120, 0.5, 1),
    ],
)
def test_a_pod_that_is_deleted_gets_what_grace_fits_and_never_none(
    time_left: float, grace: float, seconds: int
) -> None:
    fitting = deadlines.grace_that_fits(time_left * SECOND, grace=grace * SECOND)

    assert fitting == seconds * SECOND


@pytest.mark.parametrize("time_left", [0, 1, 5, 10, 29, 30, 31, 120, 3600])
@pytest.mark.parametrize("grace", [1, 5, 10, 30, 120, 7200])
def test_a_pod_that_is_deleted_in_time_is_gone_by_the_deadline(time_left: int, grace: int) -> None:
    end = NOON + time_left * SECOND
    due_at = hard(end).delete_blocked_at(grace=grace * SECOND, force_margin=10 * SECOND)
    rest = end - max(due_at, NOON)

    assert deadlines.grace_that_fits(rest, grace=grace * SECOND) <= max(rest, SECOND)
