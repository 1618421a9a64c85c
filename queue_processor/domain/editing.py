"""Changes to a body that leave every other byte of it as it is.

They work on the text, so that the shape makes no difference, nor whether it is an event at all.
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
class Edits:
    """What is changed in a message before it is sent again.

    Attributes:
        moves_times: Whether its times are moved, so that the event happens now.
        instances: The instance ids that are replaced, and by what.
    """

    moves_times: bool = False
    instances: Mapping[InstanceId, InstanceId] = dataclasses.field(default_factory=dict)

    def made_to(self, message: QueueMessage, *, now: dt.datetime) -> QueueMessage:
        """The message with these changes."""
        body = message.body
        if self.moves_times:
            body = retimed(body, sent_at=message.sent_at, now=now)
        if self.instances:
            body = renamed(body, self.instances)
        return dataclasses.replace(message, body=body)


def parse_replacement(text: str) -> tuple[InstanceId, InstanceId]:
    """Read OLD=NEW, two instance ids.

    Raises:
        UsageError: It is something else.
    """
    old, _, new = text.partition("=")
    first, second = identifiers.parse_instance_id(old), identifiers.parse_instance_id(new)
    if first is None or second is None:
        raise errors.UsageError(
            f"{text!r} is no OLD=NEW with two instance ids such as i-0123456789abcdef0"
        )
    return first, second


def renamed(body: str, instances: Mapping[InstanceId, InstanceId]) -> str:
    """Replace instance ids, alone and in ARNs; all at once, so that two can change places."""

    def replacement(found: re.Match[str]) -> str:
        return instances.get(InstanceId(found[0]), found[0])

    return _INSTANCE_ID.sub(replacement, body)


def retimed(body: str, *, sent_at: dt.datetime | None, now: dt.datetime) -> str:
    """Move every time in a body by as much as makes the event happen now.

    The distances between them stay, and so do their formats; now is taken to the second below.

    Args:
        body: The body.
        sent_at: When the queue took it; it counts where the event tells no time of its own.
        now: The present (UTC).

    Returns:
        The body; unchanged where nobody knows when the event happened.
    """
    happened_at = parsing.event_time(body) or sent_at
    if happened_at is None:
        return body
    shift = (now - happened_at) // _SECOND * _SECOND

    def iso(found: re.Match[str]) -> str:
        try:
            moved = dt.datetime.fromisoformat(found["time"]) + shift
        except (ValueError, OverflowError):
            return found[0]
        return moved.isoformat() + found["rest"]

    def rfc(found: re.Match[str]) -> str:
        try:
            moved = email.utils.parsedate_to_datetime(found[0]).replace(tzinfo=None) + shift
        except (ValueError, OverflowError):
            return found[0]
        return email.utils.format_datetime(moved).removesuffix(" -0000") + found["rest"]

    return _RFC_1123.sub(rfc, _ISO_8601.sub(iso, body))
