"""The CloudFormation templates: read, and with their parameters and conditions worked out."""

import contextlib
import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from moto.cloudformation import models, parsing

from queue_processor.simulator.aws import simulator

_FOLDER = pathlib.Path(__file__).parents[2] / "infra" / "cloudformation"
QUEUE = _FOLDER / "queue-processor.yaml"
HOOKS = _FOLDER / "lifecycle-hooks.yaml"
EXPERIMENT = _FOLDER / "fis-experiment.yaml"
ALL = (QUEUE, HOOKS, EXPERIMENT)

OIDC_PROVIDER = "arn:aws:iam::123456789012:oidc-provider/oidc.eks.us-east-1.amazonaws.com/id/ABC"
# Every resource that there can be, but for the association of EKS Pod Identity.
EVERYTHING = {
    "WorkloadIdentity": "irsa",
    "OidcProviderArn": OIDC_PROVIDER,
    "UseManagedTag": "true",
    "AutoScalingGroupPattern": "eks-*",
    "ReplayPrincipalArns": "arn:aws:iam::123456789012:role/a,arn:aws:iam::123456789012:user/b",
    "DrillSource": "drill",
    "CreateNotificationTopic": "true",
    "CreateObserverQueue": "true",
    "QueueNamePrefix": "prod",
    "EncryptionKey": "new",
    "AlarmTopicArn": "arn:aws:sns:us-east-1:123456789012:alarms",
}
NO_ROLE = {"WorkloadIdentity": "none"}
POD_IDENTITY = {
    "ClusterName": "prod",
    "CreateObserverQueue": "true",
    "EncryptionKey": "arn:aws:kms:us-east-1:123456789012:key/12345678-1234-1234-1234-123456789012",
}
EXPERIMENT_PARAMETERS = {
    "StopAlarmArn": "arn:aws:cloudwatch:us-east-1:123456789012:alarm:oldest",
    "TagValue": "game-day",
    "SelectionMode": "PERCENT(25)",
}
VARIANTS: Mapping[str, tuple[Mapping[str, str], pathlib.Path]] = {
    "everything": (EVERYTHING, QUEUE),
    "pod-identity": (POD_IDENTITY, QUEUE),
    "no role": (NO_ROLE, QUEUE),
    "experiment": (EXPERIMENT_PARAMETERS, EXPERIMENT),
}
"""The variants of the templates, by name: the template and its parameters."""


def read(path: pathlib.Path) -> dict[str, Any]:
    """A template, its functions in their long form."""
    return models.Stack.parse_template(path.read_text(encoding="utf-8"))


def rendered(
    aws: simulator.AwsSimulator, parameters: Mapping[str, str], template: pathlib.Path = QUEUE
) -> dict[str, Any]:
    """The resources that a template makes, by logical id.

    Linters see more in them than in a template with conditions.
    """
    aws.reset()
    whole = read(template)
    client = aws.session.client("cloudformation", endpoint_url=aws.endpoint_url)
    with contextlib.closing(client):
        client.create_stack(
            StackName="queue-processor",
            TemplateBody=json.dumps(_as_far_as_moto_goes(whole)),
            Parameters=[
                {"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()
            ],
        )
    (stack,) = models.cloudformation_backends[aws.account][aws.region].stacks.values()
    made = stack.resource_map
    return {
        name: _worked_out(resource, made)
        for name, resource in whole["Resources"].items()
        if "Condition" not in resource or made.lazy_condition_map[resource["Condition"]]
    }


def _as_far_as_moto_goes(template: Mapping[str, Any]) -> dict[str, Any]:
    """Remove the experiments, and the outputs, which can refer to them."""
    return {
        **{key: value for key, value in template.items() if key != "Outputs"},
        "Resources": {
            name: resource
            for name, resource in template["Resources"].items()
            if resource["Type"] != "AWS::FIS::ExperimentTemplate"
        },
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
