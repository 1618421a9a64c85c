"""Reads the rules of EventBridge that send events to a queue."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from queue_processor.adapters.aws import errors as aws_errors

if TYPE_CHECKING:
    from types_boto3_events import EventBridgeClient


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EventRule:
    """A rule.

    Attributes:
        pattern: The event pattern, as JSON; empty for a rule that runs on a schedule.
    """

    name: str
    arn: str
    is_enabled: bool
    pattern: str


class EventRules:
    """The rules of the default event bus, on which AWS puts its events.

    Every method raises Forbidden with the permission that is missing, or TemporaryError.
    """

    def __init__(self, client: "EventBridgeClient") -> None:
        self._client = client

    def with_target(self, arn: str) -> Sequence[EventRule]:
        """Return the rules that have a target."""
        with aws_errors.needs_permission("events:ListRuleNamesByTarget", arn):
            pages = self._client.get_paginator("list_rule_names_by_target").paginate(TargetArn=arn)
            names = [name for page in pages for name in page["RuleNames"]]
        return [self._described(name) for name in names]

    def matches(self, rule: EventRule, event: Mapping[str, object]) -> bool:
        """Return True if AWS finds that the pattern of a rule matches an event.

        https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_TestEventPattern.html
        """
        with aws_errors.needs_permission("events:TestEventPattern", rule.name):
            answer = self._client.test_event_pattern(
                EventPattern=rule.pattern, Event=json.dumps(event)
            )
            return answer["Result"]

    def _described(self, name: str) -> EventRule:
        with aws_errors.needs_permission("events:DescribeRule", name):
            rule = self._client.describe_rule(Name=name)
            return EventRule(
                name=name,
                arn=rule["Arn"],
                is_enabled=rule["State"] != "DISABLED",
                pattern=rule.get("EventPattern", ""),
            )
