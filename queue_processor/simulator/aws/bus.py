"""EventBridge's default bus, where moto delivers to queues differently from AWS.

An event of an AWS service keeps its id, time and account here. moto gives it a new id, drops
`account`, and delivers through disabled rules and against the queue's policy. A policy that forgets
a rule is a common fault, and it is silent: the event is just not there.

https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html#eb-sqs-permissions
"""

import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

from moto.core import utils as moto_utils
from moto.events import models, responses

from queue_processor.domain import queue_policy
from queue_processor.simulator.aws import http, patches
from queue_processor.simulator.aws.sqs import ACCOUNT, REGION, SimulatedSqs


def deliver(event: Mapping[str, object]) -> None:
    """Put an event on the default bus, as an AWS service does.

    Services need no PutEvents, which refuses the `aws.` sources:
    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-service-event.html
    """
    for rule in models.events_backends[ACCOUNT][REGION].event_buses["default"].rules.values():
        rule.send_to_targets(event)  # type: ignore[arg-type] # an event from outside


@contextlib.contextmanager
def installed(sqs: http.HttpSqs) -> Iterator[None]:
    """Let moto's rules deliver to the queues as EventBridge does.

    Raises:
        MotoChangedError: moto's rules no longer have the shape that this relies on.
    """

    def send_to_targets(
        rule: models.Rule,
        original_event: Mapping[str, object],
        transform_input: bool = True,  # noqa: ARG001, FBT001, FBT002 as moto has it
    ) -> None:
        if rule.state == "DISABLED" or not rule.event_pattern.matches_event(original_event):  # type: ignore[arg-type] # the same
            return
        body = json.dumps(_as_delivered(original_event), separators=(",", ":"))
        for target in rule.targets:
            name = target["Arn"].rpartition(":")[2]
            if target["Arn"] != SimulatedSqs.arn_of(name):
                raise NotImplementedError(f"The simulator has no target {target['Arn']}.")
            # EventBridge tries a queue that is not there, or is closed to it, for 24 hours. The
            # sender never hears of it.
            with sqs.locked() as service:
                queue = service.queues.get(name)
                if queue is not None and queue_policy.allows_rule(queue.settings.policy, rule.arn):
                    queue.send(body, now=time.time())

    def test_event_pattern(handler: responses.EventsHandler) -> tuple[str, dict[str, Any]]:
        pattern, event = handler._get_param("EventPattern"), handler._get_param("Event")  # noqa: SLF001 as moto's own responses do
        rule = models.EventPattern(pattern, json.loads(pattern))
        answer = {"Result": rule.matches_event(json.loads(event))}
        return json.dumps(answer), handler.response_headers

    parameters = ("self", "original_event", "transform_input")
    with (
        patches.replaced(models.Rule, "send_to_targets", send_to_targets, parameters=parameters),
        patches.replaced(
            responses.EventsHandler,
            "test_event_pattern",
            test_event_pattern,
            parameters=("self",),
        ),
    ):
        yield


def _as_delivered(event: Mapping[str, object]) -> Mapping[str, object]:
    """Return an event of PutEvents with the time as text, and without what moto adds to it."""
    sent_at = event["time"]
    if isinstance(sent_at, int | float):
        moment = moto_utils.utcfromtimestamp(int(sent_at))
        event = {**event, "time": moto_utils.iso_8601_datetime_without_milliseconds(moment)}
    return {name: value for name, value in event.items() if name != "ingestion-time"}
