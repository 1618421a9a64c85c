"""The role of an observer, enforced: all that it does works, and it can complete nothing."""

import contextlib
import dataclasses
from collections.abc import AsyncIterator

import pytest

from queue_processor.domain import errors
from queue_processor.simulator.aws import simulator
from tests.infra import pod

ACTIONS = (
    "sqs:ReceiveMessage",
    "sqs:DeleteMessage",
    "sqs:ChangeMessageVisibility",
    "sqs:GetQueueAttributes",
    "sqs:SendMessage",
    "autoscaling:DescribeAutoScalingGroups",
    "autoscaling:DescribeLifecycleHooks",
    "ec2:DescribeInstances",
)


@pytest.fixture
def cloud(aws: simulator.AwsSimulator) -> pod.Cloud:
    """The stack as the observer uses it: its queue, its role and its policy."""
    whole = pod.ready_in_simulator(aws)
    outputs = {
        **whole.outputs,
        "QueueUrl": whole.outputs["ObserverQueueUrl"],
        "OperatorPolicyArn": whole.outputs["ObserverPolicyArn"],
        "OperatorRoleArn": whole.outputs["ObserverRoleArn"],
    }
    aws.send_raw("{}", queue_url=outputs["QueueUrl"])
    return dataclasses.replace(whole, outputs=outputs)


@contextlib.asynccontextmanager
async def working(cloud: pod.Cloud, *, is_observing: bool) -> AsyncIterator[pod.Job]:
    """The work of a pod with the role of the observer, where policies are applied."""
    session = cloud.assume(f"{pod.SERVICE_ACCOUNT}-observer")
    job = pod.Job(cloud, session, is_observing=is_observing)
    with cloud.enforcing():
        yield job
    await job.close()


async def test_with_its_role_an_observer_handles_every_message_of_its_queue_and_of_no_other(
    aws: simulator.AwsSimulator, cloud: pod.Cloud
) -> None:
    async with working(cloud, is_observing=True) as job:
        await job.do()

    assert aws.queue_state(cloud.outputs["QueueUrl"]).total == 0
    assert aws.queue_state(cloud.outputs["DeadLetterQueueUrl"]).total == 0
    (letter,) = aws.dead_letters(cloud.outputs["QueueUrl"])
    assert letter.body == "{}"
    (action,) = aws.lifecycle_actions()
    assert action.result is None


async def test_with_its_role_an_observer_can_complete_no_lifecycle_action(
    aws: simulator.AwsSimulator, cloud: pod.Cloud
) -> None:
    async with working(cloud, is_observing=False) as job:
        with pytest.raises(errors.QueueProcessorError, match="RecordLifecycleActionHeartbeat"):
            await job.do()

    (action,) = aws.lifecycle_actions()
    assert (action.result, list(action.heartbeats)) == (None, [])


def test_every_action_of_the_policy_is_tried_below(cloud: pod.Cloud) -> None:
    statements = cloud.policy()["Statement"]
    allowed = [action for statement in statements for action in pod.actions_of(statement)]

    assert sorted(allowed) == sorted(ACTIONS)


@pytest.mark.parametrize("action", ACTIONS)
async def test_without_one_of_its_actions_an_observer_fails(cloud: pod.Cloud, action: str) -> None:
    cloud.take_away(action)

    async with working(cloud, is_observing=True) as job:
        with pytest.raises(errors.QueueProcessorError) as failed:
            await job.do()

    assert f"not authorized to perform: {action}" in str(failed.value)
