"""The options that several commands share, and how their values are read."""

import datetime as dt
import enum
import pathlib
import re
from typing import Annotated, TypeAlias

import typer

from queue_processor import settings
from queue_processor.domain import errors

_NUMBER = r"(\d{1,9}(?:\.\d{1,9})?)"
_RATE = re.compile(rf"{_NUMBER}(?:/(s|min))?", re.ASCII)
_DURATION = re.compile(rf"{_NUMBER}(s|min|h|d)?", re.ASCII)
_SECONDS_IN = {None: 1, "s": 1, "min": 60, "h": 3_600, "d": 86_400}
_LONGEST_SECONDS = 366 * 86_400


class OutputFormat(enum.StrEnum):
    """The format of a command's result."""

    TEXT = "text"
    JSON = "json"
    YAML = "yaml"


Config: TypeAlias = Annotated[
    pathlib.Path | None,
    typer.Option(
        "--config",
        envvar=settings.CONFIG_VARIABLE,
        help="The operator's YAML file with settings. Environment variables override it.",
    ),
]
Output: TypeAlias = Annotated[
    OutputFormat,
    typer.Option("--output", "-o", help="text: for people. json, yaml: for programs, on stdout."),
]
Queue: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--queue",
        "-q",
        metavar="URL|NAME",
        help="The queue, or any dead-letter queue.  [default: queue_url of the settings]",
        show_default=False,
    ),
]
DeadLetters: TypeAlias = Annotated[
    bool, typer.Option("--dead-letters", help="The dead-letter queue of that queue.")
]
Rate: TypeAlias = Annotated[
    str,
    typer.Option("--rate", metavar="N/s", help="How many a second, or a minute: 90/min."),
]
Yes: TypeAlias = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]


def parse_rate(text: str) -> float:
    """Return how many a second `50/s`, `90/min` or `50` means.

    Raises:
        UsageError: The text is not a rate, or it is zero.
    """
    match = _RATE.fullmatch(text)
    per_second = 0.0 if match is None else float(match[1]) / _SECONDS_IN[match[2]]
    if per_second <= 0:
        raise errors.UsageError(f"{text!r} is not a rate such as 50/s or 90/min")
    return per_second


def parse_duration(text: str) -> dt.timedelta:
    """Return the duration that `30s`, `5min`, `2h`, `14d` or `30` means.

    Raises:
        UsageError: The text is not a duration, or it is longer than a year.
    """
    match = _DURATION.fullmatch(text)
    seconds = None if match is None else float(match[1]) * _SECONDS_IN[match[2]]
    if seconds is None or seconds > _LONGEST_SECONDS:
        raise errors.UsageError(f"{text!r} is not a time such as 30s, 5min, 2h or 14d")
    return dt.timedelta(seconds=seconds)
