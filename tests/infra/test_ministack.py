"""The templates in a second AWS: deployed, refused when they have to be, and flowing."""

import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import botocore.exceptions
import pytest

from tests import guide, pyenvironments
from tests.infra import ministack, samples, templates

if TYPE_CHECKING:
    from types_boto3_autoscaling import AutoScalingClient
    from types_boto3_sqs import SQSClient

pytestmark = pytest.mark.timeout(pyenvironments.INSTALL_SECONDS)

GROUPS = ("eks-spot.1", "eks_on-demand")
NOTIFICATION = samples.load("asg_lifecycle_raw_sqs_body.sanitised")


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    return ministack.without_what_it_lacks(templates.read(templates.QUEUE))


@pytest.fixture(scope="module")
def stack(emulator: ministack.Ministack, template: dict[str, Any]) -> dict[str, str]:
    """The outputs of a stack with everything, for events of applications."""
    flowing = json.dumps(ministack.of_application(template, "flowing"))
    return emulator.deploy("flowing", flowing, templates.EVERYTHING)


@pytest.fixture(scope="module")
def sqs(emulator: ministack.Ministack) -> "Iterator[SQSClient]":
    client = emulator.session.client("sqs", **emulator.reached())
    yield client
    client.close()


@pytest.fixture(scope="module")
def autoscaling(emulator: ministack.Ministack) -> "Iterator[AutoScalingClient]":
    client = emulator.session.client("autoscaling", **emulator.reached())
    yield client
    client.close()


def put(emulator: ministack.Ministack, event: Mapping[str, Any]) -> None:
    """Put an event on the bus, as that of the application."""
    whole = samples.enveloped(event)
    client = emulator.session.client("events", **emulator.reached())
    answer = client.put_events(
        Entries=[
            {
                "Source": f"flowing.{whole['source']}",
                "DetailType": whole["detail-type"],
                "Detail": json.dumps(whole["detail"]),
                "Resources": whole["resources"],
            }
        ]
    )
    client.close()
    assert answer["FailedEntryCount"] == 0


def taken(sqs: "SQSClient", url: str) -> list[Any]:
    """Take every message out of a queue."""
    found = []
    while messages := sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1
    ).get("Messages"):
        for message in messages:
            found.append(json.loads(message["Body"]))
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return found


def test_the_events_that_are_ours_come_through_the_rules_and_the_policy(
    emulator: ministack.Ministack, stack: dict[str, str], sqs: "SQSClient"
) -> None:
    for event, _ in samples.EVENTS.values():
        # Nobody puts events for another account: EventBridge fills the field in.
        if samples.enveloped(event)["account"] == samples.ACCOUNT:
            put(emulator, event)

    arrived = taken(sqs, stack["QueueUrl"])

    def identity_of(event: Mapping[str, Any]) -> str:
        return json.dumps([event["detail-type"], event["detail"]], sort_keys=True)

    expected = [event for event, rule in samples.EVENTS.values() if rule]
    assert sorted(map(identity_of, arrived)) == sorted(map(identity_of, expected))


def publish(emulator: ministack.Ministack, topic_arn: str) -> None:
    client = emulator.session.client("sns", **emulator.reached())
    client.publish(TopicArn=topic_arn, Message=json.dumps(NOTIFICATION))
    client.close()


def test_a_lifecycle_notification_comes_raw_through_the_topic(
    emulator: ministack.Ministack, stack: dict[str, str], sqs: "SQSClient"
) -> None:
    publish(emulator, stack["NotificationTopicArn"])

    assert taken(sqs, stack["QueueUrl"]) == [NOTIFICATION]


def test_without_its_line_in_the_policy_of_the_queue_the_topic_does_not_get_through(
    emulator: ministack.Ministack, template: dict[str, Any], sqs: "SQSClient"
) -> None:
    closed = ministack.of_application(template, "closed")
    policy = closed["Resources"]["QueuePolicy"]["Properties"]["PolicyDocument"]
    policy["Statement"] = [s for s in policy["Statement"] if "Fn::If" not in s]
    parameters = {**templates.NO_ROLE, "CreateNotificationTopic": "true"}
    outputs = emulator.deploy("closed", json.dumps(closed), parameters)

    publish(emulator, outputs["NotificationTopicArn"])

    assert taken(sqs, outputs["QueueUrl"]) == []


