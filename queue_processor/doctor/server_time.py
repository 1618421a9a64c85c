"""Compares our clock with the `Date` header of an answer."""

import dataclasses
import datetime as dt
from email import utils as email_utils

# The header has whole seconds.
_RESOLUTION = dt.timedelta(seconds=1)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ServerTime:
    """The time of a server, and ours before and after the request.

    Attributes:
        date: The beginning of the second in which it answered.
    """

    server: str
    date: dt.datetime
    sent_at: dt.datetime
    received_at: dt.datetime

    @property
    def skew(self) -> dt.timedelta:
        """By how much our clock is ahead, at least; negative if it is behind.

        The server answered somewhere between the request and the answer.
        """
        if self.sent_at > self.date + _RESOLUTION:
            return self.sent_at - self.date - _RESOLUTION
        return min(self.received_at - self.date, dt.timedelta())


def parse_date(header: str) -> dt.datetime | None:
    """Parse a `Date` header; return None for one that is missing or is no date."""
    try:
        return email_utils.parsedate_to_datetime(header)
    except ValueError:
        return None
