import datetime as dt
import email.utils
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from queue_processor.domain import errors, json_fields, parsing
from queue_processor.domain.events import (
    BodyShape,
    EventKind,
    Ignored,
    InstanceState,
    InterruptionEvent,
    LifecycleAction,
    LifecycleHook,
    LifecycleTransition,
)
from queue_processor.domain.identifiers import InstanceId

SAMPLES = pathlib.Path(__file__).parents[1] / "data" / "events"
SENT = dt.datetime(2026, 8, 27, 12, 0, tzinfo=dt.UTC)
MESSAGE_ID = "message-1"
INSTANCE = InstanceId("i-1234567890abcdef0")
ARN = f"arn:aws:ec2:us-east-1:123456789012:instance/{INSTANCE}"


def parse(body: str) -> InterruptionEvent | Ignored:
    return parsing.parse(body, message_id=MESSAGE_ID, sent_at=SENT)


def parse_event(fields: Mapping[str, object]) -> InterruptionEvent:
    event = parse(json.dumps(fields))
    assert isinstance(event, InterruptionEvent), event
    return event


def parse_ignored(fields: Mapping[str, object]) -> Ignored:
    event = parse(json.dumps(fields))
    assert isinstance(event, Ignored), event
    return event


def fault_of(body: str) -> str:
    with pytest.raises(errors.MalformedMessage) as caught:
        parse(body)
    return str(caught.value)


