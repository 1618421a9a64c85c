"""The role of the pod, enforced: all that the program does works, and nothing of it is too much.

Two emulators apply the policy. moto knows lifecycle actions, but no conditions; ministack applies
conditions, resources and the trust policy, but completes whatever it is asked to.
"""

import contextlib
import datetime as dt
import json
import uuid
from collections.abc import Iterator

import botocore.exceptions
import pytest

from queue_processor.adapters.aws import queue
from queue_processor.domain import errors
from queue_processor.simulator.aws import lifecycle, simulator
from tests import pyenvironments
from tests.infra import ministack, pod, templates

pytestmark = pytest.mark.timeout(pyenvironments.INSTALL_SECONDS)

ACTIONS = (
    "sqs:ReceiveMessage",
    "sqs:DeleteMessage",
    "sqs:ChangeMessageVisibility",
    "sqs:GetQueueAttributes",
    "sqs:SendMessage",
    "autoscaling:CompleteLifecycleAction",
    "autoscaling:RecordLifecycleActionHeartbeat",
    "autoscaling:DescribeAutoScalingGroups",
    "autoscaling:DescribeLifecycleHooks",
    "ec2:DescribeInstances",
)


@pytest.fixture
def in_moto(aws: simulator.AwsSimulator) -> pod.Cloud:
    cloud = pod.ready_in_simulator(aws)
    aws.send_raw("{}", queue_url=cloud.outputs["QueueUrl"])
    return cloud


@pytest.fixture
def in_ministack(emulator: ministack.Ministack) -> pod.Cloud:
    name = f"pod-{uuid.uuid4()}"
    template = ministack.without_what_it_lacks(templates.read(templates.QUEUE))
    template = ministack.with_batches(ministack.of_application(template, name))
    outputs = emulator.deploy(name, json.dumps(template), pod.PARAMETERS)
    cloud = pod.Cloud(emulator.session, emulator.reached(), outputs)
    with cloud.client("ec2") as ec2:
        (instance,) = ec2.run_instances(
            ImageId="ami-12345678",
            MinCount=1,
            MaxCount=1,
            TagSpecifications=[
                {"ResourceType": "instance", "Tags": [{"Key": pod.TAG, "Value": "yes"}]}
            ],
        )["Instances"]
    group = f"{pod.GROUP}-{uuid.uuid4()}"
    emulator.create_group(group)
    with cloud.client("autoscaling") as autoscaling:
        autoscaling.put_lifecycle_hook(
            AutoScalingGroupName=group,
            LifecycleHookName=pod.HOOK,
            LifecycleTransition="autoscaling:EC2_INSTANCE_TERMINATING",
        )
    with cloud.client("sqs") as sqs:
        for body in (pod.notification(group, instance["InstanceId"]), "{}"):
            sqs.send_message(QueueUrl=outputs["QueueUrl"], MessageBody=body)
    return cloud


@pytest.fixture(params=["moto", "ministack"])
def cloud(request: pytest.FixtureRequest) -> pod.Cloud:
    found: pod.Cloud = request.getfixturevalue(f"in_{request.param}")
    return found


async def test_with_its_role_the_program_does_its_whole_job(cloud: pod.Cloud) -> None:
    job = pod.Job(cloud, cloud.assume())

    with cloud.enforcing():
        await job.do()

    await job.close()
    with cloud.client("sqs") as sqs:
        left = sqs.get_queue_attributes(
            QueueUrl=cloud.outputs["QueueUrl"],
            AttributeNames=[
                "ApproximateNumberOfMessages",
                "ApproximateNumberOfMessagesNotVisible",
            ],
        )["Attributes"]
        (letter,) = sqs.receive_message(QueueUrl=cloud.outputs["DeadLetterQueueUrl"])["Messages"]
    assert set(left.values()) == {"0"}
    assert letter["Body"] == "{}"


