"""Interruption events as AWS prints them, made from what they are about.

Each function returns the event as a dictionary ready for ``json.dumps``. Times are in UTC.

The shapes: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
and its sister pages for the rebalance recommendation, the state change and interruptible capacity
reservations; https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-event-reference.html;
https://docs.aws.amazon.com/health/latest/ug/aws-health-events-eventbridge-schema.html
"""

import dataclasses
import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from email import utils as email_utils
from typing import TypeAlias

from queue_processor.domain import json_fields
from queue_processor.domain.deadlines import INTERRUPTION_NOTICE
from queue_processor.domain.events import LifecycleTransition

Event: TypeAlias = dict[str, object]

# From where to where, as Origin and Destination of a lifecycle action say it.
LAUNCH_PATH = ("EC2", "AutoScalingGroup")
TERMINATION_PATH = ("AutoScalingGroup", "EC2")

RETIREMENT = "AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED"


@dataclasses.dataclass(frozen=True)
class Origin:
    """The place and time of an event; a new one for each event, unless its id is to repeat.

    Attributes:
        time: When it happened.
        event_id: The id of the event.
        region: The region it happened in.
        account: The account that owns the instance.
        partition: The part of AWS that the region belongs to.
    """

    time: dt.datetime
    event_id: str
    region: str
    account: str
    partition: str = "aws"

    def instance_arn(self, instance_id: str) -> str:
        """Return the ARN of an instance."""
        return f"arn:{self.partition}:ec2:{self.region}:{self.account}:instance/{instance_id}"

    def group_arn(self, group: str) -> str:
        """Return the ARN of an Auto Scaling group."""
        group_id = uuid.uuid5(uuid.NAMESPACE_URL, f"{self.account}/{self.region}/{group}")
        return (
            f"arn:{self.partition}:autoscaling:{self.region}:{self.account}:autoScalingGroup"
            f":{group_id}:autoScalingGroupName/{group}"
        )


@dataclasses.dataclass(frozen=True)
class LifecycleStep:
    """The lifecycle action that an event is about.

    Attributes:
        group: The name of the Auto Scaling group.
        hook: The name of the lifecycle hook.
        token: The token of the lifecycle action, a UUID.
        metadata: The NotificationMetadata of the hook; None leaves the field out.
        origin: Where the instance comes from: EC2, AutoScalingGroup or WarmPool; None leaves the
            field out, as events before 2021 do.
        destination: Where it goes, likewise.
    """

    group: str
    hook: str
    token: str
    metadata: str | None = None
    origin: str | None = None
    destination: str | None = None


@dataclasses.dataclass(frozen=True)
class ScheduledChange:
    """One AWS Health event, of which every page is an event of EventBridge.

    Attributes:
        starts_at: When the change happens.
        arn: The ARN of the Health event; equal on all of its pages.
        code: The eventTypeCode.
        status: ``upcoming``, ``open`` or ``closed``.
        page: The number of this page, from 1.
        total_pages: How many there are.
        backup: Whether this is the copy for the backup region; None leaves the field out.
        names_arns: Whether instances are named by ARN and not by id.
        resolved: The instances for which the change is over, or will not take place.
    """

    starts_at: dt.datetime
    arn: str
    code: str = RETIREMENT
    status: str = "upcoming"
    page: int = 1
    total_pages: int = 1
    backup: bool | None = False
    names_arns: bool = False
    resolved: frozenset[str] = frozenset()


def spot_interruption(instance_id: str, *, action: str = "terminate", origin: Origin) -> Event:
    """Make an event: EC2 stops, terminates or hibernates a Spot instance in two minutes."""
    return _ec2_event(
        "EC2 Spot Instance Interruption Warning",
        {"instance-id": instance_id, "instance-action": action},
        origin,
    )


def rebalance_recommendation(instance_id: str, *, origin: Origin) -> Event:
    """Make an event: EC2 expects to take a Spot instance back."""
    return _ec2_event("EC2 Instance Rebalance Recommendation", {"instance-id": instance_id}, origin)


def state_change(instance_id: str, state: str, *, origin: Origin) -> Event:
    """Make an event: the instance is in this state, such as `stopping`."""
    return _ec2_event(
        "EC2 Instance State-change Notification",
        {"instance-id": instance_id, "state": state},
        origin,
    )


