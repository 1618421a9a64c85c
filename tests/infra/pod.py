"""The pod of queue-processor in an AWS: its role, and all that it asks with it."""

import base64
import contextlib
import dataclasses
import datetime as dt
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import boto3
import botocore.config
import pytest
from moto.autoscaling import models as autoscaling_models
from moto.autoscaling import responses as autoscaling_responses
from moto.core import authorization

from queue_processor.adapters.aws import autoscaling, clients, ec2, queue, sqs
from queue_processor.domain import errors, events, parsing
from queue_processor.simulator.aws import lifecycle, simulator, stacks
from tests.infra import samples, templates

GROUP = "eks-workers"
HOOK = "drain"
TAG = "managed"
SERVICE_ACCOUNT = "system:serviceaccount:queue-processor:queue-processor"
PARAMETERS = {
    **templates.EVERYTHING,
    "EncryptionKey": "",
    "QueueNamePrefix": "",
    "ReplayPrincipalArns": "arn:aws:iam::123456789012:root",
}

_ISSUER = templates.OIDC_PROVIDER.partition("oidc-provider/")[2]
_NO_RETRIES = botocore.config.Config(retries={"mode": "standard", "total_max_attempts": 1})


def _token(subject: str) -> str:
    """A token as a service account has it, without a signature that anybody here would check."""
    claims = {"iss": f"https://{_ISSUER}", "aud": "sts.amazonaws.com", "sub": subject}
    parts = ({"alg": "RS256"}, claims)
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode() for part in parts]
    return ".".join([*(part.rstrip("=") for part in encoded), "c2lnbmF0dXJl"])


def notification(group: str, instance_id: str) -> str:
    """The event of Auto Scaling for a terminating instance of the group."""
    sample = samples.load("asg_lifecycle_raw_sqs_body.sanitised")
    return json.dumps(
        sample
        | {"AutoScalingGroupName": group, "LifecycleHookName": HOOK, "EC2InstanceId": instance_id}
    )


@dataclasses.dataclass(frozen=True)
class Cloud:
    """A stack, a group with a hook, an instance with the tag, and messages about it in the queue.

    Attributes:
        root: Whose clients may do anything.
        reach: The arguments of a client.
        outputs: The outputs of the stack.
        enforcing: Policies are applied inside.
    """

    root: boto3.Session
    reach: Mapping[str, Any]
    outputs: Mapping[str, str]
    enforcing: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext

    def policy(self) -> dict[str, Any]:
        """The policy of the pod, as the stack made it."""
        with self.client("iam") as iam:
            document = iam.get_policy_version(
                PolicyArn=self.outputs["OperatorPolicyArn"], VersionId="v1"
            )["PolicyVersion"]["Document"]
        found: dict[str, Any] = document
        return found

    def take_away(self, action: str) -> None:
        """Leave one action out of the policy, alone and in batches."""
        document = self.policy()
        for statement in document["Statement"]:
            statement["Action"] = [
                each for each in actions_of(statement) if each.removesuffix("Batch") != action
            ]
        document["Statement"] = [each for each in document["Statement"] if each["Action"]]
        with self.client("iam") as iam:
            iam.create_policy_version(
                PolicyArn=self.outputs["OperatorPolicyArn"],
                PolicyDocument=json.dumps(document),
                SetAsDefault=True,
            )

    def assume(self, subject: str = SERVICE_ACCOUNT) -> boto3.Session:
        """Take the role, as the pod of a service account does.

        Raises:
            botocore.exceptions.ClientError: The role is not for that service account.
        """
        with self.client("sts") as sts:
            given = sts.assume_role_with_web_identity(
                RoleArn=self.outputs["OperatorRoleArn"],
                RoleSessionName="pod",
                WebIdentityToken=_token(subject),
            )["Credentials"]
        return self._session(given)

    def assume_replay_role(self) -> boto3.Session:
        """Assume the role for users who replay messages."""
        with self.client("sts") as sts:
            given = sts.assume_role(
                RoleArn=self.outputs["ReplayRoleArn"], RoleSessionName="person"
            )["Credentials"]
        return self._session(given)

    def _session(self, given: Mapping[str, str]) -> boto3.Session:
        return boto3.Session(
            aws_access_key_id=given["AccessKeyId"],
            aws_secret_access_key=given["SecretAccessKey"],
            aws_session_token=given["SessionToken"],
            region_name=self.root.region_name,
        )

    @contextlib.contextmanager
    def client(self, name: Any) -> Iterator[Any]:  # noqa: ANN401 boto3 wants literals
        """A client of the root user."""
        with contextlib.closing(self.root.client(name, **self.reach)) as client:
            yield client


