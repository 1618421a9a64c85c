"""Drills through EventBridge, in an AWS that keeps its own sources to itself."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from queue_processor.adapters.aws import eventbus
from queue_processor.domain import errors
from queue_processor.simulator.aws import simulator
from tests import pyenvironments
from tests.infra import ministack, pod, samples, templates

if TYPE_CHECKING:
    from types_boto3_events import EventBridgeClient

pytestmark = pytest.mark.timeout(pyenvironments.INSTALL_SECONDS)

SPOT = samples.EVENTS["a composed spot_interruption"][0]


def drill_statements(resources: dict[str, Any]) -> list[dict[str, Any]]:
    """What the replay role may do on a bus."""
    (policy,) = resources["ReplayRole"]["Properties"]["Policies"]
    return [
        statement
        for statement in policy["PolicyDocument"]["Statement"]
        if statement.get("Sid") == "Drill"
    ]


@pytest.fixture(scope="module")
def drills(emulator: ministack.Ministack) -> pod.Cloud:
    """A stack that lets people of the replay role drill; ministack knows no `events:source`."""
    template = ministack.without_what_it_lacks(templates.read(templates.QUEUE))
    (policy,) = template["Resources"]["ReplayRole"]["Properties"]["Policies"]
    for statement in policy["PolicyDocument"]["Statement"]:
        if "Fn::If" in statement and statement["Fn::If"][0] == "AllowsDrills":
            del statement["Fn::If"][1]["Condition"]
    outputs = emulator.deploy("drills", json.dumps(template), pod.PARAMETERS)
    return pod.Cloud(emulator.session, emulator.reached(), outputs)


@pytest.fixture
def person(drills: pod.Cloud) -> "Iterator[EventBridgeClient]":
    """EventBridge, for a person with the replay role."""
    client = drills.assume_replay_role().client("events", **drills.reach)
    yield client
    client.close()


def taken(drills: pod.Cloud) -> list[str]:
    """Take every message out of the queue."""
    found = []
    url = drills.outputs["QueueUrl"]
    with drills.client("sqs") as sqs:
        while messages := sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1
        ).get("Messages"):
            for message in messages:
                found.append(message["Body"])
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return found


def test_an_event_of_a_drill_reaches_the_queue_as_aws_words_it(
    person: "EventBridgeClient", drills: pod.Cloud
) -> None:
    bus = eventbus.EventBus(person, "default", source="drill")
    composed = [event for name, (event, _) in samples.EVENTS.items() if "composed" in name]

    ids = bus.put(composed)

    assert ids == [event["id"] for event in composed]
    arrived = {event["detail-type"]: event for event in map(json.loads, taken(drills))}
    assert arrived == {event["detail-type"]: event for event in composed}


def test_what_belongs_to_aws_is_refused_with_the_cure(drills: pod.Cloud) -> None:
    with drills.client("events") as client:
        bus = eventbus.EventBus(client, "default", source=None)

        with pytest.raises(errors.PermanentFault) as refused:
            bus.put([SPOT])

    said = str(refused.value)
    assert "refuses the source aws.ec2 (events:PutEvents: NotAuthorizedForSource" in said
    assert "send to the queue instead" in said
    assert taken(drills) == []


def test_the_replay_role_puts_nothing_on_another_bus(
    person: "EventBridgeClient", drills: pod.Cloud
) -> None:
    with drills.client("events") as client:
        client.create_event_bus(Name="other")

    with pytest.raises(errors.PermanentFault, match="the permission events:PutEvents"):
        eventbus.EventBus(person, "other", source="drill").put([SPOT])


def test_the_replay_role_uses_no_other_source(aws: simulator.AwsSimulator) -> None:
    (statement,) = drill_statements(templates.rendered(aws, templates.EVERYTHING))

    assert statement["Condition"] == {"StringEquals": {"events:source": "drill"}}


def test_nobody_drills_through_a_bus_unless_that_is_asked_for(
    aws: simulator.AwsSimulator,
) -> None:
    resources = templates.rendered(aws, {**templates.EVERYTHING, "DrillSource": ""})

    assert "DrillRule" not in resources
    assert drill_statements(resources) == []