def capacity_reservation_interruption(
    instance_id: str,
    *,
    terminates_at: dt.datetime | None = None,
    zone_id: str | None = None,
    origin: Origin,
) -> Event:
    """Make an event: the owner of an interruptible capacity reservation takes it back.

    Args:
        instance_id: Of the instance that goes.
        terminates_at: Two minutes after the event when it is not given.
        zone_id: The id of its Availability Zone; None leaves the field out.
        origin: Where and when.
    """
    terminates_at = terminates_at or origin.time + INTERRUPTION_NOTICE
    fields = {
        "instance-id": instance_id,
        "instance-action": "terminate",
        "instance-termination-time": json_fields.iso_time(terminates_at),
        "azId": zone_id,
    }
    return _ec2_event(
        "EC2 Capacity Reservation Instance Interruption Warning", _without_none(fields), origin
    )


def autoscaling_termination(instance_id: str, step: LifecycleStep, *, origin: Origin) -> Event:
    """Make an event: a group waits at a hook before it terminates an instance."""
    return _lifecycle_event("terminate", LifecycleTransition.TERMINATING, instance_id, step, origin)


def autoscaling_launch(instance_id: str, step: LifecycleStep, *, origin: Origin) -> Event:
    """Make an event: a group waits at a hook before it puts an instance into service."""
    return _lifecycle_event("launch", LifecycleTransition.LAUNCHING, instance_id, step, origin)


def scheduled_change(
    instance_ids: Sequence[str], change: ScheduledChange, *, origin: Origin
) -> Event:
    """Make an event: AWS Health announces a change for instances, those of one page."""
    entities = [origin.instance_arn(i) if change.names_arns else i for i in instance_ids]
    statuses = ["RESOLVED" if i in change.resolved else "PENDING" for i in instance_ids]
    detail: Event = {
        "eventArn": change.arn,
        "service": "EC2",
        "eventTypeCode": change.code,
        "eventTypeCategory": "scheduledChange",
        "eventScopeCode": "ACCOUNT_SPECIFIC",
        "communicationId": f"{uuid.uuid5(uuid.NAMESPACE_URL, change.arn).hex}-{change.page}",
        "startTime": _rfc1123(change.starts_at),
        "lastUpdatedTime": _rfc1123(origin.time),
        "statusCode": change.status,
        "eventRegion": origin.region,
        "eventDescription": [
            {"language": "en_US", "latestDescription": f"{change.code} for your instances."}
        ],
        "affectedEntities": [
            {
                "entityValue": entity,
                "lastUpdatedTime": _rfc1123(origin.time),
                "status": status,
            }
            for entity, status in zip(entities, statuses, strict=True)
        ],
        "affectedAccount": origin.account,
        "page": str(change.page),
        "totalPages": str(change.total_pages),
    }
    if change.backup is not None:
        detail["backupEvent"] = "true" if change.backup else "false"
    detail["personas"] = ["OPERATIONS"]
    return _event("aws.health", "AWS Health Event", entities, detail, origin)


def _lifecycle_event(
    verb: str,
    transition: LifecycleTransition,
    instance_id: str,
    step: LifecycleStep,
    origin: Origin,
) -> Event:
    fields = {
        "LifecycleActionToken": step.token,
        "AutoScalingGroupName": step.group,
        "LifecycleHookName": step.hook,
        "EC2InstanceId": instance_id,
        "LifecycleTransition": transition.value,
        "NotificationMetadata": step.metadata,
        "Origin": step.origin,
        "Destination": step.destination,
    }
    return _event(
        "aws.autoscaling",
        f"EC2 Instance-{verb} Lifecycle Action",
        [origin.group_arn(step.group)],
        _without_none(fields),
        origin,
    )


def _without_none(fields: Mapping[str, str | None]) -> Mapping[str, str]:
    return {name: value for name, value in fields.items() if value is not None}


def _ec2_event(detail_type: str, detail: Mapping[str, object], origin: Origin) -> Event:
    resources = [origin.instance_arn(str(detail["instance-id"]))]
    return _event("aws.ec2", detail_type, resources, detail, origin)


def _event(
    source: str,
    detail_type: str,
    resources: Sequence[str],
    detail: Mapping[str, object],
    origin: Origin,
) -> Event:
    return {
        "version": "0",
        "id": origin.event_id,
        "detail-type": detail_type,
        "source": source,
        "account": origin.account,
        "time": json_fields.iso_time(origin.time),
        "region": origin.region,
        "resources": list(resources),
        "detail": dict(detail),
    }


def _rfc1123(time: dt.datetime) -> str:
    return email_utils.format_datetime(time.astimezone(dt.UTC), usegmt=True)
