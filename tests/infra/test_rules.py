"""The rules of the stack refuse parameters that contradict each other, before anything is made."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.infra import templates

PROVIDER = {"OidcProviderArn": templates.OIDC_PROVIDER}
CLUSTER = {"ClusterName": "prod"}


def value_of(expression: Any, parameters: Mapping[str, Any]) -> Any:  # noqa: ANN401 - any YAML
    """Work out an expression of a rule."""
    match expression:
        case {"Ref": name}:
            return parameters[name]
        case {"Fn::Equals": [one, other]}:
            return value_of(one, parameters) == value_of(other, parameters)
        case {"Fn::Not": [negated]}:
            return not value_of(negated, parameters)
    return expression


def refusals(**chosen: str) -> list[str]:
    """The assertions that do not hold with these parameters, in their own words."""
    template = templates.read(templates.QUEUE)
    defaults = {name: each["Default"] for name, each in template["Parameters"].items()}
    parameters = {**defaults, **chosen}
    return [
        assertion["AssertDescription"]
        for rule in template["Rules"].values()
        if value_of(rule["RuleCondition"], parameters)
        for assertion in rule["Assertions"]
        if not value_of(assertion["Assert"], parameters)
    ]


@pytest.mark.parametrize(
    "parameters",
    [
        CLUSTER,
        {"WorkloadIdentity": "irsa", **PROVIDER},
        {"WorkloadIdentity": "none"},
    ],
    ids=["pod-identity", "irsa", "none"],
)
def test_parameters_that_fit_are_accepted(parameters: Mapping[str, str]) -> None:
    assert refusals(**parameters) == []


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"WorkloadIdentity": "irsa"}, "irsa requires OidcProviderArn"),
        ({}, "pod-identity requires ClusterName"),
        ({**CLUSTER, **PROVIDER}, "OidcProviderArn has no effect"),
        ({"WorkloadIdentity": "none", **CLUSTER}, "ClusterName has no effect"),
    ],
)
def test_a_contradiction_is_refused_in_words(parameters: Mapping[str, str], reason: str) -> None:
    (refusal,) = refusals(**parameters)

    assert reason in refusal
