"""The difference between our clock and a `Date` header of whole seconds."""

import datetime as dt

import pytest

from queue_processor.doctor import server_time
from queue_processor.doctor.server_time import ServerTime

DATE = dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("sent", "received", "skew"),
    [
        (0.2, 0.3, 0),
        # It may have answered at any time of its second, and of ours between the two.
        (1.0, 1.4, 0),
        (-0.5, 0.0, 0),
        (-3.0, 3.0, 0),
        (4.0, 4.1, 3),
        (-5.1, -5.0, -5),
    ],
)
def test_only_what_is_certain_is_a_difference(sent: float, received: float, skew: float) -> None:
    answered = ServerTime(
        server="AWS",
        date=DATE,
        sent_at=DATE + dt.timedelta(seconds=sent),
        received_at=DATE + dt.timedelta(seconds=received),
    )

    assert answered.skew == dt.timedelta(seconds=skew)


@pytest.mark.parametrize("header", ["", "yesterday", "2026-05-01"])
def test_a_header_that_is_no_date_is_none(header: str) -> None:
    assert server_time.parse_date(header) is None


def test_a_date_is_read() -> None:
    assert server_time.parse_date("Fri, 01 May 2026 12:00:00 GMT") == DATE
