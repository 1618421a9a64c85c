"""Drills through EventBridge, in an AWS that keeps its own sources to itself."""

import json
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest

from queue_processor.simulator.aws import simulator
from tests import pyenvironments
from tests.infra import ministack, pod, samples, templates
from tests.messages.conftest import Result, Terminal, ThreadedCluster

pytestmark = pytest.mark.timeout(pyenvironments.INSTALL_SECONDS)

INSTANCE = "i-0123456789abcdef0"
SPOT = samples.EVENTS["a composed spot_interruption"][0]


def drill_statements(resources: dict[str, Any]) -> list[dict[str, Any]]:
    """The permissions of the replay role on a bus."""
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
    template = ministack.with_batches(template)
    (policy,) = template["Resources"]["ReplayRole"]["Properties"]["Policies"]
    for statement in policy["PolicyDocument"]["Statement"]:
        if "Fn::If" in statement and statement["Fn::If"][0] == "AllowsDrills":
            del statement["Fn::If"][1]["Condition"]
    outputs = emulator.deploy("drills", json.dumps(template), pod.PARAMETERS)
    return pod.Cloud(emulator.session, emulator.reached(), outputs)


@pytest.fixture
def run(
    drills: pod.Cloud,
    emulator: ministack.Ministack,
    tmp_path: pathlib.Path,
) -> Iterator[Terminal]:
    """A terminal of a person with the replay role, in a cluster with one node."""
    role = drills.assume_replay_role()
    credentials = role.get_credentials()
    assert credentials is not None
    cluster = ThreadedCluster(tmp_path)
    cluster.start()
    cluster.do(lambda made: made.add_node("node-0", instance_id=INSTANCE))
    yield Terminal(
        {
            **cluster.environment(),
            "AWS_ENDPOINT_URL": emulator.endpoint_url,
            "AWS_CA_BUNDLE": str(emulator.authority),
            "AWS_REGION": role.region_name,
            "AWS_ACCESS_KEY_ID": credentials.access_key,
            "AWS_SECRET_ACCESS_KEY": credentials.secret_key,
            "AWS_SESSION_TOKEN": credentials.token or "",
            "QUEUE_PROCESSOR_QUEUE_URL": drills.outputs["QueueUrl"],
        },
    )
    cluster.stop()


def taken(drills: pod.Cloud) -> list[str]:
    """Take every message out of the queue."""
    bodies = []
    url = drills.outputs["QueueUrl"]
    with drills.client("sqs") as sqs:
        while messages := sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1
        ).get("Messages"):
            for message in messages:
                bodies.append(message["Body"])
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return bodies


def send(run: Terminal, *arguments: str) -> Result:
    return run("send", "spot_interruption", "--node", "node-0", "--yes", *arguments)


def test_with_the_replay_role_a_drill_goes_to_the_queue(run: Terminal, drills: pod.Cloud) -> None:
    result = send(run)

    assert result.code == 0
    (body,) = taken(drills)
    assert json.loads(body)["detail"]["instance-id"] == INSTANCE


def test_through_a_bus_it_reaches_the_queue_as_aws_words_it(
    run: Terminal, drills: pod.Cloud
) -> None:
    result = send(run, "--event-bus", "default", "--source", "drill", "--output", "json")

    (body,) = taken(drills)
    event = json.loads(body)
    assert event == {**SPOT, **{key: event[key] for key in ("id", "time", "resources", "detail")}}
    assert event["detail"] == {**SPOT["detail"], "instance-id": INSTANCE}
    assert result.data()["sent"] == [
        {"instance": INSTANCE, "node": "node-0", "event_id": event["id"]}
    ]


def test_a_source_of_aws_is_refused_with_the_cure(run: Terminal, drills: pod.Cloud) -> None:
    result = send(run, "--event-bus", "default")

    assert result.code == 1
    assert "AWS refuses events on a bus whose source begins with aws." in result.err
    last = result.err.splitlines()[-1]
    assert last.startswith("send: the event bus default refuses the source aws.ec2 (events:PutEve")
    assert "NotAuthorizedForSourceException" in last
    assert "send to the queue instead" in last
    assert "0 spot_interruption events sent to the event bus default, 1 left" in result.out
    assert taken(drills) == []


def test_the_replay_role_puts_nothing_on_another_bus(run: Terminal, drills: pod.Cloud) -> None:
    with drills.client("events") as client:
        client.create_event_bus(Name="other")

    result = send(run, "--event-bus", "other", "--source", "drill")

    assert result.code == 1
    assert "the permission events:PutEvents on the event bus other is missing" in result.err


def test_the_replay_role_uses_no_other_source(aws: simulator.AwsSimulator) -> None:
    (statement,) = drill_statements(templates.rendered(aws, templates.EVERYTHING))

    assert statement["Condition"] == {"StringEquals": {"events:source": "drill"}}


def test_nobody_drills_through_a_bus_unless_that_is_asked_for(
    aws: simulator.AwsSimulator,
) -> None:
    resources = templates.rendered(aws, {**templates.EVERYTHING, "DrillSource": ""})

    assert "DrillRule" not in resources
    assert drill_statements(resources) == []
