"""ministack: a second AWS, with EventBridge, CloudFormation and SNS more faithful than moto's."""

import contextlib
import dataclasses
import json
import os
import pathlib
import socket
import subprocess
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypedDict

import boto3
import trustme

if TYPE_CHECKING:
    from types_boto3_cloudformation import CloudFormationClient

_ACCOUNT = "123456789012"
_REGION = "us-east-1"
_LISTEN_BACKLOG = 100
_STOP_SECONDS = 10
_IN_BATCHES = ("sqs:SendMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility")


class Reach(TypedDict):
    """The arguments of a boto3 client."""

    endpoint_url: str
    verify: str


@dataclasses.dataclass(frozen=True)
class Ministack:
    """One that runs.

    Attributes:
        endpoint_url: Where it answers, by TLS.
        plain_url: Where it answers without.
        authority: The file with the certificate to trust.
        session: For clients, which need the endpoint as well.
    """

    endpoint_url: str
    plain_url: str
    authority: pathlib.Path
    # It takes the account from the key.
    session: boto3.Session = dataclasses.field(
        default_factory=lambda: boto3.Session(
            aws_access_key_id=_ACCOUNT, aws_secret_access_key=_ACCOUNT, region_name=_REGION
        )
    )

    def reached(self) -> Reach:
        """Return the arguments of a client."""
        return {"endpoint_url": self.endpoint_url, "verify": str(self.authority)}

    @contextlib.contextmanager
    def cloudformation(self) -> "Iterator[CloudFormationClient]":
        """A client for CloudFormation."""
        client = self.session.client("cloudformation", **self.reached())
        with contextlib.closing(client):
            yield client

    def deploy(
        self, name: str, template: str, parameters: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        """Create a stack and return its outputs.

        Raises:
            botocore.exceptions.ClientError: The template or a parameter is refused.
            botocore.exceptions.WaiterError: A resource cannot be made.
        """
        with self.cloudformation() as client:
            client.create_stack(
                StackName=name,
                TemplateBody=template,
                Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
                Parameters=[
                    {"ParameterKey": key, "ParameterValue": value}
                    for key, value in (parameters or {}).items()
                ],
            )
            client.get_waiter("stack_create_complete").wait(
                StackName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 30}
            )
            (stack,) = client.describe_stacks(StackName=name)["Stacks"]
        return {o["OutputKey"]: o["OutputValue"] for o in stack.get("Outputs", [])}

    def create_group(self, name: str) -> None:
        """Create an Auto Scaling group without instances."""
        ec2 = self.session.client("ec2", **self.reached())
        with contextlib.closing(ec2):
            ec2.create_launch_template(
                LaunchTemplateName=name, LaunchTemplateData={"ImageId": "ami-12345678"}
            )
        autoscaling = self.session.client("autoscaling", **self.reached())
        with contextlib.closing(autoscaling):
            autoscaling.create_auto_scaling_group(
                AutoScalingGroupName=name,
                MinSize=0,
                MaxSize=0,
                AvailabilityZones=[f"{_REGION}a"],
                LaunchTemplate={"LaunchTemplateName": name},
            )


@contextlib.contextmanager
def running(python: pathlib.Path, folder: pathlib.Path) -> Iterator[Ministack]:
    """Run ministack on two free ports of 127.0.0.1, one of them for TLS.

    It gets the sockets and not their numbers: nobody can take a port in between, and who calls
    early waits for the answer.
    """
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "authority.pem")
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    certificate.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    with _listening() as secure, _listening() as plain, (folder / "log").open("w") as log:
        ports = [each.getsockname()[1] for each in (secure, plain)]
        process = subprocess.Popen(  # noqa: S603 a package of the lock file
            [
                *(python, "-m", "hypercorn", "--workers", "0"),
                *("--certfile", "server.pem", "--keyfile", "server.pem"),
                *("--bind", f"fd://{secure.fileno()}"),
                *("--insecure-bind", f"fd://{plain.fileno()}", "ministack.app:app"),
            ],
            cwd=folder,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(folder),
                "TMPDIR": str(folder),
                "BIND_HOST": "127.0.0.1",
                "GATEWAY_PORT": str(ports[0]),
                # Policies are applied to everybody but the root user of the account.
                "AUTH": "true",
            },
            pass_fds=[secure.fileno(), plain.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield Ministack(
            endpoint_url=f"https://127.0.0.1:{ports[0]}",
            plain_url=f"http://127.0.0.1:{ports[1]}",
            authority=folder / "authority.pem",
        )
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _listening() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0), backlog=_LISTEN_BACKLOG)


def without_what_it_lacks(template: Mapping[str, Any]) -> dict[str, Any]:
    """The template of the queue, as far as ministack knows the types of its resources.

    It has no EKS Pod Identity, and no alarms that calculate. Its queue policies do not know what a
    service is, and a session has an ARN of its own instead of its role's: the statement that denies
    all but services and some roles is tried in test_senders.py.
    """
    associations = ("PodIdentityAssociation", "ObserverPodIdentityAssociation")
    left_out = dict.fromkeys((*associations, "OldestMessageAlarm"), "Resources")
    left_out |= {"OldestMessageAlarmArn": "Outputs"}
    copy: dict[str, Any] = json.loads(json.dumps(template))
    for name, section in left_out.items():
        del copy[section][name]
    for policy in ("QueuePolicy", "ObserverQueuePolicy"):
        document = copy["Resources"][policy]["Properties"]["PolicyDocument"]
        document["Statement"] = [
            each for each in document["Statement"] if each.get("Sid") != "NobodyElseSends"
        ]
    return copy


def of_application(template: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The same template for events of an application, whose sources are `NAME.aws.ec2` and so on.

    As with AWS, nobody but AWS may put events of the `aws.` sources.
    """
    copy: dict[str, Any] = json.loads(json.dumps(template))
    for resource in copy["Resources"].values():
        if resource["Type"] == "AWS::Events::Rule":
            pattern = resource["Properties"]["EventPattern"]
            pattern["source"] = [
                f"{name}.{source}" if isinstance(source, str) else source
                for source in pattern["source"]
            ]
    return copy


def with_batches(template: Mapping[str, Any]) -> dict[str, Any]:
    """The template of the queue with permissions for batches beside those for single calls.

    With AWS the permission for the single call is enough; ministack asks for one of its own.
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-api-permissions-reference.html
    """
    copy: dict[str, Any] = json.loads(json.dumps(template))
    resources = copy["Resources"]
    (replaying,) = resources["ReplayRole"]["Properties"]["Policies"]
    for policy in (resources["OperatorPolicy"]["Properties"], replaying):
        for statement in policy["PolicyDocument"]["Statement"]:
            actions = statement.get("Action", [])
            actions = [actions] if isinstance(actions, str) else actions
            twins = [f"{action}Batch" for action in actions if action in _IN_BATCHES]
            if twins:
                statement["Action"] = [*actions, *twins]
    return copy
