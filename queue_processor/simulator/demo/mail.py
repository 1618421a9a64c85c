"""Sends what a scenario wants sent, the way AWS does."""

import datetime as dt
import itertools
import json
import uuid

from queue_processor.domain import aws_events
from queue_processor.domain.events import LifecycleTransition
from queue_processor.simulator.aws import events, lifecycle, simulator
from queue_processor.simulator.demo import evidence, scenario
from queue_processor.simulator.demo.scenario import Kind, Route

GROUP = "workers"
_DRAIN_HOOK = lifecycle.SimulatedLifecycleHook(
    GROUP, "drain", LifecycleTransition.TERMINATING, heartbeat_timeout=dt.timedelta(minutes=5)
)
_JOIN_HOOK = lifecycle.SimulatedLifecycleHook(
    GROUP, "join", LifecycleTransition.LAUNCHING, heartbeat_timeout=dt.timedelta(minutes=5)
)
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
_NOTICE = dt.timedelta(minutes=2)
_MAINTENANCE_AHEAD = dt.timedelta(days=7)
# An instance that has just been started, and is no node yet.
_NO_NODE = "i-0123456789abcdef0"
_MALFORMED_BODY = '{"source": "aws.ec2", "detail-type": "EC2 Spot Instance Interruption Warning'


class Mail:
    """The events of one rehearsal on their way into the queue.

    Its calls block, some of them for a few hundred milliseconds.
    """

    def __init__(self, aws: simulator.AwsSimulator) -> None:
        self._aws = aws
        #: The instances by the names of their nodes.
        self.instances: dict[str, str] = {}

    def prepare(self, plan: scenario.Scenario) -> None:
        """Run the instances, and the Auto Scaling group with its hooks if one is needed."""
        waiting = set(plan.launched)
        at_once = [node for node in plan.nodes if node.name not in waiting]
        by_zone = sorted(at_once, key=lambda node: node.zone)
        for zone, parts in itertools.groupby(by_zone, key=lambda node: node.zone):
            names = [part.name for part in parts]
            ids = self._aws.launch(len(names), zone=zone)
            self.instances.update(zip(names, ids, strict=True))
        members = {
            node
            for sending in plan.sendings
            if sending.kind is Kind.TERMINATION
            for node in sending.nodes
        }
        if members or waiting:
            ids = tuple(self.instances[node] for node in sorted(members))
            self._aws.create_auto_scaling_group(GROUP, ids, [_DRAIN_HOOK, _JOIN_HOOK])

    def knock(self) -> str:
        """Send what nobody has to act on, to see whether somebody reads; the message id."""
        return self._aws.send_raw(json.dumps(events.hook_test_notification(GROUP)))

    def send(self, sending: scenario.Sending) -> evidence.Sent:
        """Send, and tell how to know the messages and when the instance is taken away."""
        now = dt.datetime.now(tz=dt.UTC)
        match sending.kind:
            case Kind.TERMINATION:
                return self._terminate(sending)
            case Kind.LAUNCH:
                (node,) = sending.nodes
                self.instances[node] = self._aws.launch_in_group(GROUP)
                action = self._action_of(node)
                return evidence.Sent(sending=sending, mark=action.token)
            case Kind.MALFORMED:
                mark = self._aws.send_raw(_MALFORMED_BODY)
                return evidence.Sent(sending=sending, mark=mark)
            case Kind.HOOK_TEST:
                return evidence.Sent(sending=sending, mark=self.knock())
            case _:
                return self._post(sending, now - dt.timedelta(seconds=sending.age))

    def _terminate(self, sending: scenario.Sending) -> evidence.Sent:
        (node,) = sending.nodes
        if sending.route is Route.RULES:
            action = self._aws.terminate_in_group(self.instances[node])
            mark = action.token
        else:
            action = self._action_of(node)
            step = events.new_step(group=GROUP, hook=action.hook.name, token=action.token)
            body = events.lifecycle_notification(
                action.instance_id, step, action.hook.transition.value
            )
            mark = self._aws.send_raw(json.dumps(body))
        deadline = action.started_at + action.hook.global_timeout
        return evidence.Sent(sending=sending, mark=mark, deadline=deadline)

    def _action_of(self, node: str) -> lifecycle.SimulatedLifecycleAction:
        return next(
            action
            for action in self._aws.lifecycle_actions()
            if action.instance_id == self.instances[node]
        )

    def _post(self, sending: scenario.Sending, moment: dt.datetime) -> evidence.Sent:
        # Events tell their time in whole seconds.
        moment = moment.replace(microsecond=0)
        origin = events.new_origin(time=moment)
        ids = [self.instances[node] for node in sending.nodes]
        event, deadline = _event(sending.kind, ids, origin)
        if sending.route is Route.RULES:
            self._aws.put_events([event] * sending.copies)
            return evidence.Sent(sending=sending, mark=origin.event_id, deadline=deadline)
        body = _wrapped(event) if sending.route is Route.SNS else event
        mark = self._aws.send_raw(json.dumps(body))
        return evidence.Sent(sending=sending, mark=mark, deadline=deadline)


def _event(
    kind: Kind, ids: list[str], origin: aws_events.Origin
) -> tuple[aws_events.Event, dt.datetime | None]:
    """An event of AWS, and when it takes the instance away."""
    terminates_at: dt.datetime | None = origin.time + _NOTICE
    match kind:
        case Kind.SPOT:
            event = aws_events.spot_interruption(ids[0], origin=origin)
        case Kind.REBALANCE:
            event, terminates_at = aws_events.rebalance_recommendation(ids[0], origin=origin), None
        case Kind.CAPACITY:
            event = aws_events.capacity_reservation_interruption(ids[0], origin=origin)
        case Kind.STOPPING:
            event = aws_events.state_change(ids[0], "stopping", origin=origin)
        case Kind.SHUTTING_DOWN:
            event = aws_events.state_change(ids[0], "shutting-down", origin=origin)
        case Kind.PENDING:
            event, terminates_at = aws_events.state_change(_NO_NODE, "pending", origin=origin), None
        case Kind.SCHEDULED_CHANGE:
            terminates_at = origin.time + _MAINTENANCE_AHEAD
            event = _maintenance(ids, terminates_at, origin)
        case _:
            raise ValueError(f"{kind} is no event that is simply sent")
    return event, terminates_at


def _maintenance(
    ids: list[str], starts_at: dt.datetime, origin: aws_events.Origin
) -> aws_events.Event:
    """A scheduled change that names the first instance by its id, the others by their ARNs."""
    event = aws_events.scheduled_change(ids, events.new_change(starts_at), origin=origin)
    names = [*ids[:1], *(origin.instance_arn(instance_id) for instance_id in ids[1:])]
    detail = event["detail"]
    if isinstance(detail, dict):
        for entity, name in zip(detail["affectedEntities"], names, strict=True):
            entity["entityValue"] = name
    return event | {"resources": names}


def _wrapped(event: aws_events.Event) -> dict[str, str]:
    """A notification of SNS, as a subscribed queue gets it without raw delivery.

    https://docs.aws.amazon.com/sns/latest/dg/sns-sqs-as-subscriber.html
    """
    return {
        "Type": "Notification",
        "MessageId": str(uuid.uuid4()),
        "TopicArn": "arn:aws:sns:us-east-1:123456789012:interruptions",
        "Message": json.dumps(event),
        "Timestamp": dt.datetime.now(tz=dt.UTC).isoformat(timespec="milliseconds"),
    }
