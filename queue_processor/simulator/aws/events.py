"""Interruption events of the simulated AWS: each arises now and here, unless it is told.

The events that the program can make too have their shapes in `domain.aws_events`; those that only
AWS sends are made here, by
https://docs.aws.amazon.com/autoscaling/ec2/userguide/prepare-for-lifecycle-notifications.html
and https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/capacity-blocks-monitor.html
"""

import dataclasses
import datetime as dt
import uuid
from collections.abc import Sequence
from typing import TypeAlias

from queue_processor.domain import aws_events

Event: TypeAlias = aws_events.Event


@dataclasses.dataclass(frozen=True)
class Origin(aws_events.Origin):
    """Where and when an event arises; a new one for each event, unless its id is to repeat."""

    time: dt.datetime = dataclasses.field(default_factory=lambda: dt.datetime.now(tz=dt.UTC))
    event_id: str = dataclasses.field(default_factory=lambda: str(uuid.uuid4()))
    region: str = "us-east-1"
    account: str = "123456789012"


@dataclasses.dataclass(frozen=True)
class LifecycleStep(aws_events.LifecycleStep):
    """What a lifecycle hook holds up; each time another action."""

    token: str = dataclasses.field(default_factory=lambda: str(uuid.uuid4()))


@dataclasses.dataclass(frozen=True)
class ScheduledChange(aws_events.ScheduledChange):
    """One AWS Health event, of which every page is an event of EventBridge."""

    arn: str = dataclasses.field(
        default_factory=lambda: f"arn:aws:health:us-east-1::event/{uuid.uuid4().int}"
    )


def spot_interruption(
    instance_id: str, *, action: str = "terminate", origin: Origin | None = None
) -> Event:
    """EC2 takes a Spot instance back in two minutes: it will stop, terminate or hibernate it."""
    return aws_events.spot_interruption(instance_id, action=action, origin=origin or Origin())


def rebalance_recommendation(instance_id: str, *, origin: Origin | None = None) -> Event:
    """EC2 expects to take a Spot instance back."""
    return aws_events.rebalance_recommendation(instance_id, origin=origin or Origin())


def state_change(instance_id: str, state: str, *, origin: Origin | None = None) -> Event:
    """An instance is pending, running, stopping, stopped, shutting-down or terminated."""
    return aws_events.state_change(instance_id, state, origin=origin or Origin())


def capacity_reservation_interruption(
    instance_id: str,
    *,
    terminates_at: dt.datetime | None = None,
    zone_id: str = "use1-az1",
    origin: Origin | None = None,
) -> Event:
    """The owner of an interruptible capacity reservation takes it back."""
    return aws_events.capacity_reservation_interruption(
        instance_id, terminates_at=terminates_at, zone_id=zone_id, origin=origin or Origin()
    )


def capacity_block_interruption(
    instance_id: str,
    *,
    terminates_at: dt.datetime | None = None,
    zone_id: str = "use1-az1",
    origin: Origin | None = None,
) -> Event:
    """A Capacity Block ends, and EC2 terminates its instances."""
    event = capacity_reservation_interruption(
        instance_id, terminates_at=terminates_at, zone_id=zone_id, origin=origin
    )
    detail = event["detail"]
    if isinstance(detail, dict):
        detail["availability-zone-id"] = detail.pop("azId")
        detail["instance-lifecycle"] = "capacity-block"
    return event


def autoscaling_termination(
    instance_id: str, step: aws_events.LifecycleStep, *, origin: Origin | None = None
) -> Event:
    """A group waits at a lifecycle hook before it terminates an instance."""
    return aws_events.autoscaling_termination(instance_id, step, origin=origin or Origin())


def autoscaling_launch(
    instance_id: str, step: aws_events.LifecycleStep, *, origin: Origin | None = None
) -> Event:
    """A group waits at a lifecycle hook before it takes a new instance into service."""
    return aws_events.autoscaling_launch(instance_id, step, origin=origin or Origin())


def scheduled_change(
    instance_ids: Sequence[str],
    change: aws_events.ScheduledChange,
    *,
    origin: Origin | None = None,
) -> Event:
    """AWS Health announces a change for instances; those of one page of the announcement."""
    return aws_events.scheduled_change(instance_ids, change, origin=origin or Origin())


def lifecycle_notification(
    instance_id: str, step: LifecycleStep, transition: str, *, origin: Origin | None = None
) -> Event:
    """What Auto Scaling sends to the notification target of a hook, without EventBridge.

    ``transition`` is ``autoscaling:EC2_INSTANCE_TERMINATING`` or ``…_LAUNCHING``.
    """
    origin = origin or Origin()
    fields = {
        "LifecycleHookName": step.hook,
        "AccountId": origin.account,
        "RequestId": origin.event_id,
        "LifecycleTransition": transition,
        "AutoScalingGroupName": step.group,
        "Service": "AWS Auto Scaling",
        "Time": _iso_milliseconds(origin.time),
        "EC2InstanceId": instance_id,
        "NotificationMetadata": step.metadata,
        "LifecycleActionToken": step.token,
    }
    return {name: value for name, value in fields.items() if value is not None}


def hook_test_notification(group: str, *, origin: Origin | None = None) -> Event:
    """What Auto Scaling sends to the notification target when a hook is added to a group."""
    origin = origin or Origin()
    return {
        "AccountId": origin.account,
        "RequestId": origin.event_id,
        "AutoScalingGroupARN": origin.group_arn(group),
        "AutoScalingGroupName": group,
        "Service": "AWS Auto Scaling",
        "Event": "autoscaling:TEST_NOTIFICATION",
        "Time": _iso_milliseconds(origin.time),
    }


def _iso_milliseconds(time: dt.datetime) -> str:
    milliseconds = time.astimezone(dt.UTC).isoformat(timespec="milliseconds")
    return milliseconds.replace("+00:00", "Z")
