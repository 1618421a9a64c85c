"""EventBridge's default bus, in the place of moto's delivery to queues.

An event of an AWS service keeps its id, time and account here. moto gives it a new id, drops
``account``, delivers through disabled rules and against the queue's policy, and parses a JSONPath
for each field of each event.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from moto.core import utils as moto_utils
from moto.events import models
from moto.events import utils as event_utils
from moto.sqs import exceptions as sqs_exceptions
from moto.sqs import models as sqs_models

from queue_processor.simulator.aws import patches, policies

_Parse = Callable[[str | None, dict[str, str] | None, Mapping[str, object]], dict[str, Any]]


def deliver(event: Mapping[str, object], *, account: str, region: str) -> None:
    """Put an event on the default bus, as an AWS service does.

    Services need no PutEvents, which refuses the ``aws.`` sources:
    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-service-event.html
    """
    for rule in models.events_backends[account][region].event_buses["default"].rules.values():
        # The body of the message says nothing of the ingestion, but moto's templates ask for it.
        rule.send_to_targets({**event, "ingestion-time": moto_utils.unix_time()})  # type: ignore[typeddict-item] # an event from outside


@contextlib.contextmanager
def installed() -> Iterator[None]:
    """Let moto's rules deliver as EventBridge does.

    Raises:
        MotoChangedError: when moto's rules no longer have the shape that this relies on.
    """
    send: Callable[..., None] = models.Rule.send_to_targets
    parse: _Parse = event_utils.EventTemplateParser.parse  # type: ignore[assignment] # None is what moto passes

    def send_if_enabled(
        self: models.Rule,
        original_event: Mapping[str, object],
        transform_input: bool = True,  # noqa: FBT001, FBT002 as moto has it
    ) -> None:
        if self.state != "DISABLED":
            send(self, original_event, transform_input)

    def parse_if_templated(
        input_template: str | None,
        input_paths_map: dict[str, str] | None,
        event: Mapping[str, object],
    ) -> dict[str, Any]:
        if input_template:
            return parse(input_template, input_paths_map, event)
        return {name: value for name, value in event.items() if name != "ingestion-time"}

    with contextlib.ExitStack() as stack:
        for owner, name, replacement, parameters in (
            (
                models.Rule,
                "send_to_targets",
                send_if_enabled,
                ("self", "original_event", "transform_input"),
            ),
            (
                models.Rule,
                "_send_to_sqs_queue",
                _send_to_queue,
                ("self", "resource_id", "event", "group_id"),
            ),
            (
                event_utils.EventTemplateParser,
                "parse",
                staticmethod(parse_if_templated),
                ("input_template", "input_paths_map", "event"),
            ),
        ):
            stack.enter_context(patches.replaced(owner, name, replacement, parameters=parameters))
        yield


def _send_to_queue(
    self: models.Rule,
    resource_id: str,
    event: dict[str, Any],
    group_id: str | None = None,  # noqa: ARG001 as moto has it
) -> None:
    # PutEvents leaves the time as a number; an event of a service has the text AWS printed.
    if isinstance(event["time"], int | float):
        time = moto_utils.utcfromtimestamp(int(event["time"]))
        event = {**event, "time": moto_utils.iso_8601_datetime_without_milliseconds(time)}
    backend = sqs_models.sqs_backends[self.account_id][self.region_name]
    # EventBridge tries a queue that is not there, or is closed to it, for 24 hours. The sender
    # never hears of it.
    with contextlib.suppress(sqs_exceptions.QueueDoesNotExist):
        if policies.allows_rule(backend.get_queue(resource_id).policy, self.arn):
            backend.send_message(resource_id, json.dumps(event, separators=(",", ":")))
