"""Rewrites times and instance ids in a message, and leaves every other byte as it is.

It works on the text, so it makes no difference which shape the body has, or whether it is an event
at all.
"""

import dataclasses
import datetime as dt
import email.utils
import re
from collections.abc import Mapping

from queue_processor.domain import errors, identifiers, parsing
from queue_processor.domain.identifiers import InstanceId
from queue_processor.domain.messages import QueueMessage

# The two formats in which AWS prints times: up to the second, and what follows.
_ISO_8601 = re.compile(
    r"(?<![\w.:-])(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)"
    r"(?P<rest>(?:\.\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?)(?![\w:-])",
    re.ASCII,
)
_RFC_1123 = re.compile(
    r"(?<!\w)(?P<time>[A-Z][a-z]{2}, \d{1,2} [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d)"
    r"(?P<rest> (?:GMT|UTC|[+-]\d{4}))(?!\w)",
    re.ASCII,
)
_INSTANCE_ID = re.compile(r"(?<![\w-])i-[0-9a-f]{8,17}(?![\w-])", re.ASCII)
_SECOND = dt.timedelta(seconds=1)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rewrite:
    """Changes to a message before it is sent again.

    Attributes:
        shift_times: Shift its times so that the event happens now.
        instances: New instance ids, by the old ones.
    """

    shift_times: bool = False
    instances: Mapping[InstanceId, InstanceId] = dataclasses.field(default_factory=dict)

    def apply(self, message: QueueMessage, *, now: dt.datetime) -> QueueMessage:
        """Return the message with these changes."""
        body = message.body
        if self.shift_times:
            body = shift_times(body, sent_at=message.sent_at, now=now)
        if self.instances:
            body = replace_instances(body, self.instances)
        return dataclasses.replace(message, body=body)


def parse_replacement(text: str) -> tuple[InstanceId, InstanceId]:
    """Read OLD=NEW, two instance ids.

    Raises:
        UsageError: The text has another form.
    """
    first, _, second = text.partition("=")
    old, new = identifiers.parse_instance_id(first), identifiers.parse_instance_id(second)
    if old is None or new is None:
        raise errors.UsageError(
            f"{text!r} is not OLD=NEW with two instance ids such as i-0123456789abcdef0"
        )
    return old, new


def replace_instances(body: str, instances: Mapping[InstanceId, InstanceId]) -> str:
    """Replace instance ids, alone and in ARNs. All at once, so that two ids can change places."""
    return _INSTANCE_ID.sub(lambda match: instances.get(InstanceId(match[0]), match[0]), body)


def shift_times(body: str, *, sent_at: dt.datetime | None, now: dt.datetime) -> str:
    """Shift every time in a body by the same whole seconds, so that the event happens now.

    Args:
        body: The body.
        sent_at: When the queue took it. It counts if the event states no time of its own.
        now: The present (UTC).

    Returns:
        The body; unchanged if it is not known when the event happened.
    """
    happened_at = parsing.event_time(body) or sent_at
    if happened_at is None:
        return body
    shift = (now - happened_at) // _SECOND * _SECOND

    def shifted_iso(match: re.Match[str]) -> str:
        try:
            moved = dt.datetime.fromisoformat(match["time"]) + shift
        except (ValueError, OverflowError):
            return match[0]
        return moved.isoformat() + match["rest"]

    def shifted_rfc(match: re.Match[str]) -> str:
        try:
            moved = email.utils.parsedate_to_datetime(match[0]).replace(tzinfo=None) + shift
        except (ValueError, OverflowError):
            return match[0]
        return email.utils.format_datetime(moved).removesuffix(" -0000") + match["rest"]

    return _RFC_1123.sub(shifted_rfc, _ISO_8601.sub(shifted_iso, body))