def sample(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((SAMPLES / name).read_text(encoding="utf-8"))
    return loaded


def spot(**fields: object) -> dict[str, object]:
    event: dict[str, object] = {
        "version": "0",
        "id": "event-1",
        "detail-type": "EC2 Spot Instance Interruption Warning",
        "source": "aws.ec2",
        "time": "2026-08-27T11:59:00Z",
        "resources": [ARN],
        "detail": {"instance-id": INSTANCE, "instance-action": "terminate"},
    }
    return event | fields


def state_change(state: object) -> dict[str, object]:
    return spot(**{"detail-type": "EC2 Instance State-change Notification"}) | {
        "detail": {"instance-id": INSTANCE, "state": state}
    }


def lifecycle(**detail: object) -> dict[str, object]:
    named = {
        "LifecycleActionToken": "token-1",
        "AutoScalingGroupName": "workers",
        "LifecycleHookName": "drain",
        "EC2InstanceId": INSTANCE,
        "LifecycleTransition": "autoscaling:EC2_INSTANCE_TERMINATING",
    }
    return {
        "id": "event-1",
        "detail-type": "EC2 Instance-terminate Lifecycle Action",
        "source": "aws.autoscaling",
        "time": "2026-08-27T11:59:00Z",
        "detail": named | detail,
    }


def notification(**fields: object) -> dict[str, object]:
    sent: dict[str, object] = {
        "Service": "AWS Auto Scaling",
        "Time": "2026-08-27T11:59:00.414Z",
        "RequestId": "request-1",
        "LifecycleActionToken": "token-1",
        "AutoScalingGroupName": "workers",
        "LifecycleHookName": "drain",
        "EC2InstanceId": INSTANCE,
        "LifecycleTransition": "autoscaling:EC2_INSTANCE_TERMINATING",
    }
    return sent | fields


def health(*entities: object, **detail: object) -> dict[str, object]:
    shared_detail = {
        "service": "EC2",
        "eventTypeCode": "AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED",
        "eventTypeCategory": "scheduledChange",
        "startTime": "Fri, 28 Aug 2026 13:19:03 GMT",
        "statusCode": "open",
        "affectedEntities": [{"entityValue": entity} for entity in entities],
        "page": "1",
        "totalPages": "1",
        "backupEvent": "false",
    }
    return {
        "id": "event-1",
        "detail-type": "AWS Health Event",
        "source": "aws.health",
        "time": "2026-08-27T11:59:00Z",
        "resources": [],
        "detail": shared_detail | detail,
    }


def through_sns(fields: Mapping[str, object]) -> dict[str, object]:
    return {
        "Type": "Notification",
        "MessageId": "sns-message-1",
        "TopicArn": "arn:aws:sns:us-east-1:123456789012:interruptions",
        "Message": json.dumps(fields),
        "Timestamp": "2026-08-27T11:59:30.000Z",
    }


def shape_of(fields: Mapping[str, object]) -> BodyShape | None:
    return parse_event(fields).shape


# Every sample as AWS prints it.

HOOK = LifecycleHook(group="my-asg", name="my-lifecycle-hook")
LAUNCH_HOOK = LifecycleHook(group="my-asg", name="my-launch-lifecycle-hook")
NO_EVENT_OF_OURS = "no event of ours"
NOT_JSON = "body: not JSON"

EVENTS = {
    "spot_interruption_warning.json": (EventKind.SPOT_INTERRUPTION, INSTANCE, None),
    "rebalance_recommendation.json": (EventKind.REBALANCE_RECOMMENDATION, INSTANCE, None),
    "asg_launch_lifecycle_action.json": (EventKind.AUTOSCALING_LAUNCH, INSTANCE, HOOK),
    "asg_launch_lifecycle_action_2026.json": (EventKind.AUTOSCALING_LAUNCH, INSTANCE, HOOK),
    "asg_terminate_lifecycle_action.json": (EventKind.AUTOSCALING_TERMINATION, INSTANCE, HOOK),
    "asg_terminate_lifecycle_action_2026.json": (
        EventKind.AUTOSCALING_TERMINATION,
        INSTANCE,
        HOOK,
    ),
    "asg_lifecycle_raw_sqs_body.sanitised.json": (
        EventKind.AUTOSCALING_TERMINATION,
        INSTANCE,
        LifecycleHook(group="my-asg", name="my-hook"),
    ),
    "asg_warmpool_launching_EC2_to_WarmPool.json": (
        EventKind.AUTOSCALING_LAUNCH,
        INSTANCE,
        LAUNCH_HOOK,
    ),
    "asg_warmpool_launching_WarmPool_to_AutoScalingGroup.json": (
        EventKind.AUTOSCALING_LAUNCH,
        INSTANCE,
        LAUNCH_HOOK,
    ),
    "asg_warmpool_launching_EC2_to_AutoScalingGroup.json": (
        EventKind.AUTOSCALING_LAUNCH,
        INSTANCE,
        LAUNCH_HOOK,
    ),
    "asg_warmpool_terminating_AutoScalingGroup_to_WarmPool.json": (
        EventKind.AUTOSCALING_TERMINATION,
        INSTANCE,
        LifecycleHook(group="my-asg", name="my-termination-lifecycle-hook"),
    ),
    "health_ec2_instance_retirement_2026.json": (EventKind.SCHEDULED_CHANGE, INSTANCE, None),
}

IGNORED = {
    "instance_state_change.json": "the instance is 'pending'",
    "asg_scaling_notification.sanitised.json": "'autoscaling:EC2_INSTANCE_LAUNCH'",
    "asg_test_notification_raw_sqs_body.sanitised.json": "a test notification",
    "health_ec2_instance_store_backup_event.json": "category 'issue'",
    "health_ec2_operational_issue_public.json": "category 'issue'",
    "asg_launch_successful.json": NO_EVENT_OF_OURS,
    "asg_terminate_successful.json": NO_EVENT_OF_OURS,
    "asg_terminate_unsuccessful.json": NO_EVENT_OF_OURS,
    "capacity_block_delivered.json": NO_EVENT_OF_OURS,
    "capacity_block_expiration_warning.json": NO_EVENT_OF_OURS,
    "interruptible_cr_reclamation_completed.json": NO_EVENT_OF_OURS,
    "ec2_fleet_error.json": NO_EVENT_OF_OURS,
    "ec2_fleet_information.json": NO_EVENT_OF_OURS,
    "ec2_fleet_instance_change.json": NO_EVENT_OF_OURS,
    "ec2_fleet_spot_instance_request_change.json": NO_EVENT_OF_OURS,
    "ec2_fleet_state_change.json": NO_EVENT_OF_OURS,
    "spot_fleet_error.json": NO_EVENT_OF_OURS,
    "spot_fleet_information.json": NO_EVENT_OF_OURS,
    "spot_fleet_instance_change.json": NO_EVENT_OF_OURS,
    "spot_fleet_spot_instance_request_change.json": NO_EVENT_OF_OURS,
    "spot_fleet_state_change.json": NO_EVENT_OF_OURS,
}

MALFORMED = {
    # These two print a placeholder where the instance id belongs.
    "capacity_reservation_instance_interruption_warning.json": "instance-id: '[instance-id]'",
    "capacity_block_instance_interruption_warning.json": "instance-id: '[Instance ID]'",
    "asg_lifecycle_sns_or_sqs_message_keyvalue.txt": NOT_JSON,
    "asg_test_notification_keyvalue.txt": NOT_JSON,
    "health_cw_elb_api_issue.txt": NOT_JSON,
    "health_cw_format.txt": NOT_JSON,
    "health_cw_instance_store.txt": NOT_JSON,
}


def test_every_sample_has_a_case() -> None:
    on_disk = {path.name for path in SAMPLES.iterdir() if path.name != "README.md"}

    assert sorted([*EVENTS, *IGNORED, *MALFORMED]) == sorted(on_disk)


@pytest.mark.parametrize("name", EVENTS)
def test_a_sample_of_an_interruption_becomes_an_event(name: str) -> None:
    kind, instance_id, hook = EVENTS[name]

    event = parse((SAMPLES / name).read_text(encoding="utf-8"))

    assert isinstance(event, InterruptionEvent)
    assert (event.kind, event.instance_ids) == (kind, (instance_id,))
    action = event.lifecycle_action
    assert (action.hook if action else None) == hook
    assert action is None or action.instance_id == instance_id


@pytest.mark.parametrize("name", IGNORED)
def test_a_sample_that_asks_for_nothing_is_ignored_with_a_reason(name: str) -> None:
    event = parse((SAMPLES / name).read_text(encoding="utf-8"))

    assert isinstance(event, Ignored)
    assert IGNORED[name] in event.reason


@pytest.mark.parametrize("name", MALFORMED)
def test_a_sample_that_cannot_be_understood_says_where(name: str) -> None:
    assert MALFORMED[name] in fault_of((SAMPLES / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "name",
    [
        "capacity_reservation_instance_interruption_warning.json",
        "capacity_block_instance_interruption_warning.json",
    ],
)
def test_a_capacity_sample_with_its_placeholders_filled_in_becomes_an_event(name: str) -> None:
    filled = sample(name)
    filled["detail"] |= {
        "instance-id": INSTANCE,
        "instance-termination-time": "2026-08-27T12:02:00Z",
    }

    event = parse_event(filled)

    assert event.kind is EventKind.CAPACITY_RESERVATION_INTERRUPTION
    assert event.instance_ids == (INSTANCE,)
    assert event.scheduled_at == dt.datetime(2026, 8, 27, 12, 2, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    "detail_type",
    [
        "EC2 Capacity Reservation Instance Interruption Warning",
        "EC2 Interruptible Capacity Reservation Instance Interruption Warning",
    ],
)
def test_both_spellings_of_a_capacity_interruption_are_the_same_kind(detail_type: str) -> None:
    end = {"instance-termination-time": "2026-08-27T12:02:00Z"}
    fields = spot(**{"detail-type": detail_type}, detail={"instance-id": INSTANCE} | end)

    event = parse_event(fields)

    assert event.kind is EventKind.CAPACITY_RESERVATION_INTERRUPTION
    assert event.scheduled_at == dt.datetime(2026, 8, 27, 12, 2, tzinfo=dt.UTC)


# The shapes of a body.


def test_an_eventbridge_event_keeps_its_id_and_its_time() -> None:
    assert parse_event(spot()) == InterruptionEvent(
        event_id="event-1",
        kind=EventKind.SPOT_INTERRUPTION,
        shape=BodyShape.EVENTBRIDGE,
        instance_ids=(INSTANCE,),
        occurred_at=dt.datetime(2026, 8, 27, 11, 59, tzinfo=dt.UTC),
    )


def test_an_event_states_its_account_and_its_region() -> None:
    event = parse_event(spot(account="111122223333", region="eu-west-1"))

    assert (event.account, event.region) == ("111122223333", "eu-west-1")


def test_a_notification_of_autoscaling_states_its_account_alone() -> None:
    event = parse_event(notification(AccountId="111122223333"))

    assert (event.account, event.region) == ("111122223333", None)


@pytest.mark.parametrize("event", [spot(), lifecycle(), health(INSTANCE), notification()])
def test_an_event_without_an_account_is_an_event_all_the_same(event: dict[str, object]) -> None:
    assert parse_event(event).account is None


@pytest.mark.parametrize(
    "fields",
    [spot(account=111122223333), spot(region=["eu-west-1"]), notification(AccountId={})],
)
def test_an_account_or_region_that_is_no_text_is_malformed(fields: dict[str, object]) -> None:
    assert "where a text is needed" in fault_of(json.dumps(fields))


def test_the_same_event_inside_an_sns_notification_says_the_same() -> None:
    direct, wrapped = parse_event(spot()), parse_event(through_sns(spot()))

    assert wrapped.shape is BodyShape.SNS
    assert (wrapped.event_id, wrapped.kind, wrapped.instance_ids, wrapped.occurred_at) == (
        direct.event_id,
        direct.kind,
        direct.instance_ids,
        direct.occurred_at,
    )


def test_an_autoscaling_notification_carries_its_whole_lifecycle_action() -> None:
    assert parse_event(notification()) == InterruptionEvent(
        event_id="request-1",
        kind=EventKind.AUTOSCALING_TERMINATION,
        shape=BodyShape.AUTOSCALING,
        instance_ids=(INSTANCE,),
        occurred_at=dt.datetime(2026, 8, 27, 11, 59, 0, 414_000, tzinfo=dt.UTC),
        lifecycle_action=LifecycleAction(
            hook=LifecycleHook(group="workers", name="drain"),
            transition=LifecycleTransition.TERMINATING,
            instance_id=INSTANCE,
            token="token-1",  # noqa: S106 it names an action
        ),
    )


def test_an_autoscaling_notification_comes_through_sns_too() -> None:
    event = parse_event(through_sns(notification()))

    assert event.shape is BodyShape.SNS
    assert event.kind is EventKind.AUTOSCALING_TERMINATION
    assert event.event_id == "request-1"


def test_an_autoscaling_notification_of_a_launch_is_a_launch() -> None:
    launching = notification(LifecycleTransition="autoscaling:EC2_INSTANCE_LAUNCHING")

    event = parse_event(launching)

    assert event.kind is EventKind.AUTOSCALING_LAUNCH
    assert event.lifecycle_action is not None
    assert event.lifecycle_action.transition is LifecycleTransition.LAUNCHING


@pytest.mark.parametrize("wrap", [dict, through_sns])
def test_a_test_notification_is_ignored_in_every_shape(wrap: Any) -> None:  # noqa: ANN401
    fields = {"Event": "autoscaling:TEST_NOTIFICATION", "RequestId": "request-1"}

    ignored = parse_ignored(wrap(fields))

    assert ignored.event_id == "request-1"
    assert "test notification" in ignored.reason


@pytest.mark.parametrize("wrap", [dict, through_sns])
@pytest.mark.parametrize(
    "happened",
    [
        "autoscaling:EC2_INSTANCE_LAUNCH",
        "autoscaling:EC2_INSTANCE_LAUNCH_ERROR",
        "autoscaling:EC2_INSTANCE_TERMINATE",
        "autoscaling:EC2_INSTANCE_TERMINATE_ERROR",
        "autoscaling:SOMETHING_NEW",
    ],
)
def test_a_scaling_notification_on_the_topic_of_the_hooks_is_ignored(
    wrap: Callable[[Mapping[str, object]], Mapping[str, object]], happened: str
) -> None:
    fields = sample("asg_scaling_notification.sanitised.json") | {"Event": happened}

    assert repr(happened) in parse_ignored(wrap(fields)).reason


def test_a_notification_about_a_transition_that_is_new_is_ignored() -> None:
    transition = "autoscaling:EC2_INSTANCE_HIBERNATING"

    assert transition in parse_ignored(notification(LifecycleTransition=transition)).reason


def test_an_eventbridge_event_about_type_notification_is_not_taken_for_sns() -> None:
    assert shape_of(spot(Type="Notification")) is BodyShape.EVENTBRIDGE


@pytest.mark.parametrize("version", ["0", "1", "99", "", 7, None, [], {"major": 2}])
def test_the_version_of_an_event_makes_no_difference(version: object) -> None:
    assert parse_event(spot(version=version)) == parse_event(spot())


def test_an_event_without_a_version_makes_no_difference() -> None:
    fields = spot()
    del fields["version"]

    assert parse_event(fields) == parse_event(spot())


def test_fields_that_nobody_knows_are_tolerated_everywhere() -> None:
    detail = {"instance-id": INSTANCE, "news": {"deep": [1, None]}}

    assert parse_event(spot(detail=detail, news=[1])) == parse_event(spot())


@pytest.mark.parametrize(
    ("source", "detail_type"),
    [
        ("aws.s3", "Object Created"),
        ("aws.ec2", "EBS Volume Notification"),
        ("my.app", "EC2 Spot Instance Interruption Warning"),
        ("aws.autoscaling", "EC2 Spot Instance Interruption Warning"),
        ("AWS.EC2", "EC2 Spot Instance Interruption Warning"),
        ("", ""),
    ],
)
def test_an_event_of_another_source_or_type_is_ignored(source: str, detail_type: str) -> None:
    ignored = parse_ignored(spot(source=source, **{"detail-type": detail_type}))

    assert repr(source) in ignored.reason
    assert repr(detail_type) in ignored.reason


def test_an_event_of_another_type_may_lack_everything_else() -> None:
    ignored = parse_ignored({"source": "my.app", "detail-type": "Something"})

    assert ignored.event_id == MESSAGE_ID


# The id of an event.


@pytest.mark.parametrize("bad", [None, 7, "", "x" * 129, "two\nlines", "\ud800", ["event-1"]])
def test_an_event_without_a_usable_id_takes_the_id_of_its_message(bad: object) -> None:
    assert parse_event(spot(id=bad)).event_id == MESSAGE_ID


# Which states and transitions count.


@pytest.mark.parametrize("state", ["stopping", "shutting-down", "stopped", "terminated"])
def test_a_state_that_takes_the_node_away_becomes_an_event(state: str) -> None:
    event = parse_event(state_change(state))

    assert event.kind is EventKind.STATE_CHANGE
    assert event.instance_state is InstanceState(state)
    assert not event.is_cancelled


@pytest.mark.parametrize("start", ["9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "3000-01-01"])
def test_a_start_that_is_centuries_away_is_no_time(start: str) -> None:
    assert json_fields.read_time(start) is None


def test_an_instance_that_runs_again_cancels_its_state_changes() -> None:
    event = parse_event(state_change("running"))

    assert event.kind is EventKind.STATE_CHANGE
    assert event.is_cancelled


@pytest.mark.parametrize("state", ["pending", "rebooting", "hibernating", ""])
def test_a_state_that_takes_no_node_away_is_ignored(state: str) -> None:
    assert repr(state) in parse_ignored(state_change(state)).reason


@pytest.mark.parametrize("build", [lifecycle, notification])
@pytest.mark.parametrize("destination", ["EC2", "WarmPool", None])
def test_an_instance_that_leaves_its_warm_pool_for_good_is_left_alone(
    build: Callable[..., dict[str, object]], destination: str | None
) -> None:
    ignored = parse_ignored(build(Origin="WarmPool", Destination=destination))

    assert "warm pool" in ignored.reason


@pytest.mark.parametrize("build", [lifecycle, notification])
@pytest.mark.parametrize("destination", ["EC2", "WarmPool", None])
def test_an_instance_that_leaves_its_group_is_drained_wherever_it_goes(
    build: Callable[..., dict[str, object]], destination: str | None
) -> None:
    event = parse_event(build(Origin="AutoScalingGroup", Destination=destination))

    assert event.kind is EventKind.AUTOSCALING_TERMINATION
    assert event.lifecycle_action is not None


def test_the_detail_type_decides_between_launch_and_termination() -> None:
    event = parse_event(lifecycle() | {"detail-type": "EC2 Instance-launch Lifecycle Action"})

    assert event.kind is EventKind.AUTOSCALING_LAUNCH
    assert event.lifecycle_action is not None
    assert event.lifecycle_action.transition is LifecycleTransition.LAUNCHING


@pytest.mark.parametrize("token", [None, "", 7, ["token"], "half a pair \udfff"])
def test_a_lifecycle_action_without_a_usable_token_is_still_one(token: object) -> None:
    action = parse_event(lifecycle(LifecycleActionToken=token)).lifecycle_action

    assert action is not None
    assert action.token is None


# What is missing or mistyped says where and why.


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "neither detail-type nor LifecycleTransition"),
        ({"Records": []}, "neither detail-type nor LifecycleTransition"),
        ({"Type": "SubscriptionConfirmation", "Message": "x"}, "neither detail-type"),
        ({"Type": "Notification", "Message": {"a": 1}}, "Message: a dict"),
        ({"Type": "Notification", "Message": None}, "Message: missing"),
        ({"Type": "Notification", "Message": "plain words"}, "Message: not JSON"),
        ({"Type": "Notification", "Message": "[]"}, "Message: not a JSON object"),
        ({"Type": "Notification", "Message": "[" * 100_000}, "Message: nested too deeply"),
        (spot(source=None), "source: missing"),
        (spot(source=7), "source: a int"),
        (spot(**{"detail-type": None}), "detail-type: missing"),
        (spot(detail=None), "detail: missing"),
        (spot(detail="text"), "detail: a str"),
        (spot(detail=[]), "detail: a list"),
        (spot(detail={}), "instance-id: missing"),
        (spot(detail={"instance-id": 7}), "instance-id: a int"),
        (spot(detail={"instance-id": ""}), "instance-id: '' is no instance id"),
        (spot(detail={"instance-id": "i-1"}), "instance-id: 'i-1' is no instance id"),
        (spot(detail={"instance-id": f"{INSTANCE}\n"}), "is no instance id"),
        (spot(detail={"instance-id": [INSTANCE]}), "instance-id: a list"),
        (spot(time=1_700_000_000), "time: a int"),
        (state_change(None), "state: missing"),
        (state_change(16), "state: a int"),
        (lifecycle(EC2InstanceId=None), "EC2InstanceId: missing"),
        (lifecycle(AutoScalingGroupName=None), "AutoScalingGroupName: missing"),
        (lifecycle(AutoScalingGroupName=""), "AutoScalingGroupName: empty"),
        (lifecycle(AutoScalingGroupName="\ud800"), "AutoScalingGroupName: '\\ud800' is no Unicode"),
        (lifecycle(LifecycleHookName=7), "LifecycleHookName: a int"),
        (notification(EC2InstanceId="fargate"), "EC2InstanceId: 'fargate'"),
        (notification(LifecycleTransition="NEWS"), "LifecycleTransition: 'NEWS'"),
        (notification(LifecycleTransition=None), "LifecycleTransition: missing"),
        (notification(Time=7), "time: a int"),
        (health(INSTANCE, service=None), "service: missing"),
        (health(INSTANCE, eventTypeCategory=7), "eventTypeCategory: a int"),
        (health(INSTANCE, affectedEntities=7), "affectedEntities: a int"),
        (health(INSTANCE, affectedEntities={}), "affectedEntities: a dict"),
        (health(INSTANCE, affectedEntities=[7]), "affectedEntities: an item is not an object"),
        (health(INSTANCE, affectedEntities=[{}]), "entityValue: missing"),
        (health(7), "entityValue: a int"),
        (health(INSTANCE) | {"resources": 7}, "resources: a int"),
    ],
)
def test_a_body_that_lacks_what_its_kind_needs_says_where_and_why(
    fields: dict[str, object], said: str
) -> None:
    assert said in fault_of(json.dumps(fields))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("", "body: not JSON"),
        ("plain words", "body: not JSON"),
        ("{", "body: not JSON"),
        ("\ufeff{}", "body: not JSON"),
        ("9" * 5000, "body: not JSON"),
        ("null", "body: not a JSON object"),
        ("[]", "body: not a JSON object"),
        ('"text"', "body: not a JSON object"),
        ("NaN", "body: not a JSON object"),
        ("[" * 100_000, "body: nested too deeply"),
        ('{"a":' * 100_000, "body: nested too deeply"),
    ],
)
def test_a_body_that_is_no_json_object_says_so(body: str, said: str) -> None:
    assert said in fault_of(body)


