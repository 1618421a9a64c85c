"""A message as the queue gave it to us."""

import dataclasses
import datetime as dt


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedMessage:
    """One receipt of one message.

    Attributes:
        receipt_handle: Valid until the message becomes visible and is received again.
        sent_at: When the queue took the message (UTC).
        first_received_at: The 12 hours for which it can stay invisible count from here.
        receive_count: How often it has been received, this time included.
    """

    message_id: str
    receipt_handle: str
    body: str
    sent_at: dt.datetime
    first_received_at: dt.datetime
    receive_count: int
