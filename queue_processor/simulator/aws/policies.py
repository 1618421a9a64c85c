"""Queue policies, which EventBridge needs to deliver; moto asks for no permission.

A policy that forgets a rule is a common fault, and it is silent: the event is just not there.

https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html#eb-sqs-permissions
"""

import fnmatch
import json
from collections.abc import Mapping
from typing import Any

_CONDITIONS_ON_TEXT = ("ArnEquals", "ArnLike", "StringEquals", "StringLike", "Bool")


def allows_rule(policy: str | None, rule_arn: str) -> bool:
    """Return whether a queue policy lets a rule of EventBridge send messages to its queue.

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
    """Return whether every part of a condition holds; a kind or key unknown here never does."""
    return all(
        kind in _CONDITIONS_ON_TEXT
        and any(fnmatch.fnmatchcase(context.get(key, ""), pattern) for pattern in _texts(values))
        for kind, keys in condition.items()
        for key, values in keys.items()
    )


def _texts(values: str | list[str]) -> list[str]:
    return [values] if isinstance(values, str) else values
