import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from queue_processor.domain import aws_events
from queue_processor.simulator.aws import events, simulator

if TYPE_CHECKING:
    from types_boto3_events import EventBridgeClient

    from tests.simulator.aws.conftest import Queue

SPOT = {"source": ["aws.ec2"], "detail-type": ["EC2 Spot Instance Interruption Warning"]}


@pytest.fixture(scope="module")
def bridge(running: simulator.AwsSimulator) -> "Iterator[EventBridgeClient]":
    client = running.session.client("events", endpoint_url=running.endpoint_url)
    yield client
    client.close()


def connect(
    bridge: "EventBridgeClient", queue: "Queue", *, permits: str = "arn:aws:events:*", **rule: str
) -> None:
    bridge.put_rule(Name="spot", EventPattern=json.dumps(SPOT), **rule)  # type: ignore[arg-type] # a state as text
    bridge.put_targets(Rule="spot", Targets=[{"Id": "queue", "Arn": queue.arn}])
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue.arn,
        "Condition": {"ArnLike": {"aws:SourceArn": permits}},
    }
    queue.client.set_queue_attributes(
        QueueUrl=queue.url,
        Attributes={"Policy": json.dumps({"Version": "2012-10-17", "Statement": [statement]})},
    )


def bodies(aws: simulator.AwsSimulator, queue: "Queue") -> list[Any]:
    return [json.loads(message.body) for message in aws.contents(queue.url)]


def test_an_event_of_a_service_arrives_as_it_is(
    aws: simulator.AwsSimulator, bridge: "EventBridgeClient", queue: "Queue"
) -> None:
    connect(bridge, queue)
    event = aws_events.spot_interruption("i-1", origin=events.new_origin())

    aws.put_events([event, aws_events.rebalance_recommendation("i-1", origin=events.new_origin())])

    assert bodies(aws, queue) == [event]


def test_an_event_that_was_put_has_account_region_and_time(
    aws: simulator.AwsSimulator, bridge: "EventBridgeClient", queue: "Queue"
) -> None:
    connect(bridge, queue)
    entry = {
        "Source": "aws.ec2",
        "DetailType": "EC2 Spot Instance Interruption Warning",
        "Detail": json.dumps({"instance-id": "i-1", "instance-action": 'say "stop"'}),
    }

    answer = bridge.put_events(Entries=[entry])  # type: ignore[list-item] # a plain dictionary

    (event,) = bodies(aws, queue)
    assert set(event) == set(aws_events.spot_interruption("i-1", origin=events.new_origin()))
    assert (event["account"], event["region"]) == ("123456789012", "us-east-1")
    assert event["id"] == answer["Entries"][0]["EventId"]
    assert event["time"].endswith("Z")
    assert event["detail"]["instance-action"] == 'say "stop"'


def test_a_disabled_rule_delivers_nothing(
    aws: simulator.AwsSimulator, bridge: "EventBridgeClient", queue: "Queue"
) -> None:
    connect(bridge, queue, State="DISABLED")

    aws.put_event(aws_events.spot_interruption("i-1", origin=events.new_origin()))

    assert bodies(aws, queue) == []


def test_a_queue_whose_policy_names_another_rule_gets_nothing(
    aws: simulator.AwsSimulator, bridge: "EventBridgeClient", queue: "Queue"
) -> None:
    connect(bridge, queue, permits="arn:aws:events:us-east-1:123456789012:rule/other")

    aws.put_event(aws_events.spot_interruption("i-1", origin=events.new_origin()))

    assert bodies(aws, queue) == []


def test_a_queue_that_is_gone_does_not_trouble_the_sender(
    aws: simulator.AwsSimulator, bridge: "EventBridgeClient", queue: "Queue"
) -> None:
    connect(bridge, queue)
    queue.client.delete_queue(QueueUrl=queue.url)

    aws.put_event(aws_events.spot_interruption("i-1", origin=events.new_origin()))


@pytest.mark.parametrize(
    ("detail_type", "is_matched"),
    [("EC2 Spot Instance Interruption Warning", True), ("EC2 Instance Rebalance", False)],
)
def test_a_pattern_can_be_tried_on_an_event(
    bridge: "EventBridgeClient", detail_type: str, *, is_matched: bool
) -> None:
    event = aws_events.spot_interruption("i-1", origin=events.new_origin())

    answer = bridge.test_event_pattern(
        EventPattern=json.dumps(SPOT), Event=json.dumps({**event, "detail-type": detail_type})
    )

    assert answer["Result"] is is_matched
