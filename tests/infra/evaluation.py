"""IAM's evaluation of policies, as far as the templates use it.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic_policy-eval-denyallow.html
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
"""

import dataclasses
import fnmatch
from collections.abc import Mapping, Sequence
from typing import Any

ACCOUNT = "123456789012"

_NEGATED = {"StringNotEquals": "StringEquals", "ArnNotEquals": "ArnEquals"}
_POSITIVE = {"StringEquals", "ArnEquals", "Bool"}


@dataclasses.dataclass(frozen=True)
class Caller:
    """Makes a request: a role or user with its own policies, or a service.

    Attributes:
        context: The condition keys of its requests.
        statements: Those of its identity policies; a service has none.
        service: Its name, if it is one.
    """

    context: Mapping[str, str]
    statements: Sequence[Mapping[str, Any]] = ()
    service: str | None = None


def identity(arn: str, *statements: Mapping[str, Any]) -> Caller:
    """Return a role or user, whose requests are not those of a service."""
    return Caller({"aws:PrincipalArn": arn, "aws:PrincipalIsAWSService": "false"}, statements)


def service(name: str, source_arn: str) -> Caller:
    """Return a service that acts for one of its resources; its requests have no ARN of a role."""
    context = {
        "aws:PrincipalIsAWSService": "true",
        "aws:SourceArn": source_arn,
        "aws:SourceAccount": ACCOUNT,
    }
    return Caller(context, service=name)


def is_allowed(
    caller: Caller,
    action: str,
    resource: str,
    *,
    resource_policy: Sequence[Mapping[str, Any]],
    by_tls: bool = True,
) -> bool:
    """Return whether the account's policies allow a request within the account."""
    context = {**caller.context, "aws:SecureTransport": str(by_tls).lower()}
    effects = {
        statement["Effect"]
        for statement in (
            *caller.statements,
            *(each for each in resource_policy if _names(each["Principal"], caller)),
        )
        if _matches(statement["Action"], action)
        and _matches(statement["Resource"], resource)
        and _holds(statement.get("Condition", {}), context)
    }
    return effects == {"Allow"}


def _names(principal: str | Mapping[str, Any], caller: Caller) -> bool:
    if principal == "*":
        return True
    assert isinstance(principal, Mapping)
    if caller.service is not None:
        return caller.service in _texts(principal.get("Service", []))
    # The root of an account stands for its identities, which need permissions of their own then.
    return caller.context["aws:PrincipalArn"] in _texts(principal.get("AWS", []))


def _matches(patterns: str | Sequence[str], text: str) -> bool:
    return any(fnmatch.fnmatchcase(text, pattern) for pattern in _texts(patterns))


def _holds(condition: Mapping[str, Mapping[str, Any]], context: Mapping[str, str]) -> bool:
    return all(
        _compares(operator, context.get(key), _texts(values))
        for operator, keys in condition.items()
        for key, values in keys.items()
    )


def _compares(operator: str, value: str | None, expected: Sequence[str]) -> bool:
    """Compare; an absent key makes a positive operator false, and a negated one true."""
    if operator.endswith("IfExists"):
        return value is None or _compares(operator.removesuffix("IfExists"), value, expected)
    if operator in _NEGATED:
        return not _compares(_NEGATED[operator], value, expected)
    if operator not in _POSITIVE:
        raise NotImplementedError(operator)
    # ArnEquals takes wildcards, too.
    return value is not None and any(
        fnmatch.fnmatchcase(value, each) if operator == "ArnEquals" else value == each
        for each in expected
    )


def _texts(values: str | Sequence[str]) -> Sequence[str]:
    return [values] if isinstance(values, str) else values