def test_what_a_fault_quotes_is_short_whatever_the_body_holds() -> None:
    endless = "x" * 2**20

    assert len(fault_of(json.dumps(spot(detail={"instance-id": endless})))) < 200
    assert len(parse_ignored(spot(source=endless, **{"detail-type": endless})).reason) < 250


# When it happened.


def utc(hour: int, minute: int, second: int = 0) -> dt.datetime:
    return dt.datetime(2026, 8, 27, hour, minute, second, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("time", "occurred_at"),
    [
        ("2026-08-27T11:58:30Z", utc(11, 58, 30)),
        ("2026-08-27T11:58:30.500Z", utc(11, 58, 30).replace(microsecond=500_000)),
        ("2026-08-27T13:58:30+02:00", utc(11, 58, 30)),
        ("2026-08-27T11:58:30", utc(11, 58, 30)),
        ("Thu, 27 Aug 2026 11:58:30 GMT", utc(11, 58, 30)),
        ("Thu, 27 Aug 2026 07:58:30 -0400", utc(11, 58, 30)),
        ("Thu, 27 Aug 2026 11:58:30 -0000", utc(11, 58, 30)),
        ("2016-08-27T11:58:30Z", dt.datetime(2016, 8, 27, 11, 58, 30, tzinfo=dt.UTC)),
    ],
)
def test_the_time_of_an_event_is_read_as_utc(time: str, occurred_at: dt.datetime) -> None:
    event = parse_event(spot(time=time))

    assert event.occurred_at == occurred_at
    assert event.occurred_at.utcoffset() == dt.timedelta()


