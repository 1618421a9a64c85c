"""The options that several commands share, and how their values are read."""

import enum
import pathlib
import re
from typing import Annotated, TypeAlias

import typer

from queue_processor import settings
from queue_processor.domain import durations, errors

_RATE = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(?:/(s|min))?", re.ASCII)


class OutputFormat(enum.StrEnum):
    """The format of a command's result."""

    TEXT = "text"
    JSON = "json"
    YAML = "yaml"


class ListFormat(enum.StrEnum):
    """The format of a list."""

    TABLE = "table"
    WIDE = "wide"
    NAME = "name"
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
ListOutput: TypeAlias = Annotated[
    ListFormat,
    typer.Option(
        "--output",
        "-o",
        help="table: the columns that fit the terminal. wide: all columns. name: one name a line."
        " json, yaml: for programs.",
    ),
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
    per_second = 0.0 if match is None else float(match[1]) / durations.SECONDS_IN[match[2]]
    if per_second <= 0:
        raise errors.UsageError(f"{text!r} is not a rate such as 50/s or 90/min")
    return per_second
