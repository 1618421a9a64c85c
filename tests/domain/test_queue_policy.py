"""Queue policies: what lets a rule send, and who else can."""

import json

import pytest

from queue_processor.domain import queue_policy

RULE = "arn:aws:events:us-east-1:123456789012:rule/spot"
OTHER_RULE = "arn:aws:events:us-east-1:123456789012:rule/other"
ACCOUNT = "arn:aws:iam::123456789012:root"


def policy(*statements: dict[str, object]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def allow(**changes: object) -> dict[str, object]:
    return {
        "Effect": "Allow",
        "Principal": {"Service": ["events.amazonaws.com"]},
        "Action": "sqs:*",
        **changes,
    }


def only(rule_arn: str) -> dict[str, object]:
    return allow(Condition={"ArnEquals": {"aws:SourceArn": rule_arn}})


def allows(*statements: dict[str, object]) -> bool:
    return queue_policy.allows_rule(policy(*statements), RULE)


def test_no_policy_allows_nothing() -> None:
    assert not queue_policy.allows_rule(None, RULE)
    assert not queue_policy.may_allow_rules(None)
    assert queue_policy.unconditional_senders(None) == []


def test_the_service_is_allowed_by_name() -> None:
    assert allows(allow())
    assert not allows(allow(Principal={"Service": "sns.amazonaws.com"}))
    assert not allows(allow(Principal={"AWS": "123456789012"}))


@pytest.mark.parametrize("everybody", ["*", {"AWS": "*"}])
def test_everybody_includes_the_service(everybody: object) -> None:
    assert allows(allow(Principal=everybody))
    assert queue_policy.may_allow_rules(policy(allow(Principal=everybody)))


def test_another_action_allows_nothing() -> None:
    assert not allows(allow(Action=["sqs:ReceiveMessage"]))


def test_a_rule_is_allowed_by_its_arn_and_its_account() -> None:
    assert allows(only(RULE))
    assert not allows(only(OTHER_RULE))
    assert allows(allow(Condition={"StringEquals": {"aws:SourceAccount": "123456789012"}}))
    assert not allows(allow(Condition={"StringEquals": {"aws:SourceAccount": "210987654321"}}))


def test_a_policy_for_another_rule_may_allow_rules_and_not_this_one() -> None:
    assert queue_policy.may_allow_rules(policy(only(OTHER_RULE)))
    assert not queue_policy.may_allow_rules(policy(allow(Principal={"AWS": ACCOUNT})))


def test_a_single_statement_need_not_be_in_a_list() -> None:
    assert queue_policy.allows_rule(json.dumps({"Statement": allow()}), RULE)


def test_a_denial_of_everybody_else_spares_the_service() -> None:
    def allows_beside_denial(**condition: dict[str, str]) -> bool:
        roles = {"ArnNotEquals": {"aws:PrincipalArn": "arn:aws:iam::123456789012:role/people"}}
        denial = allow(Effect="Deny", Principal="*", Condition={**condition, **roles})
        return allows(allow(), denial)

    assert allows_beside_denial(BoolIfExists={"aws:PrincipalIsAWSService": "false"})
    assert not allows_beside_denial(BoolIfExists={"aws:PrincipalIsAWSService": "true"})
    assert not allows_beside_denial()


def test_a_condition_that_is_not_understood_allows_nothing() -> None:
    assert not allows(allow(Condition={"NotIpAddress": {"aws:SourceIp": "1.2.3.4"}}))


def test_a_refusal_wins() -> None:
    refusal = allow(Effect="Deny", Principal="*")
    tls = refusal | {"Condition": {"Bool": {"aws:SecureTransport": "false"}}}

    assert not allows(allow(), refusal)
    assert allows(allow(), tls)


@pytest.mark.parametrize(
    ("statement", "senders"),
    [
        (allow(), ["events.amazonaws.com"]),
        (only(RULE), []),
        (allow(Principal={"AWS": [ACCOUNT, "*"]}), ["*", ACCOUNT]),
        (allow(Principal="*", Action="*"), ["*"]),
        (allow(Principal="*", Action="sqs:ReceiveMessage"), []),
        (allow(Principal="*", Effect="Deny"), []),
        ({"Effect": "Allow", "NotPrincipal": {"AWS": ACCOUNT}, "Action": "sqs:*"}, ["*"]),
        ({"Effect": "Allow", "Principal": "*", "NotAction": "sqs:DeleteMessage"}, ["*"]),
    ],
)
def test_principals_that_need_no_condition_are_named(
    statement: dict[str, object], senders: list[str]
) -> None:
    assert queue_policy.unconditional_senders(policy(statement)) == senders
