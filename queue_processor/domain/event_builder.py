"""An event of any kind, about one instance: the inverse of `parsing`."""

import dataclasses
import datetime as dt
import enum
import uuid
from typing import assert_never

from queue_processor.domain import aws_events, errors
from queue_processor.domain.aws_events import Event, Origin
from queue_processor.domain.events import EventKind, InstanceState, LifecycleHook


class ChangeStatus(enum.StrEnum):
    """The status of a scheduled change.

    https://docs.aws.amazon.com/health/latest/APIReference/API_Event.html
    """

    UPCOMING = "upcoming"
    OPEN = "open"
    CLOSED = "closed"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EventOptions:
    """Details that only some kinds of events have.

    Attributes:
        state: Of a state change.
        hook: Of a lifecycle action.
        starts_in: How long after the event a scheduled change takes place.
        status: Of a scheduled change; a closed one does not take place after all.
    """

    state: InstanceState | None = None
    hook: LifecycleHook | None = None
    starts_in: dt.timedelta = dt.timedelta(days=14)
    status: ChangeStatus = ChangeStatus.UPCOMING


def build_event(
    kind: EventKind, instance_id: str, particulars: EventOptions, *, origin: Origin
) -> Event:
    """Make an event of any kind, about one instance.

    Raises:
        UsageError: The particulars lack what events of this kind say.
    """
    match kind:
        case EventKind.SPOT_INTERRUPTION:
            event = aws_events.spot_interruption(instance_id, origin=origin)
        case EventKind.CAPACITY_RESERVATION_INTERRUPTION:
            event = aws_events.capacity_reservation_interruption(instance_id, origin=origin)
        case EventKind.REBALANCE_RECOMMENDATION:
            event = aws_events.rebalance_recommendation(instance_id, origin=origin)
        case EventKind.AUTOSCALING_TERMINATION:
            step = _step(kind, particulars, aws_events.TERMINATION_PATH, origin)
            event = aws_events.autoscaling_termination(instance_id, step, origin=origin)
        case EventKind.AUTOSCALING_LAUNCH:
            step = _step(kind, particulars, aws_events.LAUNCH_PATH, origin)
            event = aws_events.autoscaling_launch(instance_id, step, origin=origin)
        case EventKind.STATE_CHANGE:
            if particulars.state is None:
                raise errors.UsageError(f"{kind} needs a state: {', '.join(InstanceState)}")
            event = aws_events.state_change(instance_id, particulars.state, origin=origin)
        case EventKind.SCHEDULED_CHANGE:
            event = aws_events.scheduled_change(
                [instance_id], _change(instance_id, particulars, origin), origin=origin
            )
        case _:
            assert_never(kind)
    return event


def _step(
    kind: EventKind, particulars: EventOptions, path: tuple[str, str], origin: Origin
) -> aws_events.LifecycleStep:
    hook = particulars.hook
    if hook is None:
        raise errors.UsageError(f"{kind} needs a group and a hook: it is about a lifecycle action")
    return aws_events.LifecycleStep(
        group=hook.group,
        hook=hook.name,
        token=str(uuid.uuid5(uuid.NAMESPACE_URL, origin.event_id)),
        origin=path[0],
        destination=path[1],
    )


def _change(
    instance_id: str, particulars: EventOptions, origin: Origin
) -> aws_events.ScheduledChange:
    # One change for each instance: a later event with another status is about the same one.
    number = uuid.uuid5(uuid.NAMESPACE_URL, instance_id).int
    return aws_events.ScheduledChange(
        starts_at=origin.time + particulars.starts_in,
        arn=f"arn:{origin.partition}:health:{origin.region}::event/{aws_events.RETIREMENT}_{number}",
        status=particulars.status,
    )
