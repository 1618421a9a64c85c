"""The messages of a scenario arrive in the queue of the template, and can be matched there."""

import json
from collections.abc import Iterator
from typing import TypeAlias

import pytest

from queue_processor.domain.events import EventKind
from queue_processor.simulator.aws import simulator
from queue_processor.simulator.demo import messages, scenarios
from queue_processor.simulator.demo.results import SentMessage
from queue_processor.simulator.demo.scenario import DeliveryRoute, Noise

Sent: TypeAlias = tuple[simulator.AwsSimulator, list[SentMessage], dict[str, str]]


@pytest.fixture(scope="module")
def sent() -> Iterator[Sent]:
    """Everything that `mixed` sends."""
    plan = scenarios.compose("mixed", seed=0)
    with simulator.AwsSimulator() as aws:
        aws.deploy()
        sender = messages.MessageSender(aws)
        sender.prepare(plan)
        yield aws, [sender.send(planned) for planned in plan.messages], sender.instances


def test_every_message_arrives_as_often_as_it_is_sent(sent: Sent) -> None:
    aws, made, _ = sent
    log = aws.message_log()
    for one in made:
        arrived = sum(one.matches(record) for record in log)
        assert arrived == one.planned.copies, one.planned
    assert len(log) == sum(one.planned.copies for one in made)


def test_every_message_names_the_instances_of_its_nodes(sent: Sent) -> None:
    aws, made, instances = sent
    for one in made:
        for record in aws.message_log():
            if one.matches(record) and one.planned.is_interruption:
                assert all(instances[node] in record.body for node in one.planned.nodes)


def test_a_scheduled_change_names_one_instance_by_id_and_one_by_arn(sent: Sent) -> None:
    aws, made, instances = sent
    (change,) = (one for one in made if one.planned.kind is EventKind.SCHEDULED_CHANGE)
    (record,) = (one for one in aws.message_log() if change.matches(one))
    event = json.loads(record.body)
    first, second = (instances[node] for node in change.planned.nodes)
    named = [entity["entityValue"] for entity in event["detail"]["affectedEntities"]]
    assert named == event["resources"]
    assert named == [first, f"arn:aws:ec2:us-east-1:123456789012:instance/{second}"]


def test_the_event_with_a_near_deadline_is_as_old_as_planned(sent: Sent) -> None:
    aws, made, _ = sent
    (aged,) = (one for one in made if one.planned.age)
    (record,) = (one for one in aws.message_log() if aged.matches(one))
    assert aged.deadline is not None
    left = (aged.deadline - record.sent_at).total_seconds()
    assert 30 < left < 36


def test_what_has_no_deadline_has_none(sent: Sent) -> None:
    _, made, _ = sent
    without = {one.planned.kind for one in made if one.deadline is None}
    assert without == {
        EventKind.REBALANCE_RECOMMENDATION,
        EventKind.AUTOSCALING_LAUNCH,
        *Noise,
    }


def test_both_notifications_of_a_termination_are_about_one_action(sent: Sent) -> None:
    aws, made, instances = sent
    both = [one for one in made if one.planned.kind is EventKind.AUTOSCALING_TERMINATION]
    assert [one.planned.route for one in both] == [DeliveryRoute.RULES, DeliveryRoute.QUEUE]
    node = both[0].planned.nodes[0]
    actions = [one for one in aws.lifecycle_actions() if one.instance_id == instances[node]]
    assert [one.token for one in actions] == [both[0].mark]
    assert all(
        actions[0].token in record.body
        for one in both
        for record in aws.message_log()
        if one.matches(record)
    )
