"""Queue policies: CloudFormation sets them, and EventBridge needs them to deliver.

moto's CloudFormation leaves AWS::SQS::QueuePolicy out, and its EventBridge asks for no permission.
A policy that forgets a rule is a common fault, and it is silent: the event is just not there.

https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html#eb-sqs-permissions
"""

import fnmatch
import json
from collections.abc import Iterable, Mapping
from typing import Any, Self

from moto.core import common_models
from moto.sqs import models

from queue_processor.simulator.aws import templates

_CONDITIONS_ON_TEXT = ("ArnEquals", "ArnLike", "StringEquals", "StringLike", "Bool")


class QueuePolicy(templates.Unnamed, common_models.CloudFormationModel):
    """AWS::SQS::QueuePolicy; the queues that it is set on go with the stack, too.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-sqs-queuepolicy.html
    """

    def __init__(self, name: str, queues: Iterable[models.Queue], document: object) -> None:
        super().__init__(name)
        for queue in queues:
            queue.policy = json.dumps(document)

    @staticmethod
    def cloudformation_type() -> str:
        """The type of the resource in a template."""
        return "AWS::SQS::QueuePolicy"

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        """Whether Fn::GetAtt knows the attribute."""
        return attr == "Id"

    @classmethod
    def create_from_cloudformation_json(
        cls,
        resource_name: str,
        cloudformation_json: dict[str, Any],
        account_id: str,
        region_name: str,
        **kwargs: Any,  # noqa: ANN401, ARG003 as moto has it
    ) -> Self:
        """Set the policy of each queue that the resource names."""
        properties = cloudformation_json["Properties"]
        backend = models.sqs_backends[account_id][region_name]
        named = [backend.get_queue(url.rsplit("/", 1)[-1]) for url in properties["Queues"]]
        return cls(resource_name, named, properties["PolicyDocument"])

    @classmethod
    def update_from_cloudformation_json(
        cls,
        original_resource: Self,  # noqa: ARG003 as moto has it
        new_resource_name: str,
        cloudformation_json: dict[str, Any],
        account_id: str,
        region_name: str,
    ) -> Self:
        """Set the policies anew."""
        return cls.create_from_cloudformation_json(
            new_resource_name, cloudformation_json, account_id, region_name
        )


def allows_rule(policy: str | None, rule_arn: str) -> bool:
    """Whether a queue policy lets a rule of EventBridge send messages to its queue.

    Args:
        policy: The policy document as JSON; None when the queue has none.
        rule_arn: The ARN of the rule.
    """
    context = {"aws:SourceArn": rule_arn, "aws:SecureTransport": "true"}
    statements = json.loads(policy)["Statement"] if policy else []
    effects = {
        statement["Effect"]
        for statement in statements
        if _is_about_sending(statement) and _holds(statement.get("Condition", {}), context)
    }
    return effects == {"Allow"}


def _is_about_sending(statement: Mapping[str, Any]) -> bool:
    principal = statement["Principal"]
    services = ["*"] if principal == "*" else _texts(principal.get("Service", []))
    actions = [action.lower() for action in _texts(statement["Action"])]
    return any(service in ("*", "events.amazonaws.com") for service in services) and any(
        fnmatch.fnmatchcase("sqs:sendmessage", action) for action in actions
    )


def _holds(condition: Mapping[str, Mapping[str, Any]], context: Mapping[str, str]) -> bool:
    """Whether every part of a condition holds; a kind or key unknown here never does."""
    return all(
        kind in _CONDITIONS_ON_TEXT
        and any(fnmatch.fnmatchcase(context.get(key, ""), wanted) for wanted in _texts(values))
        for kind, keys in condition.items()
        for key, values in keys.items()
    )


def _texts(values: str | list[str]) -> list[str]:
    return [values] if isinstance(values, str) else values
