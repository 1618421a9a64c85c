"""The exceptions of the program.

Adapters translate the errors of their SDKs at the boundary, by meaning, and chain the cause; no SDK
exception reaches the layers above.

    QueueProcessorError
    ├── ConfigurationError    the program cannot start
    │   └── SettingsError     a setting is not allowed
    ├── UsageError            a command cannot do what its arguments request
    ├── MalformedMessage      a message body that the parser rejects
    ├── TemporaryError        retry, after `retry_after` if set
    │   └── Throttled         the server has too many requests
    ├── PermanentError        do not retry
    │   └── Forbidden         the caller lacks the permission
    ├── NotFound              the object of a call does not exist
    ├── Conflict              the object has changed, or has been replaced: refresh and retry
    ├── WatchExpired          the watch cannot resume: list again
    └── DeliveryLost          the source has taken a delivery back
        └── StaleReceiptHandle  the message is no longer ours
"""

import datetime as dt
import re

# RFC 9110 allows a date too; Kubernetes, Slack and Teams send seconds.
# https://www.rfc-editor.org/rfc/rfc9110.html#name-retry-after
_DELAY_SECONDS = re.compile(r"[0-9]{1,9}")


class QueueProcessorError(Exception):
    """The root of all errors that the program raises on purpose."""


class ConfigurationError(QueueProcessorError):
    """The program cannot start; the text names the cause and the cure.

    Attributes:
        cause: Describes the problem.
        cure: Describes what to do about it; empty if the cause shows that.
    """

    def __init__(self, cause: str, *, cure: str = "") -> None:
        super().__init__(f"{cause}; {cure}" if cure else cause)
        self.cause = cause
        self.cure = cure


class SettingsError(ConfigurationError):
    """Settings that cannot be used; one line for each error."""


class UsageError(QueueProcessorError):
    """A command cannot do what its arguments request; the text names the cause and the fix."""


class MalformedMessage(QueueProcessorError):
    """A message body has none of the accepted shapes; the text names the field and the reason."""


class TemporaryError(QueueProcessorError):
    """A call failed and may succeed later.

    Attributes:
        retry_after: The pause that the server asks for, or None.
    """

    def __init__(self, message: str, *, retry_after: dt.timedelta | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Throttled(TemporaryError):
    """The server refused a call because it has too many, whatever the call was about."""


class PermanentError(QueueProcessorError):
    """A call was refused, and will be refused again."""


class Forbidden(PermanentError):
    """The caller is not allowed to make the call; the text names the permission."""


class NotFound(QueueProcessorError):
    """The object of a call does not exist; a failed call does not prove that."""


class Conflict(QueueProcessorError):
    """Another writer changed the object first, or a different object now has its name."""


class WatchExpired(QueueProcessorError):
    """The resource version of a watch is no longer available (410): list again."""


class DeliveryLost(QueueProcessorError):
    """The source has taken a delivery back, and delivers its event again."""


class StaleReceiptHandle(DeliveryLost):
    """The receipt handle is no longer valid: the message has become visible again."""


def parse_retry_after(header: str) -> dt.timedelta | None:
    """Parse a `Retry-After` header in seconds; return None for anything else, such as a date."""
    return dt.timedelta(seconds=int(header)) if _DELAY_SECONDS.fullmatch(header) else None
