import importlib
import json
import pathlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from queue_processor.simulator.aws import simulator, stacks
from tests.infra import pod, samples, templates

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient


@pytest.fixture
def stack(own: simulator.AwsSimulator) -> stacks.Stack:
    return own.deploy()


@pytest.fixture(scope="module")
def sqs(aws: simulator.AwsSimulator) -> "Iterator[SQSClient]":
    client = aws.session.client("sqs", endpoint_url=aws.endpoint_url)
    yield client
    client.close()


@pytest.fixture
def own(aws: simulator.AwsSimulator) -> Iterator[simulator.AwsSimulator]:
    aws.reset()
    yield aws
    aws.reset()


def attributes_of(client: "SQSClient", url: str) -> dict[str, Any]:
    answer = client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
    return {str(name): value for name, value in answer["Attributes"].items()}


@pytest.mark.parametrize("name", samples.EVENTS)
def test_an_event_reaches_the_queue_once_and_whole_if_it_is_ours(
    aws: simulator.AwsSimulator, stack: stacks.Stack, name: str
) -> None:
    event, rule = samples.EVENTS[name]

    aws.put_event(event)

    arrived = [json.loads(message.body) for message in aws.contents(stack.queue_url)]
    assert arrived == ([event] if rule else [])


def test_with_an_observer_a_copy_of_each_event_reaches_its_queue(
    own: simulator.AwsSimulator,
) -> None:
    stack = own.deploy(parameters={"CreateObserverQueue": "true"})
    observer_url = pod.in_simulator(own, stack).outputs["ObserverQueueUrl"]

    for event, _ in samples.EVENTS.values():
        own.put_event(event)

    expected = [event for event, rule in samples.EVENTS.values() if rule]
    for url in (stack.queue_url, observer_url):
        assert [json.loads(message.body) for message in own.contents(url)] == expected


@pytest.mark.parametrize("template", templates.ALL, ids=lambda path: path.stem)
def test_a_template_is_not_too_large_to_be_passed_without_a_bucket(template: pathlib.Path) -> None:
    # https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html
    assert template.stat().st_size <= 51_200


@pytest.mark.parametrize("rule", sorted({rule for _, rule in samples.EVENTS.values() if rule}))
def test_a_rule_that_the_policy_of_the_queue_leaves_out_brings_nothing(
    own: simulator.AwsSimulator, rule: str
) -> None:
    template = templates.read(templates.QUEUE)
    document = template["Resources"]["QueuePolicy"]["Properties"]["PolicyDocument"]
    sources = document["Statement"][0]["Condition"]["ArnEquals"]["aws:SourceArn"]
    sources.remove({"Fn::GetAtt": [rule, "Arn"]})
    own.deploy(json.dumps(template), parameters=templates.NO_ROLE)

    for event, matched in samples.EVENTS.values():
        if matched == rule:
            own.put_event(event)

    assert own.contents() == ()


def test_the_demo_deploys_this_very_template() -> None:
    assert stacks.own_template() == templates.QUEUE.read_text(encoding="utf-8")


def test_the_queue_is_encrypted_and_keeps_messages_until_a_change_that_is_weeks_ahead(
    stack: stacks.Stack, sqs: "SQSClient"
) -> None:
    attributes = attributes_of(sqs, stack.queue_url)

    assert attributes["SqsManagedSseEnabled"] == "true"
    assert attributes["MessageRetentionPeriod"] == str(14 * 24 * 3600)
    assert attributes["VisibilityTimeout"] == "30"
    assert json.loads(attributes["RedrivePolicy"]) == {
        "deadLetterTargetArn": stack.dead_letter_queue_arn,
        "maxReceiveCount": 50,
    }


def test_the_dead_letter_queue_is_encrypted_and_keeps_messages_as_long_as_it_can(
    stack: stacks.Stack, sqs: "SQSClient"
) -> None:
    attributes = attributes_of(sqs, stack.dead_letter_queue_url)

    assert attributes["SqsManagedSseEnabled"] == "true"
    assert attributes["MessageRetentionPeriod"] == str(14 * 24 * 3600)


@pytest.mark.parametrize("template", templates.ALL, ids=lambda path: path.stem)
def test_cfn_lint_finds_nothing(template: pathlib.Path) -> None:
    # Imported here because it takes seconds, which the other tests should not wait for.
    linter = importlib.import_module("cfnlint.api")
    config = importlib.import_module("cfnlint.config")

    found = linter.lint(
        template.read_text(encoding="utf-8"),
        config=config.ManualArgs(regions=["us-east-1"], include_checks=["I"]),
    )

    assert [str(match) for match in found] == []