@pytest.mark.parametrize(
    "time",
    [
        None,
        "",
        "yyyy-mm-ddThh:mm:ssZ",
        "[Current time]",
        "yesterday",
        "2026-02-30T00:00:00Z",
        "Thu, 27 Aug 99999999999999999999 11:58:30 GMT",
        "Thu, 27 Aug 2026 11:58:30 +99999999999999999999",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-12:00",
        "\ud800",
        "9" * 5000,
    ],
)
def test_an_event_whose_time_cannot_be_read_happened_when_it_was_sent(time: str | None) -> None:
    assert parse_event(spot(time=time)).occurred_at == SENT


@pytest.mark.parametrize(
    "time", ["2026-08-27T12:00:01Z", "2026-08-28T00:00:00Z", "9999-12-31T23:59:59Z"]
)
def test_an_event_from_the_future_happened_when_it_was_sent(time: str) -> None:
    assert parse_event(spot(time=time)).occurred_at == SENT


def test_an_event_without_a_time_happened_when_it_was_sent() -> None:
    fields = spot()
    del fields["time"]

    assert parse_event(fields).occurred_at == SENT


@pytest.mark.parametrize("end", [None, "soon", 7, [], "yyyy-mm-ddThh:mm:ssZ"])
def test_a_capacity_reservation_whose_end_cannot_be_read_has_none(end: object) -> None:
    fields = spot(
        **{"detail-type": "EC2 Capacity Reservation Instance Interruption Warning"},
        detail={"instance-id": INSTANCE, "instance-termination-time": end},
    )

    assert parse_event(fields).scheduled_at is None


