"""What the commands print: text for people, JSON or YAML for programs."""

import datetime as dt
import enum
import json
from collections.abc import Iterable, Mapping, Sequence

import rich.box
import rich.console
import rich.table
import rich.text
import typer
import yaml

# Where nobody sees a line's end, no line is folded.
_WIDE = 1000
# Of many faults the first are enough to know what is wrong.
SHOWN_FAULTS = 5
_NOTHING = "-"


class Output(enum.StrEnum):
    """How something is printed."""

    TEXT = "text"
    JSON = "json"
    YAML = "yaml"


def data(found: object, output: Output) -> None:
    """Print plain values as JSON or YAML."""
    if output is Output.JSON:
        typer.echo(json.dumps(found, indent=2))
    else:
        typer.echo(yaml.safe_dump(found, sort_keys=False, allow_unicode=True), nl=False)


def note(text: str) -> None:
    """Tell a person something that is no part of the result."""
    typer.echo(safe(text), err=True)


def refusals(faults: Mapping[str, str]) -> None:
    """Tell a person the first messages that a queue did not take, and why, by message id."""
    for message_id, error in list(faults.items())[:SHOWN_FAULTS]:
        note(f"{message_id} was not taken: {error}")


def pairs(rows: Mapping[str, str | None]) -> None:
    """Print names and values below each other."""
    table = rich.table.Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, cell(value))
    _console().print(table)


def table(headings: Sequence[str], rows: Iterable[Sequence[str | None]]) -> None:
    """Print rows under headings."""
    made = rich.table.Table(box=rich.box.SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        made.add_column(heading, overflow="fold")
    for row in rows:
        made.add_row(*(cell(value) for value in row))
    _console().print(made)


def cell(value: str | None) -> rich.text.Text:
    """A value that comes from outside, so that it cannot change how others look."""
    return rich.text.Text(_NOTHING if value is None or not value else safe(value))


def safe(text: str) -> str:
    """A text without anything that a terminal would take for a command."""
    return "".join(
        each if each.isprintable() or each == "\n" else "\N{REPLACEMENT CHARACTER}" for each in text
    )


def moment(at: dt.datetime, *, now: dt.datetime) -> str:
    """A moment, and how far away it is."""
    left = (at - now).total_seconds()
    away = f"in {span(left)}" if left > 0 else f"{span(-left)} ago"
    return f"{at:%Y-%m-%d %H:%M:%S} UTC ({away})"


def span(seconds: float) -> str:
    """A duration, as exact as a person needs it."""
    whole = int(seconds)
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if whole >= 2 * size:
            return f"{whole // size} {unit}"
    return f"{whole} s"


def _console() -> rich.console.Console:
    console = rich.console.Console(highlight=False)
    return console if console.is_terminal else rich.console.Console(width=_WIDE, highlight=False)
