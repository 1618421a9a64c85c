"""The exception hierarchy: what an error means here, whichever SDK it came from.

    QueueProcessorError
    ├── ConfigurationError      the program cannot start with these settings
    │   └── SettingsError       (in settings.loading)
    ├── UsageError              a person asked for something that cannot be done
    ├── MalformedMessage        a message that cannot be understood
    ├── TemporaryError          a call failed; `retry_after`
    ├── PermanentError          a call was refused, and will be refused again
    ├── NotFound                what the call named does not exist
    ├── Conflict                somebody else changed the object first
    ├── WatchExpired            list again
    └── DeliveryLost            the source has taken a delivery back
        └── StaleReceiptHandle  SQS has taken a message back

Adapters translate at their boundary and chain the cause; nothing above them sees an SDK's own
exception.
"""

import datetime as dt
import re

# RFC 9110 allows a date too; Kubernetes, Slack and Teams send seconds.
# https://www.rfc-editor.org/rfc/rfc9110.html#name-retry-after
_DELAY_SECONDS = re.compile(r"[0-9]{1,9}")


class QueueProcessorError(Exception):
    """Everything this program raises on purpose."""


class ConfigurationError(QueueProcessorError):
    """The program cannot start like this; the text names the cause and the cure."""


class UsageError(QueueProcessorError):
    """A person asked for what cannot be done; the text names the cause and the cure."""


class MalformedMessage(QueueProcessorError):
    """A message body that is none of the accepted shapes; the text says where and why."""


class TemporaryError(QueueProcessorError):
    """A call failed and may succeed later.

    Attributes:
        retry_after: How long the server asked to wait, or None when it did not say.
    """

    def __init__(self, message: str, *, retry_after: dt.timedelta | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class PermanentError(QueueProcessorError):
    """A call was refused, and the same call will be refused again."""


class NotFound(QueueProcessorError):
    """What the call named does not exist; not the same as a call that failed."""


class Conflict(QueueProcessorError):
    """Somebody else changed the object first, or another object now has its name."""


class WatchExpired(QueueProcessorError):
    """The version a watch resumes from is no longer kept (410): list again."""


class DeliveryLost(QueueProcessorError):
    """The source has taken a delivery back, and delivers its event again."""


class StaleReceiptHandle(DeliveryLost):
    """The receipt handle is no longer valid: the queue has taken the message back."""


def parse_retry_after(header: str) -> dt.timedelta | None:
    """Parse a `Retry-After` header in seconds; return None for anything else, such as a date."""
    return dt.timedelta(seconds=int(header)) if _DELAY_SECONDS.fullmatch(header) else None
