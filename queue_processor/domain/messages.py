"""A message of an SQS queue, as SQS describes it.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_Message.html
"""

import dataclasses
import datetime as dt
from collections.abc import Mapping

_LONGEST_COUNT = 10


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """A message attribute.

    Attributes:
        data_type: String, Number or Binary, perhaps with a label: `Number.int`.
        value: Text; bytes where the type is Binary.
    """

    data_type: str
    value: str | bytes


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class QueueMessage:
    """A message in a queue.

    Attributes:
        system: The attributes that SQS sets, in its own spelling.
        attributes: The attributes that the sender set.
    """

    message_id: str
    body: str
    system: Mapping[str, str] = dataclasses.field(default_factory=dict)
    attributes: Mapping[str, Attribute] = dataclasses.field(default_factory=dict)

    @property
    def sent_at(self) -> dt.datetime | None:
        """Return when the queue stored the message (UTC)."""
        milliseconds = self.system.get("SentTimestamp", "")
        if not milliseconds.isdecimal():
            return None
        try:
            return dt.datetime.fromtimestamp(int(milliseconds) / 1000, dt.UTC)
        except (OverflowError, ValueError, OSError):
            return None

    @property
    def receive_count(self) -> int:
        """Return how often it was received, the last time included."""
        count = self.system.get("ApproximateReceiveCount", "")
        return int(count) if count.isdecimal() and len(count) < _LONGEST_COUNT else 0

    @property
    def size(self) -> int:
        """The bytes that SQS counts: the body, and names, types and values of attributes.

        https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html
        """
        return len(_bytes(self.body)) + sum(
            len(_bytes(name)) + len(_bytes(each.data_type)) + len(_bytes(each.value))
            for name, each in self.attributes.items()
        )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedMessage(QueueMessage):
    """One receipt of a message.

    Attributes:
        receipt_handle: Valid until the message becomes visible and is received again.
    """

    receipt_handle: str


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode(errors="surrogatepass")
