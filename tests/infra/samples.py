"""The events and the rules that they match: the samples of AWS, variants, and near misses."""

import datetime as dt
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from queue_processor.domain import aws_events, event_builder
from queue_processor.domain.aws_events import Origin
from queue_processor.domain.event_builder import EventOptions
from queue_processor.domain.events import EventKind, InstanceState, LifecycleHook
from queue_processor.simulator.aws import events

FOLDER = pathlib.Path(__file__).parents[1] / "data" / "events"

ACCOUNT = "123456789012"

_INSTANCE = "i-1234567890abcdef0"
_HEALTH = "health_ec2_instance_retirement_2026"
_TERMINATE = "asg_terminate_lifecycle_action_2026"
_LAUNCH = "asg_launch_lifecycle_action_2026"
_STATE = "instance_state_change"
_CAPACITY = "capacity_reservation_instance_interruption_warning"
_INTERRUPTIBLE = "EC2 Interruptible Capacity Reservation Instance Interruption Warning"
_CAPACITY_BLOCK = "capacity_block_instance_interruption_warning"

# The logical id of the rule that a sample matches. All the others match none.
_RULES: Mapping[str, str] = {
    "asg_launch_lifecycle_action": "AutoscalingLaunchRule",
    _LAUNCH: "AutoscalingLaunchRule",
    "asg_terminate_lifecycle_action": "AutoscalingTerminationRule",
    _TERMINATE: "AutoscalingTerminationRule",
    "asg_warmpool_launching_EC2_to_AutoScalingGroup": "AutoscalingLaunchRule",
    "asg_warmpool_launching_WarmPool_to_AutoScalingGroup": "AutoscalingLaunchRule",
    "asg_warmpool_terminating_AutoScalingGroup_to_WarmPool": "AutoscalingTerminationRule",
    _CAPACITY: "CapacityReservationInterruptionRule",
    _HEALTH: "ScheduledChangeRule",
    "rebalance_recommendation": "RebalanceRecommendationRule",
    "spot_interruption_warning": "SpotInterruptionRule",
}


def load(name: str) -> dict[str, Any]:
    """The sample of that name."""
    loaded: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    if "account" in loaded and not loaded["account"].isdecimal():
        # Some pages print who owns it: "[instance owner Account ID]".
        loaded["account"] = ACCOUNT
    return loaded


def changed(name: str, **detail: object) -> dict[str, Any]:
    """A sample with other fields in its detail; None takes a field out."""
    event = load(name)
    event["detail"] = {
        key: value for key, value in (event["detail"] | detail).items() if value is not None
    }
    return event


def _printed() -> dict[str, tuple[dict[str, Any], str | None]]:
    names = sorted(path.stem for path in FOLDER.glob("*.json"))
    return {name: (load(name), _RULES.get(name)) for name in names}


_ORIGIN = Origin(
    time=dt.datetime(2026, 8, 27, 12, tzinfo=dt.UTC),
    event_id="12345678-1234-1234-1234-123456789012",
    region="us-east-1",
    account=ACCOUNT,
)
_COMPOSED: Mapping[EventKind, str] = {
    EventKind.SPOT_INTERRUPTION: "SpotInterruptionRule",
    EventKind.CAPACITY_RESERVATION_INTERRUPTION: "CapacityReservationInterruptionRule",
    EventKind.REBALANCE_RECOMMENDATION: "RebalanceRecommendationRule",
    EventKind.AUTOSCALING_TERMINATION: "AutoscalingTerminationRule",
    EventKind.AUTOSCALING_LAUNCH: "AutoscalingLaunchRule",
    EventKind.STATE_CHANGE: "StateChangeRule",
    EventKind.SCHEDULED_CHANGE: "ScheduledChangeRule",
}


def _composed() -> dict[str, tuple[dict[str, Any], str | None]]:
    """An event of each kind as a person's drill sends it."""
    particulars = EventOptions(
        state=InstanceState.STOPPING, hook=LifecycleHook(group="workers", name="drain")
    )
    return {
        f"a composed {kind}": (
            event_builder.build_event(kind, _INSTANCE, particulars, origin=_ORIGIN),
            _COMPOSED[kind],
        )
        for kind in EventKind
    }


