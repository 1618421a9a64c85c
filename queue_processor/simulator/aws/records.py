"""Values that a simulated queue reports about its messages."""

import dataclasses
import datetime as dt
import enum
import json
from collections.abc import Mapping


class MessageEnding(enum.Enum):
    """Ways in which a message leaves a queue."""

    DELETED = "deleted"
    DEAD_LETTERED = "dead-lettered"
    EXPIRED = "expired"


@dataclasses.dataclass(frozen=True)
class SimulatedQueueState:
    """Numbers of messages in a queue, by what a receive could do with them.

    Attributes:
        visible: A receive returns them now.
        in_flight: Received, and hidden until their visibility timeout ends.
        delayed: Sent with a delay that is not over.
    """

    visible: int
    in_flight: int
    delayed: int

    @property
    def total(self) -> int:
        """Everything that is not deleted."""
        return self.visible + self.in_flight + self.delayed


@dataclasses.dataclass(frozen=True)
class MessageSnapshot:
    """A message that is in a queue now.

    Attributes:
        message_id: The id SQS gave it.
        body: As sent.
        attributes: The message attributes; binary ones are left out.
        receive_count: ApproximateReceiveCount. A dead-letter queue keeps counting.
        visible_at: From when on a receive can return it.
        receipt_handle: The newest; empty for a message that was never received.
    """

    message_id: str
    body: str
    attributes: Mapping[str, str]
    receive_count: int
    visible_at: dt.datetime
    receipt_handle: str


@dataclasses.dataclass(frozen=True)
class MessageRecord:
    """The life of one message in one queue; a redrive begins a record in the other queue.

    Attributes:
        message_id: The id SQS gave it.
        body: As sent.
        sent_at: When it came into this queue.
        received_at: Each time a receive returned it.
        visible_since: From when on a receive can return it; ahead of now while it is in flight.
        ended_at: When it left this queue, None while it is there.
        ending: How it left.
    """

    message_id: str
    body: str
    sent_at: dt.datetime
    received_at: tuple[dt.datetime, ...] = ()
    visible_since: dt.datetime | None = None
    ended_at: dt.datetime | None = None
    ending: MessageEnding | None = None

    @property
    def event_id(self) -> str | None:
        """The id of the event in the body; None when the body is not an event with an id."""
        try:
            event = json.loads(self.body)
        except ValueError:
            return None
        identifier = event.get("id") if isinstance(event, dict) else None
        return identifier if isinstance(identifier, str) else None

    @property
    def deleted_at(self) -> dt.datetime | None:
        """Return when it was deleted; None if it was not."""
        return self.ended_at if self.ending is MessageEnding.DELETED else None
