"""The bodies with which instance metadata (IMDS) announces something: the inverse of `notices`.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/rebalance-recommendations.html
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/viewing_scheduled_events.html
https://docs.aws.amazon.com/autoscaling/ec2/userguide/retrieving-target-lifecycle-state-through-imds.html
"""

import dataclasses
import datetime as dt
import enum
import json
from collections.abc import Sequence

from queue_processor.domain.json_fields import iso_time

# The target lifecycle state of an instance that stays.
IN_SERVICE = "InService"

# No matter which language a process speaks.
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class InterruptionAction(enum.StrEnum):
    """The actions of EC2 on a Spot instance that it interrupts."""

    TERMINATE = "terminate"
    STOP = "stop"
    HIBERNATE = "hibernate"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledEvent:
    """A scheduled event of one instance.

    Attributes:
        event_id: `instance-event-` and seventeen hexadecimal digits.
        code: One of those of `InstanceStatusEvent` in the API of EC2.
        starts_at: NotBefore.
        ends_at: NotAfter; None leaves the field out, as EC2 does for a stop and a retirement.
        state: `active`, `completed` or `canceled`.
    """

    event_id: str
    starts_at: dt.datetime
    ends_at: dt.datetime | None = None
    code: str = "instance-retirement"
    description: str = "The instance is running on degraded hardware"
    state: str = "active"

    def cancelled(self) -> "ScheduledEvent":
        """Return the event as the history has it once it is cancelled."""
        return dataclasses.replace(
            self, state="canceled", description=f"[Canceled] {self.description}"
        )


def instance_action(action: InterruptionAction, at: dt.datetime) -> str:
    """Return the body of `spot/instance-action`."""
    return json.dumps({"action": action.value, "time": iso_time(at)})


def termination_time(at: dt.datetime) -> str:
    """Return the body of the older `spot/termination-time`."""
    return iso_time(at)


def rebalance_recommendation(at: dt.datetime) -> str:
    """Return the body of `events/recommendations/rebalance`."""
    return json.dumps({"noticeTime": iso_time(at)})


def scheduled_events(events: Sequence[ScheduledEvent]) -> str:
    """Return the body of `events/maintenance/scheduled` and of `events/maintenance/history`."""
    if not events:
        return "[]"
    # The samples in the user guide are laid out by hand; this is the layout of EC2 itself.
    # https://github.com/banzaicloud/spot-termination-exporter/issues/14
    return f"[ {', '.join(_scheduled_event(event) for event in events)} ]"


def _scheduled_event(event: ScheduledEvent) -> str:
    fields = {
        "NotBefore": _gmt(event.starts_at),
        "Code": event.code,
        "Description": event.description,
        "EventId": event.event_id,
        "NotAfter": None if event.ends_at is None else _gmt(event.ends_at),
        "State": event.state,
    }
    present = {name: value for name, value in fields.items() if value is not None}
    return json.dumps(present, indent=2, separators=(",", " : "))


def _gmt(time: dt.datetime) -> str:
    """Return a time as scheduled events have it: `1 Jan 2021 02:00:00 GMT`."""
    utc = time.astimezone(dt.UTC)
    return f"{utc.day} {_MONTHS[utc.month - 1]} {utc.year:04} {utc:%H:%M:%S} GMT"