def actions_of(statement: Mapping[str, Any]) -> list[str]:
    """The actions of a statement."""
    actions: str | list[str] = statement["Action"]
    return [actions] if isinstance(actions, str) else actions


def ready_in_simulator(aws: simulator.AwsSimulator) -> Cloud:
    """Deploy the stack, and let an instance of a group wait for its termination."""
    aws.reset()
    stack = aws.deploy(templates.QUEUE.read_text(encoding="utf-8"), parameters=PARAMETERS)
    (instance_id,) = aws.launch(1, tags={TAG: ""})
    hook = lifecycle.SimulatedLifecycleHook(GROUP, HOOK, events.LifecycleTransition.TERMINATING)
    aws.create_auto_scaling_group(GROUP, [instance_id], [hook])
    aws.terminate_in_group(instance_id)
    return in_simulator(aws, stack)


def in_simulator(aws: simulator.AwsSimulator, stack: stacks.Stack) -> Cloud:
    """Return the stack in the simulator with its policies, as the pod uses it."""
    client = aws.session.client("cloudformation", endpoint_url=aws.endpoint_url)
    with contextlib.closing(client):
        (described,) = client.describe_stacks(StackName=stack.name)["Stacks"]
    outputs = {each["OutputKey"]: each["OutputValue"] for each in described["Outputs"]}
    return Cloud(aws.session, {"endpoint_url": aws.endpoint_url}, outputs, enforced_by_moto)


@contextlib.contextmanager
def enforced_by_moto() -> Iterator[None]:
    """Let moto apply policies, also to the resources of Auto Scaling."""

    def group_of(request: autoscaling_responses.AutoScalingResponse) -> str:
        if request._get_action().startswith("Describe"):
            return "*"
        groups = autoscaling_models.autoscaling_backends[request.current_account][request.region]
        return groups.autoscaling_groups[request._get_param("AutoScalingGroupName")].arn

    with pytest.MonkeyPatch.context() as patch, authorization.enable_iam_authentication():
        responses = autoscaling_responses.AutoScalingResponse
        patch.setattr(responses, "_determine_resource", group_of, raising=False)
        yield


class Job:
    """All that the program asks of AWS, through its own adapters."""

    def __init__(self, cloud: Cloud, session: boto3.Session, *, is_observing: bool = False) -> None:
        self._is_observing = is_observing
        options: dict[str, Any] = {**cloud.reach, "config": _NO_RETRIES}
        made = (
            session.client("sqs", **options),
            session.client("autoscaling", **options),
            session.client("ec2", **options),
        )
        pool = clients.DaemonExecutor(2, name="aws")
        self._queue = sqs.SqsQueue(
            queue.QueueClient(made[0], cloud.outputs["QueueUrl"]),
            visibility_timeout=dt.timedelta(seconds=30),
            wait_time=dt.timedelta(),
            threads=pool,
        )
        self._groups = autoscaling.AutoScalingLifecycle(made[1], threads=pool)
        self._instances = ec2.TaggedInstances(made[2], tag_key=TAG, threads=pool)
        self._clients = made

    async def do(self) -> None:
        """Handle every message, malformed ones too.

        Raises:
            QueueProcessorError: Something is not allowed.
        """
        await self._queue.open()
        for message in await self._queue.receive():
            await self._queue.hide(message.receipt_handle, dt.timedelta(minutes=1))
            try:
                event = parsing.parse(
                    message.body,
                    message_id=message.message_id,
                    sent_at=message.sent_at or dt.datetime.now(dt.UTC),
                )
            except errors.MalformedMessage as fault:
                await self._queue.dead_letter(message, str(fault))
            else:
                await self._handle(event)
            await self._queue.delete(message.receipt_handle)

    async def _handle(self, event: events.InterruptionEvent | events.Ignored) -> None:
        assert isinstance(event, events.InterruptionEvent)
        action = event.lifecycle_action
        assert action is not None
        assert await self._instances.is_managed(action.instance_id)
        await self._groups.heartbeat_timeout(action.hook)
        await self._groups.group(action.hook.group)
        if self._is_observing:
            return
        await self._groups.heartbeat(action)
        await self._groups.complete(action)

    async def close(self) -> None:
        """Close the clients."""
        await self._queue.close()
        for client in self._clients:
            client.close()