def _variants() -> dict[str, tuple[dict[str, Any], str | None]]:
    # The page prints `detail_type`, which EventBridge events do not have.
    block = load(_CAPACITY_BLOCK)
    block["detail-type"] = block.pop("detail_type")
    return {
        "a Capacity Block, with EventBridge's spelling": (
            block,
            "CapacityReservationInterruptionRule",
        ),
        "an interruptible capacity reservation, in its other spelling": (
            load(_CAPACITY) | {"detail-type": _INTERRUPTIBLE},
            "CapacityReservationInterruptionRule",
        ),
        "a Capacity Block, as the simulator makes it": (
            events.capacity_block_interruption(_INSTANCE),
            "CapacityReservationInterruptionRule",
        ),
        "an instance that hibernates": (
            aws_events.spot_interruption(_INSTANCE, action="hibernate", origin=events.new_origin()),
            "SpotInterruptionRule",
        ),
        **{
            f"an instance that is {state}": (changed(_STATE, state=state), "StateChangeRule")
            for state in ("stopping", "stopped", "shutting-down", "terminated", "running")
        },
        **{
            f"a scheduled change that is {status}": (
                changed(_HEALTH, statusCode=status),
                "ScheduledChangeRule",
            )
            for status in ("open", "upcoming", "closed")
        },
        **{
            f"a scheduled change without {field}": (
                changed(_HEALTH, **{field: None}),
                "ScheduledChangeRule",
            )
            for field in ("statusCode", "backupEvent", "eventScopeCode")
        },
        "an instance that goes back to its warm pool": (
            changed(_TERMINATE, Destination="WarmPool"),
            "AutoscalingTerminationRule",
        ),
        "a termination without Origin": (
            changed(_TERMINATE, Origin=None),
            "AutoscalingTerminationRule",
        ),
    }


def _near_misses() -> dict[str, tuple[dict[str, Any], str | None]]:
    missed = {
        **{
            f"an instance that is {state}": changed(_STATE, state=state)
            for state in ("pending", "rebooting")
        },
        "an event without a state": changed(_STATE, state=None),
        "the backup Region's copy": changed(_HEALTH, backupEvent="true"),
        "a scheduled change that concerns everybody": changed(_HEALTH, eventScopeCode="PUBLIC"),
        "a scheduled change of another service": changed(_HEALTH, service="RDS"),
        "an issue": changed(_HEALTH, eventTypeCategory="issue"),
        "a notification of the account": changed(_HEALTH, eventTypeCategory="accountNotification"),
        "an instance that leaves its warm pool for good": changed(_TERMINATE, Origin="WarmPool"),
        "an instance that is launched for a warm pool": changed(_LAUNCH, Destination="WarmPool"),
        "a launch that is called a termination": changed(
            _TERMINATE, LifecycleTransition="autoscaling:EC2_INSTANCE_LAUNCHING"
        ),
        **{
            f"a {kind} of another account": load(name) | {"account": "210987654321"}
            for kind, name in (
                ("Spot interruption", "spot_interruption_warning"),
                ("rebalance recommendation", "rebalance_recommendation"),
                ("capacity reservation", _CAPACITY),
                ("state change", _STATE),
                ("termination", _TERMINATE),
                ("launch", _LAUNCH),
                ("scheduled change", _HEALTH),
            )
        },
        "an event of an application": load("spot_interruption_warning") | {"source": "my.app"},
        "a lifecycle action of another service": load(_TERMINATE) | {"source": "aws.ec2"},
        "an event of another type": load("spot_interruption_warning")
        | {"detail-type": "EC2 Spot Instance Interruption"},
    }
    return {f"near miss: {name}": (event, None) for name, event in missed.items()}


EVENTS: Mapping[str, tuple[dict[str, Any], str | None]] = {
    **_printed(),
    **_composed(),
    **_variants(),
    **_near_misses(),
}
"""The events by name, each with the one rule that it matches, or None."""


def enveloped(event: Mapping[str, Any]) -> dict[str, Any]:
    """An event as EventBridge delivers it: with every field of its envelope, and of its type.

    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-events-structure.html
    """
    resources = event.get("resources", [])
    return {
        "version": "0",
        "id": "12345678-1234-1234-1234-123456789012",
        "detail-type": "none",
        "source": "none",
        "account": ACCOUNT,
        "time": "2026-01-27T01:43:21Z",
        "region": "us-east-1",
        "detail": {},
        **event,
        "resources": [resources] if isinstance(resources, str) else resources,
    }
