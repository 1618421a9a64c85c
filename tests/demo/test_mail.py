"""What a scenario sends arrives in the queue of the template, and can be told apart there."""

import json
from collections.abc import Iterator
from typing import TypeAlias

import pytest

from queue_processor.simulator.aws import simulator
from queue_processor.simulator.demo import evidence, mail, scenarios
from queue_processor.simulator.demo.scenario import Expectation, Kind, Route

Sent: TypeAlias = tuple[simulator.AwsSimulator, list[evidence.Sent], dict[str, str]]


@pytest.fixture(scope="module")
def sent() -> Iterator[Sent]:
    """Everything that `mixed` sends."""
    plan = scenarios.compose(scenarios.Name.MIXED, scenarios.Size(), seed=0)
    with simulator.AwsSimulator() as aws:
        aws.deploy()
        post = mail.Mail(aws)
        post.prepare(plan)
        yield aws, [post.send(sending) for sending in plan.sendings], post.instances


def test_every_sending_arrives_as_often_as_it_is_sent(
    sent: Sent,
) -> None:
    aws, made, _ = sent
    log = aws.message_log()
    for one in made:
        arrived = sum(one.is_told_by(record) for record in log)
        assert arrived == one.sending.copies, one.sending
    assert len(log) == sum(one.sending.copies for one in made)


def test_every_message_names_the_instances_of_its_nodes(
    sent: Sent,
) -> None:
    aws, made, instances = sent
    for one in made:
        for record in aws.message_log():
            if one.is_told_by(record) and one.sending.kind.expectation is Expectation.DRAIN:
                assert all(instances[node] in record.body for node in one.sending.nodes)


def test_a_scheduled_change_names_one_instance_by_id_and_one_by_arn(
    sent: Sent,
) -> None:
    aws, made, instances = sent
    (change,) = (one for one in made if one.sending.kind is Kind.SCHEDULED_CHANGE)
    (record,) = (one for one in aws.message_log() if change.is_told_by(one))
    event = json.loads(record.body)
    first, second = (instances[node] for node in change.sending.nodes)
    named = [entity["entityValue"] for entity in event["detail"]["affectedEntities"]]
    assert named == event["resources"]
    assert named == [first, f"arn:aws:ec2:us-east-1:123456789012:instance/{second}"]


def test_the_event_with_a_near_deadline_lies_as_far_back_as_it_says(
    sent: Sent,
) -> None:
    aws, made, _ = sent
    (aged,) = (one for one in made if one.sending.age)
    (record,) = (one for one in aws.message_log() if aged.is_told_by(one))
    assert aged.deadline is not None
    left = (aged.deadline - record.sent_at).total_seconds()
    assert 30 < left < 36


def test_what_has_no_deadline_has_none(
    sent: Sent,
) -> None:
    _, made, _ = sent
    without = {one.sending.kind for one in made if one.deadline is None}
    assert without == {
        *(Kind.REBALANCE, Kind.LAUNCH, Kind.PENDING, Kind.HOOK_TEST, Kind.MALFORMED),
    }


def test_both_notifications_of_a_termination_are_about_one_action(
    sent: Sent,
) -> None:
    aws, made, instances = sent
    both = [one for one in made if one.sending.kind is Kind.TERMINATION]
    assert [one.sending.route for one in both] == [Route.RULES, Route.QUEUE]
    node = both[0].sending.nodes[0]
    actions = [one for one in aws.lifecycle_actions() if one.instance_id == instances[node]]
    assert [one.token for one in actions] == [both[0].mark]
    assert all(
        actions[0].token in record.body
        for one in both
        for record in aws.message_log()
        if one.is_told_by(record)
    )
