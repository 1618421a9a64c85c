"""Durations as people write them."""

import datetime as dt
import re

from queue_processor.domain import errors

_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(s|min|m|h|d)?", re.ASCII)
_LONGEST = dt.timedelta(days=366)

SECONDS_IN = {None: 1, "s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400}


def parse(text: str) -> dt.timedelta:
    """Return the duration that `30s`, `5min`, `5m`, `2h`, `14d` or `30` means.

    Raises:
        UsageError: The text is not a duration, or it is longer than a year.
    """
    match = _DURATION.fullmatch(text)
    seconds = None if match is None else float(match[1]) * SECONDS_IN[match[2]]
    if seconds is None or seconds > _LONGEST.total_seconds():
        raise errors.UsageError(f"{text[:60]!r} is not a time such as 30s, 5min, 2h or 14d")
    return dt.timedelta(seconds=seconds)
