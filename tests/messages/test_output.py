"""The printing that all commands share, and the systems that they run on."""

import datetime as dt
import subprocess
import sys

import pytest

from queue_processor.messages import output

NOW = dt.datetime(2026, 8, 27, 12, 0, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("distance", "expected"),
    [
        (dt.timedelta(seconds=119), "2026-08-27 12:01:59 UTC (in 1 minute and 59 seconds)"),
        (dt.timedelta(seconds=-1), "2026-08-27 11:59:59 UTC (1 second ago)"),
        (dt.timedelta(hours=2, seconds=40), "2026-08-27 14:00:40 UTC (in 2 hours)"),
        (dt.timedelta(days=13, hours=5), "2026-09-09 17:00:00 UTC (in 13 days and 5 hours)"),
    ],
)
def test_a_time_that_is_near_is_exact_to_the_second(distance: dt.timedelta, expected: str) -> None:
    assert output.moment(NOW + distance, now=NOW) == expected


def test_of_many_refused_messages_the_first_are_named_and_the_rest_counted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    output.note_refused({f"message-{number}": "too large" for number in range(7)})

    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "message-0 was refused: too large"
    assert lines[5:] == ["and 2 more were refused"]


def test_the_queue_tools_can_be_imported_where_unix_modules_are_missing() -> None:
    program = """
import sys
for name in ("fcntl", "grp", "pwd", "resource", "termios"):
    sys.modules[name] = None
from queue_processor import cli
"""
    subprocess.run([sys.executable, "-c", program], check=True)  # noqa: S603 - the program under test