# AWS Health.


def test_a_scheduled_change_says_when_it_starts() -> None:
    start = dt.datetime(2026, 8, 28, 13, 19, 3, tzinfo=dt.UTC)

    assert parse_event(health(INSTANCE)).scheduled_at == start
    iso = parse_event(health(INSTANCE, startTime=start.isoformat()))
    assert iso.scheduled_at == start
    rfc = parse_event(health(INSTANCE, startTime=email.utils.format_datetime(start)))
    assert rfc.scheduled_at == start


@pytest.mark.parametrize("start", [None, "", "soon", 7, {"at": "noon"}])
def test_a_scheduled_change_whose_start_cannot_be_read_has_none(start: object) -> None:
    assert parse_event(health(INSTANCE, startTime=start)).scheduled_at is None


def test_a_scheduled_change_names_every_instance_once_as_id_or_as_arn() -> None:
    others = ("i-00000000000000001", "i-0000002")
    fields = health(
        INSTANCE, ARN, "arn:aws-cn:ec2:cn-north-1:1:instance/i-00000000000000002", "i-abcd1111"
    ) | {"resources": [others[0], ARN, others[1], 7, None]}

    assert parse_event(fields).instance_ids == (
        "i-00000000000000001",
        INSTANCE,
        "i-00000000000000002",
        "i-abcd1111",
    )


