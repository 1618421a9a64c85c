"""The parser of Retry-After."""

import datetime as dt

import pytest

from queue_processor.domain import errors


@pytest.mark.parametrize(("header", "seconds"), [("0", 0), ("7", 7), ("999999999", 999_999_999)])
def test_retry_after_is_a_number_of_seconds(header: str, seconds: int) -> None:
    assert errors.parse_retry_after(header) == dt.timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "-1",
        "1.5",
        "7 s",
        "7\n",
        "\u0667",
        "9999999999",
        "Wed, 21 Oct 2026 07:28:00 GMT",
    ],
)
def test_any_other_retry_after_asks_for_nothing(header: str) -> None:
    assert errors.parse_retry_after(header) is None
