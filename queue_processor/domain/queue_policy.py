"""Decides who can send messages to a queue by its policy: EventBridge, a rule, or anyone.

It reads policies as far as they are written for queues: a condition that it does not understand
does not hold, so that it never calls a policy wider than it is.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html#eb-sqs-permissions
"""

import fnmatch
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

_Statement: TypeAlias = Mapping[str, Any]

EVERYBODY = "*"
EVENTBRIDGE = "events.amazonaws.com"

_SEND = "sqs:sendmessage"
_OF_RULES = frozenset({EVERYBODY, EVENTBRIDGE})
_ON_TEXT = ("ArnEquals", "ArnLike", "StringEquals", "StringLike", "Bool", "BoolIfExists")
# They hold for a key that the request lacks, too.
_NEGATED = ("ArnNotEquals", "ArnNotLike", "StringNotEquals", "StringNotLike")


def allows_rule(policy: str | None, rule_arn: str) -> bool:
    """Return True if a queue policy lets a rule of EventBridge send messages to its queue.

    Args:
        policy: The policy document as JSON; None when the queue has none.
        rule_arn: The ARN of the rule.
    """
    context = {
        "aws:PrincipalIsAWSService": "true",
        "aws:SecureTransport": "true",
        "aws:SourceArn": rule_arn,
        "aws:SourceAccount": rule_arn.split(":")[4],
    }
    effects = {
        statement["Effect"]
        for statement in _about_sending(policy)
        if not _OF_RULES.isdisjoint(_principals(statement))
        and _holds(statement.get("Condition") or {}, context)
    }
    return effects == {"Allow"}


def may_allow_rules(policy: str | None) -> bool:
    """Return True if a queue policy allows EventBridge to send, under whatever condition."""
    return any(not _OF_RULES.isdisjoint(principals) for principals, _ in _senders(policy))


def unconditional_senders(policy: str | None) -> Sequence[str]:
    """Return the principals that a queue policy allows to send without a condition."""
    return sorted(
        {
            principal
            for principals, condition in _senders(policy)
            if not condition
            for principal in principals
        }
    )


def _senders(policy: str | None) -> Iterator[tuple[Sequence[str], object]]:
    for statement in _about_sending(policy):
        if statement["Effect"] == "Allow":
            yield _principals(statement), statement.get("Condition")


def _about_sending(policy: str | None) -> Iterator[_Statement]:
    document = json.loads(policy) if policy else {}
    statements = document.get("Statement", [])
    for statement in [statements] if isinstance(statements, dict) else statements:
        # NotAction names some actions, and means all others.
        actions = _texts(statement.get("Action", "*"))
        if any(fnmatch.fnmatchcase(_SEND, action.lower()) for action in actions):
            yield statement


def _principals(statement: _Statement) -> Sequence[str]:
    """Return the principals of a statement: ARNs, accounts and services, or EVERYBODY.

    NotPrincipal names some, and means everybody else.
    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html
    """
    principal = statement.get("Principal", EVERYBODY)
    if isinstance(principal, str):
        return [principal]
    return [each for names in principal.values() for each in _texts(names)]


def _holds(condition: Mapping[str, Mapping[str, Any]], context: Mapping[str, str]) -> bool:
    """Return True if every part of a condition holds; an unknown operator or key never does."""
    return all(
        _compares(operator, context.get(key, ""), _texts(values))
        for operator, keys in condition.items()
        for key, values in keys.items()
    )


def _compares(operator: str, value: str, patterns: Sequence[str]) -> bool:
    is_one = any(fnmatch.fnmatchcase(value, pattern) for pattern in patterns)
    return (operator in _ON_TEXT and is_one) or (operator in _NEGATED and not is_one)


def _texts(values: str | Sequence[str]) -> Sequence[str]:
    return [values] if isinstance(values, str) else values