def test_the_queues_refuse_whoever_does_not_use_tls(
    emulator: ministack.Ministack, stack: dict[str, str]
) -> None:
    client = emulator.session.client("sqs", endpoint_url=emulator.plain_url)

    for key in ("QueueUrl", "DeadLetterQueueUrl"):
        plain = f"{emulator.plain_url}/{stack[key].split('/', 3)[3]}"
        with pytest.raises(botocore.exceptions.ClientError, match="AccessDenied"):
            client.send_message(QueueUrl=plain, MessageBody="{}")
    client.close()


def test_the_outputs_are_what_the_manifest_needs(stack: dict[str, str]) -> None:
    assert stack["QueueUrl"].endswith("/123456789012/prod-events")
    assert stack["Region"] == "us-east-1"
    assert stack["ServiceAccountAnnotation"] == (
        f"eks.amazonaws.com/role-arn: {stack['OperatorRoleArn']}"
    )
    assert ":role/flowing-OperatorRole-" in stack["OperatorRoleArn"]


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"WorkloadIdentity": "irsa"}, "irsa requires OidcProviderArn"),
        ({"WorkloadIdentity": "pod-identity"}, "pod-identity requires ClusterName"),
        ({"WorkloadIdentity": "kiam"}, "WorkloadIdentity"),
        ({"ReplayPrincipalArns": "*"}, "without spaces or wildcards"),
        ({"ReplayPrincipalArns": "arn:aws:iam::123456789012:role/*"}, "without spaces"),
        ({"AutoScalingGroupPattern": "a/b"}, "name of an Auto Scaling group"),
        ({"EncryptionKey": "old"}, "empty, new, or the ARN of a KMS key"),
        ({"QueueNamePrefix": "my queue"}, "letters, digits"),
        ({"DrillSource": "aws.ec2"}, "do not start with aws."),
        ({"OldestMessageSeconds": "5"}, "OldestMessageSeconds"),
    ],
    ids=str,
)
def test_bad_parameters_are_refused_with_the_reason(
    emulator: ministack.Ministack,
    template: dict[str, Any],
    parameters: dict[str, str],
    reason: str,
) -> None:
    with pytest.raises(botocore.exceptions.ClientError, match=reason):
        emulator.deploy("refused", json.dumps(template), {**templates.NO_ROLE, **parameters})


def test_pod_identity_and_a_key_of_ones_own_can_be_deployed(
    emulator: ministack.Ministack, template: dict[str, Any], sqs: "SQSClient"
) -> None:
    outputs = emulator.deploy("pod-identity", json.dumps(template), templates.POD_IDENTITY)

    attributes = sqs.get_queue_attributes(
        QueueUrl=outputs["QueueUrl"], AttributeNames=["KmsMasterKeyId"]
    )["Attributes"]
    assert attributes["KmsMasterKeyId"] == templates.POD_IDENTITY["EncryptionKey"]
    assert "KeyArn" not in outputs
    assert "ServiceAccountAnnotation" not in outputs


@pytest.fixture(scope="module")
def _groups(emulator: ministack.Ministack) -> None:
    for group in (*GROUPS, "other"):
        emulator.create_group(group)


def hooks(client: "AutoScalingClient", group: str) -> list[tuple[str, int, str]]:
    found = client.describe_lifecycle_hooks(AutoScalingGroupName=group)["LifecycleHooks"]
    return sorted(
        (
            hook["LifecycleTransition"].rpartition("_")[2],
            hook["HeartbeatTimeout"],
            hook["DefaultResult"],
        )
        for hook in found
    )


