"""The attributes of a queue that its owner sets.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html
"""

import dataclasses
import json
from collections.abc import Mapping

from queue_processor.simulator.aws.checks import SqsError, invalid_value

LONGEST_VISIBILITY_SECONDS = 43_200

_RANGES = {
    "DelaySeconds": range(901),
    "MaximumMessageSize": range(1_024, 1_048_577),
    "MessageRetentionPeriod": range(60, 1_209_601),
    "ReceiveMessageWaitTimeSeconds": range(21),
    "VisibilityTimeout": range(LONGEST_VISIBILITY_SECONDS + 1),
}
_DEFAULTS = {
    "DelaySeconds": "0",
    "MaximumMessageSize": "1048576",
    "MessageRetentionPeriod": "345600",
    "ReceiveMessageWaitTimeSeconds": "0",
    "VisibilityTimeout": "30",
    "SqsManagedSseEnabled": "true",
}
_OTHERS = ("KmsDataKeyReusePeriodSeconds", "KmsMasterKeyId", "Policy", "RedriveAllowPolicy")
_MOST_RECEIVES = 1_000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterRule:
    """The RedrivePolicy of a queue."""

    target_arn: str
    most_receives: int


class QueueSettings:
    """The attributes of one queue, as text, and its redrive policy."""

    def __init__(self, attributes: Mapping[str, object], now: float) -> None:
        """Take the attributes of a new queue.

        Raises:
            SqsError: As `change` does.
        """
        self.dead_letter_rule: DeadLetterRule | None = None
        self._attributes: dict[str, str] = dict(_DEFAULTS)
        self._created_at = self._modified_at = now
        self.change(attributes, now)

    def number(self, attribute: str) -> int:
        """Return an attribute that is a number."""
        return int(self._attributes[attribute])

    @property
    def policy(self) -> str | None:
        """The queue policy, as JSON."""
        return self._attributes.get("Policy")

    def change(self, attributes: Mapping[str, object], now: float) -> None:
        """Change some attributes; an empty Policy or RedrivePolicy removes it.

        Raises:
            SqsError: An attribute does not exist, or has a value that SQS does not take.
        """
        for name, value in attributes.items():
            text = value if isinstance(value, str) else json.dumps(value)
            if name == "FifoQueue":
                raise SqsError("InvalidParameterValue", "The simulator has standard queues only.")
            if name == "RedrivePolicy":
                text = "" if text == "{}" else text
                self.dead_letter_rule = _dead_letter_rule(text) if text else None
            elif name in _RANGES and not (text.isdecimal() and int(text) in _RANGES[name]):
                raise SqsError("InvalidAttributeValue", f"Invalid value for the parameter {name}.")
            elif name not in (*_DEFAULTS, *_OTHERS):
                raise SqsError("InvalidAttributeName", f"Unknown Attribute {name}.")
            if text:
                self._attributes[name] = text
            else:
                self._attributes.pop(name, None)
        self._modified_at = now

    def printed(self) -> dict[str, str]:
        """Return the attributes as `GetQueueAttributes` prints them."""
        return {
            **self._attributes,
            "CreatedTimestamp": str(int(self._created_at)),
            "LastModifiedTimestamp": str(int(self._modified_at)),
        }


def _dead_letter_rule(policy: str) -> DeadLetterRule:
    try:
        document = json.loads(policy)
        rule = DeadLetterRule(
            target_arn=str(document["deadLetterTargetArn"]),
            most_receives=int(document["maxReceiveCount"]),
        )
    except (ValueError, TypeError, KeyError) as cause:
        raise invalid_value(policy, "RedrivePolicy", "It is not a redrive policy.") from cause
    if not 1 <= rule.most_receives <= _MOST_RECEIVES:
        raise invalid_value(
            policy, "RedrivePolicy", "Invalid value for maxReceiveCount, from 1 to 1000."
        )
    return rule
