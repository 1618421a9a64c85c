"""The CloudFormation templates: read, and with their parameters and conditions worked out."""

import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from moto.cloudformation import models, parsing

from queue_processor.simulator.aws import simulator

_FOLDER = pathlib.Path(__file__).parents[2] / "infra" / "cloudformation"
QUEUE = _FOLDER / "queue-processor.yaml"
HOOKS = _FOLDER / "lifecycle-hooks.yaml"
ALL = (QUEUE, HOOKS)

OIDC_PROVIDER = "arn:aws:iam::123456789012:oidc-provider/oidc.eks.us-east-1.amazonaws.com/id/ABC"
# Every resource that there can be, but for the association of EKS Pod Identity.
EVERYTHING = {
    "WorkloadIdentity": "irsa",
    "OidcProviderArn": OIDC_PROVIDER,
    "UseManagedTag": "true",
    "AutoScalingGroupPattern": "eks-*",
    "ReplayPrincipalArns": "arn:aws:iam::123456789012:role/a,arn:aws:iam::123456789012:user/b",
    "CreateNotificationTopic": "true",
    "QueueNamePrefix": "prod",
    "EncryptionKey": "new",
    "AlarmTopicArn": "arn:aws:sns:us-east-1:123456789012:alarms",
}
POD_IDENTITY = {
    "WorkloadIdentity": "pod-identity",
    "ClusterName": "prod",
    "EncryptionKey": "arn:aws:kms:us-east-1:123456789012:key/12345678-1234-1234-1234-123456789012",
}


def read(path: pathlib.Path) -> dict[str, Any]:
    """A template, its functions in their long form."""
    return models.Stack.parse_template(path.read_text(encoding="utf-8"))


def rendered(aws: simulator.AwsSimulator, parameters: Mapping[str, str]) -> dict[str, Any]:
    """The resources that the template of the queue makes, by logical id.

    Linters see more in them than in a template with conditions.
    """
    aws.reset()
    aws.deploy(QUEUE.read_text(encoding="utf-8"), parameters=parameters)
    (stack,) = models.cloudformation_backends[aws.account][aws.region].stacks.values()
    made = stack.resource_map
    return {
        name: _worked_out(resource, made)
        for name, resource in stack.template_dict["Resources"].items()
        if "Condition" not in resource or made.lazy_condition_map[resource["Condition"]]
    }


def _worked_out(resource: Mapping[str, Any], made: parsing.ResourceMap) -> dict[str, Any]:
    left = {key: value for key, value in resource.items() if key not in ("Condition", "Metadata")}
    worked_out: dict[str, Any] = parsing.clean_json(left, made)
    trust = worked_out["Properties"].get("AssumeRolePolicyDocument")
    if isinstance(trust, str):
        worked_out["Properties"]["AssumeRolePolicyDocument"] = json.loads(trust)
    return worked_out


def policies(resources: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every statement of every policy in some resources, with the logical id of its resource."""
    for name, resource in resources.items():
        properties = resource["Properties"]
        documents = [
            properties.get(key)
            for key in ("PolicyDocument", "KeyPolicy", "AssumeRolePolicyDocument")
        ]
        documents += [inline["PolicyDocument"] for inline in properties.get("Policies", [])]
        for document in documents:
            for statement in document["Statement"] if document else ():
                yield name, statement