@pytest.mark.usefixtures("_groups")
def test_each_group_of_the_list_gets_its_hooks_and_loses_them_with_the_stack(
    emulator: ministack.Ministack, autoscaling: "AutoScalingClient"
) -> None:
    template = templates.HOOKS.read_text(encoding="utf-8")
    names = {"AutoScalingGroupNames": ",".join(GROUPS)}

    emulator.deploy("hooks", template, names)
    found = [hooks(autoscaling, group) for group in (*GROUPS, "other")]
    with emulator.cloudformation() as client:
        client.delete_stack(StackName="hooks")
        client.get_waiter("stack_delete_complete").wait(
            StackName="hooks", WaiterConfig={"Delay": 1, "MaxAttempts": 30}
        )

    terminating = [("TERMINATING", 300, "CONTINUE")]
    assert found == [terminating, terminating, []]
    assert hooks(autoscaling, GROUPS[0]) == []


@pytest.mark.usefixtures("_groups")
def test_launch_hooks_are_added_on_demand(
    emulator: ministack.Ministack, autoscaling: "AutoScalingClient"
) -> None:
    emulator.deploy(
        "launch-hooks",
        templates.HOOKS.read_text(encoding="utf-8"),
        {
            "AutoScalingGroupNames": GROUPS[1],
            "AddLaunchHooks": "true",
            "HeartbeatTimeoutSeconds": "60",
        },
    )

    assert hooks(autoscaling, GROUPS[1]) == [
        ("LAUNCHING", 60, "CONTINUE"),
        ("TERMINATING", 60, "CONTINUE"),
    ]


def test_a_topic_without_its_role_is_refused(emulator: ministack.Ministack) -> None:
    with pytest.raises(botocore.exceptions.ClientError, match="requires NotificationRoleArn"):
        emulator.deploy(
            "half",
            templates.HOOKS.read_text(encoding="utf-8"),
            {
                "AutoScalingGroupNames": "other",
                "NotificationTopicArn": "arn:aws:sns:us-east-1:123456789012:topic",
            },
        )


async def test_the_guide_adds_hooks_and_takes_both_stacks_away(
    emulator: ministack.Ministack,
    template: dict[str, Any],
    autoscaling: "AutoScalingClient",
    sqs: "SQSClient",
    tmp_path: pathlib.Path,
) -> None:
    """The parts of docs/install.md about hooks and about the removal of the stacks."""
    typed = {
        heading: [command for under, command in guide.blocks() if under == heading]
        for heading in (guide.VARIABLES, guide.HOOKS, guide.REMOVAL)
    }
    guide.script(tmp_path / "aws", f'{guide.aws_cli()} --endpoint-url {emulator.plain_url} "$@"')
    shell = {
        "PATH": f"{tmp_path}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "AWS_ACCESS_KEY_ID": "123456789012",
        "AWS_SECRET_ACCESS_KEY": "123456789012",
        # Version 1 of the CLI, the one that PyPI has, does not look at AWS_REGION.
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    for group in ("group-1", "group-2"):
        emulator.create_group(group)
    outputs = emulator.deploy("queue-processor", json.dumps(template), templates.NO_ROLE)

    await guide.typed("".join([*typed[guide.VARIABLES], *typed[guide.HOOKS]]), shell)
    added = hooks(autoscaling, "group-1")
    removal = "".join(command for command in typed[guide.REMOVAL] if command.startswith("aws "))
    await guide.typed("".join([*typed[guide.VARIABLES], removal]), shell)

    assert added == [("TERMINATING", 300, "CONTINUE")]
    assert hooks(autoscaling, "group-1") == hooks(autoscaling, "group-2") == []
    with emulator.cloudformation() as client:
        left = [
            stack["StackName"]
            for stack in client.list_stacks()["StackSummaries"]
            if stack["StackStatus"] != "DELETE_COMPLETE"
        ]
    assert not {"queue-processor-hooks", "queue-processor"}.intersection(left)
    with pytest.raises(botocore.exceptions.ClientError, match="NonExistentQueue"):
        sqs.get_queue_attributes(QueueUrl=outputs["QueueUrl"])
