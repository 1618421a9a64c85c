"""The infrastructure of the project, as CloudFormation makes it in the simulator."""

import dataclasses
import importlib.resources
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import types_boto3_cloudformation


@dataclasses.dataclass(frozen=True)
class Stack:
    """The resources that CloudFormation created.

    Attributes:
        name: The name of the stack.
        queue_url: The queue, at the endpoint of the simulator.
        queue_arn: Its ARN.
        dead_letter_queue_url: Its dead-letter queue, at the endpoint of the simulator.
        dead_letter_queue_arn: Its ARN.
    """

    name: str
    queue_url: str
    queue_arn: str
    dead_letter_queue_url: str
    dead_letter_queue_arn: str


def own_template() -> str:
    """Return the CloudFormation template of the project."""
    package = importlib.resources.files("queue_processor.simulator.aws")
    return package.joinpath("queue-processor.yaml").read_text(encoding="utf-8")


def create(
    client: "types_boto3_cloudformation.CloudFormationClient",
    name: str,
    template: str,
    parameters: Mapping[str, str],
) -> Stack:
    """Create a stack and read its outputs.

    Raises:
        botocore.exceptions.ClientError: CloudFormation refuses the template.
        KeyError: The template lacks one of the outputs of a Stack.
    """
    client.create_stack(
        StackName=name,
        TemplateBody=template,
        Parameters=[
            {"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()
        ],
    )
    (described,) = client.describe_stacks(StackName=name)["Stacks"]
    outputs = {o["OutputKey"]: o["OutputValue"] for o in described.get("Outputs", [])}
    return Stack(
        name=name,
        queue_url=outputs["QueueUrl"],
        queue_arn=outputs["QueueArn"],
        dead_letter_queue_url=outputs["DeadLetterQueueUrl"],
        dead_letter_queue_arn=outputs["DeadLetterQueueArn"],
    )
