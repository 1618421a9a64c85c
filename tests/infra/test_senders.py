"""Senders to the queues of the stack: a sender can have any node drained."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from queue_processor.simulator.aws import simulator
from tests.infra import evaluation, templates
from tests.infra.evaluation import Caller

HOOK_ROLE = "arn:aws:iam::123456789012:role/hooks"
VARIANTS: Mapping[str, Mapping[str, str]] = {
    "defaults": {},
    "a topic": {"CreateNotificationTopic": "true"},
    "a replay role": {"ReplayPrincipalArns": "arn:aws:iam::123456789012:root"},
    "a sender": {"SenderArns": HOOK_ROLE},
    "two senders": {"SenderArns": f"{HOOK_ROLE},arn:aws:iam::123456789012:user/other"},
    "everything": {**templates.EVERYTHING, "SenderArns": HOOK_ROLE},
}
EVERYTHING_ALLOWED = {"Effect": "Allow", "Action": "*", "Resource": "*"}


class Stack:
    """The queues of a rendered stack, and who may want to send to them."""

    def __init__(self, resources: Mapping[str, Any]) -> None:
        self._resources = resources
        (rule,) = (
            statement
            for statement in self._policy("QueuePolicy")
            if statement.get("Sid") == "RulesSend"
        )
        self.queue: str = rule["Resource"]
        self.dead_letters: str = self._policy("DeadLetterQueuePolicy")[0]["Resource"]
        self.rule: str = rule["Condition"]["ArnEquals"]["aws:SourceArn"][0]

    def _policy(self, name: str) -> Sequence[Mapping[str, Any]]:
        statements: Sequence[Mapping[str, Any]]
        statements = self._resources[name]["Properties"]["PolicyDocument"]["Statement"]
        return statements

    @property
    def topic(self) -> str:
        (statement,) = (
            each for each in self._policy("QueuePolicy") if each.get("Sid") == "TopicSends"
        )
        arn: str = statement["Condition"]["ArnEquals"]["aws:SourceArn"]
        return arn

    @property
    def operator(self) -> Caller:
        return evaluation.identity(
            "arn:aws:iam::123456789012:role/operator", *self._policy("OperatorPolicy")
        )

    @property
    def replay_role(self) -> Caller:
        (policy,) = self._resources["ReplayRole"]["Properties"]["Policies"]
        (denial,) = (
            each for each in self._policy("QueuePolicy") if each.get("Sid") == "NobodyElseSends"
        )
        arn = denial["Condition"]["ArnNotEquals"]["aws:PrincipalArn"][0]
        assert ":role/queue-processor-ReplayRole-" in arn
        return evaluation.identity(arn, *policy["PolicyDocument"]["Statement"])

    def takes_from(self, caller: Caller, *, by_tls: bool = True) -> bool:
        return evaluation.is_allowed(
            caller,
            "sqs:SendMessage",
            self.queue,
            resource_policy=self._policy("QueuePolicy"),
            by_tls=by_tls,
        )

    def lets_use_key(self, caller: Caller) -> bool:
        """Return whether the caller may do with the key of the stack what it takes to send."""
        through_sqs = {"kms:ViaService": "sqs.us-east-1.amazonaws.com"}
        caller = dataclasses.replace(caller, context={**caller.context, **through_sqs})
        return all(
            evaluation.is_allowed(
                caller,
                action,
                self._key,
                resource_policy=self._resources["Key"]["Properties"]["KeyPolicy"]["Statement"],
            )
            for action in ("kms:GenerateDataKey", "kms:Decrypt")
        )

    @property
    def _key(self) -> str:
        (statement,) = (
            each for each in self._policy("OperatorPolicy") if each.get("Sid") == "UseKey"
        )
        arn: str = statement["Resource"]
        assert ":key/" in arn
        return arn

    def puts_aside_for(self, caller: Caller) -> bool:
        return evaluation.is_allowed(
            caller,
            "sqs:SendMessage",
            self.dead_letters,
            resource_policy=self._policy("DeadLetterQueuePolicy"),
        )


@pytest.fixture(scope="module", params=VARIANTS)
def stack(aws: simulator.AwsSimulator, request: pytest.FixtureRequest) -> Stack:
    return Stack(templates.rendered(aws, VARIANTS[request.param]))


@pytest.fixture(scope="module")
def everything(aws: simulator.AwsSimulator) -> Stack:
    return Stack(templates.rendered(aws, VARIANTS["everything"]))


def test_the_rules_of_the_stack_send(stack: Stack) -> None:
    caller = evaluation.service("events.amazonaws.com", stack.rule)

    assert stack.takes_from(caller)
    assert not stack.takes_from(caller, by_tls=False)


@pytest.mark.parametrize("name", ["events.amazonaws.com", "sns.amazonaws.com", "s3.amazonaws.com"])
def test_no_other_resource_of_a_service_sends(stack: Stack, name: str) -> None:
    another = "arn:aws:events:us-east-1:123456789012:rule/another"

    assert not stack.takes_from(evaluation.service(name, another))


def test_an_administrator_does_not_send(stack: Stack) -> None:
    for arn in (
        "arn:aws:iam::123456789012:role/admin",
        "arn:aws:iam::123456789012:user/admin",
        "arn:aws:iam::123456789012:root",
    ):
        assert not stack.takes_from(evaluation.identity(arn, EVERYTHING_ALLOWED)), arn


def test_the_operator_sends_dead_letters_alone(stack: Stack) -> None:
    assert not stack.takes_from(stack.operator)
    assert stack.puts_aside_for(stack.operator)


def test_the_replay_role_sends_to_the_queue_alone(everything: Stack) -> None:
    assert everything.takes_from(everything.replay_role)
    assert not everything.puts_aside_for(everything.replay_role)


def test_the_topic_of_the_stack_sends_and_no_other(everything: Stack) -> None:
    assert everything.takes_from(evaluation.service("sns.amazonaws.com", everything.topic))
    assert not everything.takes_from(
        evaluation.service("sns.amazonaws.com", "arn:aws:sns:us-east-1:123456789012:another")
    )


@pytest.mark.parametrize("variant", ["a sender", "two senders", "everything"])
def test_a_role_that_the_stack_names_sends_with_a_permission_of_its_own(
    aws: simulator.AwsSimulator, variant: str
) -> None:
    stack = Stack(templates.rendered(aws, VARIANTS[variant]))

    assert stack.takes_from(evaluation.identity(HOOK_ROLE, EVERYTHING_ALLOWED))
    assert not stack.takes_from(evaluation.identity(HOOK_ROLE))


def test_all_that_send_may_use_the_key_of_the_queues(everything: Stack) -> None:
    for caller in (
        evaluation.service("events.amazonaws.com", everything.rule),
        evaluation.service("sns.amazonaws.com", everything.topic),
        everything.replay_role,
        everything.operator,
    ):
        assert everything.lets_use_key(caller), caller


def test_no_other_service_or_role_may_use_the_key_of_the_queues(everything: Stack) -> None:
    for caller in (
        evaluation.service("sns.amazonaws.com", "arn:aws:sns:us-east-1:123456789012:another"),
        evaluation.service("s3.amazonaws.com", "arn:aws:s3:::bucket"),
        evaluation.identity(HOOK_ROLE),
    ):
        assert not everything.lets_use_key(caller), caller
