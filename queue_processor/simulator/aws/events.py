"""Events of the simulated AWS: their origins, and the bodies that only AWS sends.

The other events have their makers in `domain.aws_events`.

https://docs.aws.amazon.com/autoscaling/ec2/userguide/prepare-for-lifecycle-notifications.html
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/capacity-blocks-monitor.html
"""

import datetime as dt
import uuid
from typing import Any

from queue_processor.domain import aws_events
from queue_processor.simulator.aws.sqs import ACCOUNT, REGION


def new_origin(
    time: dt.datetime | None = None, event_id: str | None = None, region: str = REGION
) -> aws_events.Origin:
    """Return the origin of a new event in the simulated account: now, unless a time is given."""
    return aws_events.Origin(
        time=time or dt.datetime.now(tz=dt.UTC),
        event_id=event_id or str(uuid.uuid4()),
        region=region,
        account=ACCOUNT,
    )


def new_step(group: str, hook: str, **fields: Any) -> aws_events.LifecycleStep:  # noqa: ANN401 - those of a LifecycleStep
    """Return what a hook holds back; each time another action, unless its token is given."""
    return aws_events.LifecycleStep(group, hook, **{"token": str(uuid.uuid4()), **fields})


def new_change(starts_at: dt.datetime, **fields: Any) -> aws_events.ScheduledChange:  # noqa: ANN401 - those of a ScheduledChange
    """Return a new AWS Health event."""
    arn = f"arn:aws:health:{REGION}::event/{uuid.uuid4().int}"
    return aws_events.ScheduledChange(starts_at, arn, **fields)


def capacity_block_interruption(
    instance_id: str,
    *,
    terminates_at: dt.datetime | None = None,
    zone_id: str = "use1-az1",
    origin: aws_events.Origin | None = None,
) -> aws_events.Event:
    """Return the event of a Capacity Block that ends: EC2 terminates its instances."""
    event = aws_events.capacity_reservation_interruption(
        instance_id, terminates_at=terminates_at, origin=origin or new_origin()
    )
    detail = event["detail"]
    if isinstance(detail, dict):
        detail |= {"availability-zone-id": zone_id, "instance-lifecycle": "capacity-block"}
    return event


def lifecycle_notification(
    instance_id: str,
    step: aws_events.LifecycleStep,
    transition: str,
    *,
    origin: aws_events.Origin | None = None,
) -> aws_events.Event:
    """Return what Auto Scaling sends to the notification target of a hook, without EventBridge.

    `transition` is `autoscaling:EC2_INSTANCE_TERMINATING` or `..._LAUNCHING`.
    """
    origin = origin or new_origin()
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


def hook_test_notification(
    group: str, *, origin: aws_events.Origin | None = None
) -> aws_events.Event:
    """Return what Auto Scaling sends to the notification target when a group gets a hook."""
    origin = origin or new_origin()
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