async def test_the_lifecycle_action_is_completed_with_the_role(
    aws: simulator.AwsSimulator, in_moto: pod.Cloud
) -> None:
    job = pod.Job(in_moto, in_moto.assume())

    with in_moto.enforcing():
        await job.do()

    await job.close()
    (action,) = aws.lifecycle_actions()
    assert action.result is lifecycle.LifecycleActionResult.CONTINUE
    assert len(action.heartbeats) == 1


def test_every_action_of_the_policy_is_tried_below(in_moto: pod.Cloud) -> None:
    allowed = [
        action
        for statement in in_moto.policy()["Statement"]
        for action in pod.actions_of(statement)
    ]

    assert sorted(allowed) == sorted(ACTIONS)


@pytest.mark.parametrize("action", ACTIONS)
async def test_without_one_of_its_actions_the_program_fails(cloud: pod.Cloud, action: str) -> None:
    cloud.take_away(action)
    job = pod.Job(cloud, cloud.assume())

    with cloud.enforcing(), pytest.raises(errors.QueueProcessorError) as failed:
        await job.do()

    await job.close()
    assert f"not authorized to perform: {action}" in str(failed.value)


async def test_a_group_beside_the_pattern_is_not_touched(
    emulator: ministack.Ministack, in_ministack: pod.Cloud
) -> None:
    emulator.create_group("databases")

    client = in_ministack.assume().client("autoscaling", **in_ministack.reach)
    with (
        contextlib.closing(client),
        pytest.raises(botocore.exceptions.ClientError, match="CompleteLifecycleAction") as refused,
    ):
        client.complete_lifecycle_action(
            AutoScalingGroupName="databases",
            LifecycleHookName=pod.HOOK,
            LifecycleActionResult="CONTINUE",
            InstanceId="i-1234567890abcdef0",
        )

    assert refused.value.response["Error"]["Code"] == "AccessDenied"


@pytest.mark.parametrize(
    "subject",
    [
        "system:serviceaccount:queue-processor:default",
        "system:serviceaccount:default:queue-processor",
    ],
)
def test_another_service_account_does_not_get_the_role(
    in_ministack: pod.Cloud, subject: str
) -> None:
    with pytest.raises(botocore.exceptions.ClientError, match="AccessDenied"):
        in_ministack.assume(subject)


@pytest.fixture
def person(in_ministack: pod.Cloud) -> Iterator[queue.QueueClient]:
    """The queue, for a person with the replay role."""
    client = in_ministack.assume_replay_role().client("sqs", **in_ministack.reach)
    yield queue.QueueClient(client, in_ministack.outputs["QueueUrl"])
    client.close()


def test_with_the_replay_role_a_dead_letter_is_found_sent_again_and_deleted(
    in_ministack: pod.Cloud, person: queue.QueueClient
) -> None:
    dead_letters = person.named(in_ministack.outputs["DeadLetterQueueArn"])
    with in_ministack.client("sqs") as sqs:
        sqs.send_message(QueueUrl=dead_letters.url, MessageBody="a dead letter")
    before = person.state()

    (held,) = dead_letters.receive(10, hidden=dt.timedelta(minutes=1), wait=dt.timedelta())
    (failed,) = person.send([held])
    dead_letters.delete([held.receipt_handle])

    assert failed is None
    assert before.redrive is not None
    assert before.redrive.target_arn == dead_letters.state().arn
    assert person.state().visible == before.visible + 1
    assert dead_letters.state().visible == 0


def test_with_the_replay_role_messages_can_be_looked_at_but_not_taken(
    person: queue.QueueClient,
) -> None:
    held = person.receive(10, hidden=dt.timedelta(minutes=1), wait=dt.timedelta())
    handles = [each.receipt_handle for each in held]

    with pytest.raises(errors.PermanentError, match="sqs:DeleteMessage"):
        person.delete(handles[:1])
    person.release(handles)

    assert person.state().visible == len(handles) == 2
