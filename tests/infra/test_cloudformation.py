import importlib
import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

from queue_processor.simulator.aws import events, simulator, stacks

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

ROOT = pathlib.Path(__file__).parents[2]
SAMPLES = ROOT / "tests" / "data" / "events"
TEMPLATE = ROOT / "infra" / "cloudformation" / "queue-processor.yaml"
INSTANCE = "i-1234567890abcdef0"

WANTED = {
    "asg_launch_lifecycle_action",
    "asg_launch_lifecycle_action_2026",
    "asg_terminate_lifecycle_action",
    "asg_terminate_lifecycle_action_2026",
    "asg_warmpool_launching_EC2_to_AutoScalingGroup",
    "asg_warmpool_launching_WarmPool_to_AutoScalingGroup",
    "capacity_reservation_instance_interruption_warning",
    "health_ec2_instance_retirement_2026",
    "rebalance_recommendation",
    "spot_interruption_warning",
}


@pytest.fixture(scope="module")
def aws() -> Iterator[simulator.AwsSimulator]:
    with simulator.AwsSimulator() as running:
        yield running


@pytest.fixture(scope="module")
def stack(aws: simulator.AwsSimulator) -> stacks.Stack:
    return aws.deploy(TEMPLATE.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def sqs(aws: simulator.AwsSimulator) -> "Iterator[SQSClient]":
    client = aws.session.client("sqs", endpoint_url=aws.endpoint_url)
    yield client
    client.close()


def sample(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))
    return loaded


def changed(name: str, **detail: object) -> dict[str, Any]:
    event = sample(name)
    event["detail"] = {
        key: value for key, value in (event["detail"] | detail).items() if value is not None
    }
    return event


def queued(
    aws: simulator.AwsSimulator, stack: stacks.Stack, event: Mapping[str, object]
) -> list[Any]:
    before = len(aws.contents(stack.queue_url))
    aws.put_event(event)
    return [json.loads(message.body) for message in aws.contents(stack.queue_url)[before:]]


def attributes_of(client: "SQSClient", url: str) -> dict[str, Any]:
    answer = client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
    return {str(name): value for name, value in answer["Attributes"].items()}


@pytest.mark.parametrize("name", sorted(WANTED))
def test_an_interruption_reaches_the_queue_once_and_whole(
    aws: simulator.AwsSimulator, stack: stacks.Stack, name: str
) -> None:
    event = sample(name)

    assert queued(aws, stack, event) == [event]


@pytest.mark.parametrize("name", sorted({path.stem for path in SAMPLES.glob("*.json")} - WANTED))
def test_other_samples_do_not_reach_the_queue(
    aws: simulator.AwsSimulator, stack: stacks.Stack, name: str
) -> None:
    assert queued(aws, stack, sample(name)) == []


@pytest.mark.parametrize(
    "event",
    [
        changed("health_ec2_instance_retirement_2026", backupEvent=None),
        changed("health_ec2_instance_retirement_2026", statusCode="closed"),
        changed("asg_terminate_lifecycle_action_2026", Origin="WarmPool"),
        *(
            changed("instance_state_change", state=state)
            for state in ("stopping", "stopped", "shutting-down", "terminated")
        ),
        events.spot_interruption(INSTANCE, action="hibernate"),
        events.rebalance_recommendation(INSTANCE),
        events.capacity_reservation_interruption(INSTANCE),
        events.capacity_block_interruption(INSTANCE),
    ],
    ids=lambda event: f"{event['detail-type']}-{len(str(event['detail']))}",
)
def test_a_variant_of_an_interruption_reaches_the_queue_once(
    aws: simulator.AwsSimulator, stack: stacks.Stack, event: dict[str, Any]
) -> None:
    assert queued(aws, stack, event) == [event]


@pytest.mark.parametrize(
    "event",
    [
        changed("health_ec2_instance_retirement_2026", backupEvent="true"),
        changed("health_ec2_instance_retirement_2026", service="RDS"),
        changed("health_ec2_instance_retirement_2026", eventTypeCategory="accountNotification"),
        changed("asg_terminate_lifecycle_action_2026", Destination="WarmPool"),
        changed("asg_launch_lifecycle_action_2026", Destination="WarmPool"),
        changed("instance_state_change", state="running"),
        sample("spot_interruption_warning") | {"source": "my.application"},
        sample("asg_terminate_lifecycle_action") | {"source": "aws.ec2"},
    ],
    ids=lambda event: f"{event['source']}-{len(str(event['detail']))}",
)
def test_a_near_miss_does_not_reach_the_queue(
    aws: simulator.AwsSimulator, stack: stacks.Stack, event: dict[str, Any]
) -> None:
    assert queued(aws, stack, event) == []


def test_the_queue_is_encrypted_and_keeps_messages_for_a_day(
    stack: stacks.Stack, sqs: "SQSClient"
) -> None:
    attributes = attributes_of(sqs, stack.queue_url)

    assert attributes["SqsManagedSseEnabled"] == "true"
    assert attributes["MessageRetentionPeriod"] == str(24 * 3600)
    assert attributes["VisibilityTimeout"] == "30"
    assert json.loads(attributes["RedrivePolicy"]) == {
        "deadLetterTargetArn": stack.dead_letter_queue_arn,
        "maxReceiveCount": 20,
    }


def test_the_dead_letter_queue_is_encrypted_and_keeps_messages_as_long_as_it_can(
    stack: stacks.Stack, sqs: "SQSClient"
) -> None:
    attributes = attributes_of(sqs, stack.dead_letter_queue_url)

    assert attributes["SqsManagedSseEnabled"] == "true"
    assert attributes["MessageRetentionPeriod"] == str(14 * 24 * 3600)


def test_nobody_is_let_in_without_a_condition(stack: stacks.Stack, sqs: "SQSClient") -> None:
    statements = statements_of(sqs, stack.queue_url, stack.dead_letter_queue_url)

    allowing = [statement for statement in statements if statement["Effect"] == "Allow"]
    assert len(allowing) == 1
    for statement in allowing:
        assert statement["Principal"] == {"Service": "events.amazonaws.com"}
        assert statement["Action"] == "sqs:SendMessage"
        assert statement["Condition"]["ArnEquals"]["aws:SourceArn"]
        assert "*" not in json.dumps(statement)


def test_both_queues_refuse_whoever_does_not_use_tls(stack: stacks.Stack, sqs: "SQSClient") -> None:
    for url, arn in (
        (stack.queue_url, stack.queue_arn),
        (stack.dead_letter_queue_url, stack.dead_letter_queue_arn),
    ):
        (denial,) = (s for s in statements_of(sqs, url) if s["Effect"] == "Deny")
        assert (denial["Principal"], denial["Action"]) == ("*", "sqs:*")
        assert denial["Resource"] == arn
        assert denial["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_cfn_lint_finds_nothing() -> None:
    # Here and not above: it takes seconds, also for who wants to run another test.
    linter = importlib.import_module("cfnlint.api")
    config = importlib.import_module("cfnlint.config")

    found = linter.lint(
        TEMPLATE.read_text(encoding="utf-8"),
        config=config.ManualArgs(regions=["us-east-1"], include_checks=["I"]),
    )

    assert [str(match) for match in found] == []


def statements_of(client: "SQSClient", *urls: str) -> list[dict[str, Any]]:
    return [
        statement
        for url in urls
        for statement in json.loads(attributes_of(client, url)["Policy"])["Statement"]
    ]