def test_every_page_of_a_scheduled_change_is_an_event_about_its_own_instances() -> None:
    first = parse_event(health("i-00000001", page="1", totalPages="2"))
    second = parse_event(health("i-00000002", page="2", totalPages="2"))

    assert (first.instance_ids, second.instance_ids) == (("i-00000001",), ("i-00000002",))


def test_a_scheduled_change_may_name_its_instances_in_resources_alone() -> None:
    fields = health() | {"resources": ARN}
    detail = fields["detail"]
    assert isinstance(detail, dict)
    del detail["affectedEntities"]

    assert parse_event(fields).instance_ids == (INSTANCE,)


@pytest.mark.parametrize(
    "entities",
    [
        (),
        ("vol-0123456789abcdef0",),
        ("AWS_ACCOUNT", "arn:aws:ec2:us-east-1:1:volume/vol-0123456789abcdef0"),
    ],
)
def test_a_scheduled_change_that_names_no_instance_is_ignored(entities: tuple[str, ...]) -> None:
    assert "names no instance" in parse_ignored(health(*entities)).reason


def test_other_entities_beside_an_instance_are_passed_over() -> None:
    event = parse_event(health("vol-0123456789abcdef0", INSTANCE, ""))

    assert event.instance_ids == (INSTANCE,)


