"""Sends the messages of a scenario the way AWS does."""

import datetime as dt
import itertools
import json
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING

from queue_processor.domain import aws_events, deadlines, event_builder
from queue_processor.domain.events import EventKind, LifecycleTransition
from queue_processor.simulator.aws import events, lifecycle
from queue_processor.simulator.demo.results import SentMessage
from queue_processor.simulator.demo.scenario import DeliveryRoute, Noise, PlannedMessage, Scenario

if TYPE_CHECKING:
    # Not at run time: a benchmark builds events without moto.
    from queue_processor.simulator.aws import simulator

GROUP = "workers"
_HOOKS = [
    lifecycle.SimulatedLifecycleHook(
        GROUP, name, transition, heartbeat_timeout=dt.timedelta(minutes=5)
    )
    for name, transition in (
        ("drain", LifecycleTransition.TERMINATING),
        ("join", LifecycleTransition.LAUNCHING),
    )
]
_MAINTENANCE_AHEAD = dt.timedelta(days=7)
# An instance that was just started, and is not a node yet.
_PENDING_INSTANCE = "i-0123456789abcdef0"
_MALFORMED_BODY = '{"source": "aws.ec2", "detail-type": "EC2 Spot Instance Interruption Warning'


class MessageSender:
    """Runs the instances of a scenario, and sends the messages about them.

    Its calls block, some of them for a few hundred milliseconds.
    """

    def __init__(self, aws: "simulator.AwsSimulator") -> None:
        self._aws = aws
        #: The instance ids by the names of their nodes.
        self.instances: dict[str, str] = {}

    def prepare(self, scenario: Scenario) -> None:
        """Run the instances, and the Auto Scaling group with its hooks if one is needed."""
        at_once = [node for node in scenario.nodes if node.name not in scenario.launched]
        by_zone = sorted(at_once, key=lambda node: node.zone)
        for zone, nodes in itertools.groupby(by_zone, key=lambda node: node.zone):
            names = [node.name for node in nodes]
            ids = self._aws.launch(len(names), zone=zone)
            self.instances.update(zip(names, ids, strict=True))
        if scenario.held_up:
            members = sorted(set(scenario.held_up) - set(scenario.launched))
            ids = tuple(self.instances[node] for node in members)
            self._aws.create_auto_scaling_group(GROUP, ids, _HOOKS)

    def send(self, planned: PlannedMessage) -> SentMessage:
        """Send a message, as often as planned."""
        match planned.kind:
            case EventKind.AUTOSCALING_TERMINATION:
                return self._terminate(planned)
            case EventKind.AUTOSCALING_LAUNCH:
                (node,) = planned.nodes
                self.instances[node] = self._aws.launch_in_group(GROUP)
                return SentMessage(planned=planned, mark=self._action_of(node).token)
            case Noise.MALFORMED:
                return SentMessage(planned=planned, mark=self._aws.send_raw(_MALFORMED_BODY))
            case _:
                return self._send_event(planned)

    def _terminate(self, planned: PlannedMessage) -> SentMessage:
        (node,) = planned.nodes
        if planned.route is DeliveryRoute.RULES:
            action = self._aws.terminate_in_group(self.instances[node])
            mark = action.token
        else:
            action = self._action_of(node)
            step = events.new_step(group=GROUP, hook=action.hook.name, token=action.token)
            transition = action.hook.transition.value
            body = events.lifecycle_notification(action.instance_id, step, transition)
            mark = self._aws.send_raw(json.dumps(body))
        deadline = action.started_at + action.hook.global_timeout
        return SentMessage(planned=planned, mark=mark, deadline=deadline)

    def _action_of(self, node: str) -> lifecycle.SimulatedLifecycleAction:
        return next(
            action
            for action in self._aws.lifecycle_actions()
            if action.instance_id == self.instances[node]
        )

    def _send_event(self, planned: PlannedMessage) -> SentMessage:
        # Events have their time in whole seconds.
        now = dt.datetime.now(tz=dt.UTC).replace(microsecond=0)
        origin = events.new_origin(time=now - dt.timedelta(seconds=planned.age))
        event = build_event(planned, [self.instances[node] for node in planned.nodes], origin)
        if planned.route is DeliveryRoute.RULES:
            self._aws.put_events([event] * planned.copies)
            mark = origin.event_id
        else:
            body = _sns_notification(event) if planned.route is DeliveryRoute.SNS else event
            mark = self._aws.send_raw(json.dumps(body))
        return SentMessage(planned=planned, mark=mark, deadline=_deadline(planned, origin.time))


def build_event(
    planned: PlannedMessage, instance_ids: Sequence[str], origin: aws_events.Origin
) -> aws_events.Event:
    """Build an event that needs no lifecycle action.

    A scheduled change names the instances after the first by their ARNs.
    """
    match planned.kind:
        case Noise.HOOK_TEST:
            return events.hook_test_notification(GROUP, origin=origin)
        case Noise.PENDING_INSTANCE:
            return aws_events.state_change(_PENDING_INSTANCE, "pending", origin=origin)
        case EventKind.SCHEDULED_CHANGE:
            names = [*instance_ids[:1], *map(origin.instance_arn, instance_ids[1:])]
            change = events.new_change(origin.time + _MAINTENANCE_AHEAD)
            return aws_events.scheduled_change(names, change, origin=origin)
        case EventKind():
            options = event_builder.EventOptions(state=planned.state)
            return event_builder.build_event(planned.kind, instance_ids[0], options, origin=origin)
        case _:
            raise ValueError(f"{planned.kind} is not an event")


def _deadline(planned: PlannedMessage, occurred_at: dt.datetime) -> dt.datetime | None:
    if not planned.is_interruption or planned.kind is EventKind.REBALANCE_RECOMMENDATION:
        return None
    if planned.kind is EventKind.SCHEDULED_CHANGE:
        return occurred_at + _MAINTENANCE_AHEAD
    return occurred_at + deadlines.INTERRUPTION_NOTICE


def _sns_notification(event: aws_events.Event) -> dict[str, str]:
    """Wrap an event as SNS does for a subscribed queue without raw message delivery.

    https://docs.aws.amazon.com/sns/latest/dg/sns-sqs-as-subscriber.html
    """
    return {
        "Type": "Notification",
        "MessageId": str(uuid.uuid4()),
        "TopicArn": "arn:aws:sns:us-east-1:123456789012:interruptions",
        "Message": json.dumps(event),
        "Timestamp": dt.datetime.now(tz=dt.UTC).isoformat(timespec="milliseconds"),
    }