@pytest.mark.parametrize("backup", ["true", "True", True])
def test_the_backup_regions_copy_is_ignored(backup: object) -> None:
    assert "backup" in parse_ignored(health(INSTANCE, backupEvent=backup)).reason


@pytest.mark.parametrize("backup", ["false", False, None, "", {"a": []}, []])
def test_anything_else_is_no_backup_copy(backup: object) -> None:
    assert parse_event(health(INSTANCE, backupEvent=backup)).instance_ids == (INSTANCE,)


@pytest.mark.parametrize(
    "detail",
    [
        {"service": "RDS"},
        {"eventTypeCategory": "issue"},
        {"eventTypeCategory": "accountNotification"},
    ],
)
def test_a_health_event_that_schedules_no_change_on_ec2_is_ignored(
    detail: dict[str, object],
) -> None:
    assert "Health event" in parse_ignored(health(INSTANCE, **detail)).reason


@pytest.mark.parametrize(
    ("statuses", "resolved", "is_cancelled"),
    [
        (["RESOLVED", "PENDING"], {"i-00000000"}, False),
        (["PENDING", "RESOLVED"], {"i-00000001"}, False),
        (["RESOLVED", "RESOLVED"], set(), True),
        (["PENDING", None], set(), False),
        (["IMPAIRED", "UNKNOWN"], set(), False),
        ([["RESOLVED"], 7], set(), False),
    ],
)
def test_an_instance_that_is_resolved_in_an_open_change_is_cancelled_alone(
    statuses: list[object], resolved: set[str], *, is_cancelled: bool
) -> None:
    named = ["i-00000000", "i-00000001"]
    entities = [
        {"entityValue": entity, "status": status}
        for entity, status in zip(named, statuses, strict=True)
    ]

    event = parse_event(health(affectedEntities=entities) | {"resources": named})

    assert list(event.instance_ids) == named
    assert event.is_cancelled is is_cancelled
    assert event.resolved_ids == resolved


def test_an_instance_that_is_named_twice_is_resolved_when_both_entities_are() -> None:
    entities = [
        {"entityValue": INSTANCE, "status": "RESOLVED"},
        {"entityValue": ARN, "status": "PENDING"},
    ]

    event = parse_event(health(affectedEntities=entities))

    assert (event.is_cancelled, event.resolved_ids) == (False, frozenset())


@pytest.mark.parametrize(
    ("status", "is_cancelled"),
    [("closed", True), ("open", False), ("upcoming", False), (None, False), ([], False)],
)
def test_a_closed_scheduled_change_is_withdrawn(status: object, *, is_cancelled: bool) -> None:
    event = parse_event(health(INSTANCE, statusCode=status))

    assert event.is_cancelled is is_cancelled
    assert event.instance_ids == (INSTANCE,)
