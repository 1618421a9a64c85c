"""Output and questions of the commands: results on stdout, everything else on stderr."""

import contextlib
import datetime as dt
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import assert_never

import humanize
import rich.box
import rich.console
import rich.progress
import rich.table
import rich.text
import typer
import yaml

from queue_processor.domain import errors
from queue_processor.messages.options import ListFormat, OutputFormat

# Exit codes of commands that did their work in part. `cli.exits` has those of raised errors.
FAILED = 1
INTERRUPTED = 130
# Of many errors the first few are enough to see what is wrong.
SHOWN_ERRORS = 5
# Without a terminal no line is folded.
_WIDE = 1000
_LINE_SECONDS = 1.0


class Extra(str):
    """The heading of a column that a terminal shows only if it is wide enough."""

    __slots__ = ()


def print_data(data: object, output_format: OutputFormat | ListFormat) -> None:
    """Print plain values as JSON or YAML."""
    if output_format == OutputFormat.JSON:
        typer.echo(json.dumps(data, indent=2))
    else:
        typer.echo(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), nl=False)


def print_result(data: object, output_format: OutputFormat, *, text: str) -> None:
    """Print what a command did: a sentence for people, plain values for programs."""
    if output_format is OutputFormat.TEXT:
        typer.echo(text)
    else:
        print_data(data, output_format)


def print_list(
    output_format: ListFormat,
    headings: Sequence[str],
    rows: Sequence[Sequence[str | None]],
    *,
    names: Iterable[str],
    data: Sequence[Mapping[str, object]],
) -> None:
    """Print a list in the format that somebody has chosen.

    Args:
        output_format: The format.
        headings: Of the table.
        rows: Of the table; none are printed for an empty list.
        names: For `name`: what other commands take.
        data: For programs.
    """
    match output_format:
        case ListFormat.TABLE | ListFormat.WIDE:
            if rows:
                print_table(headings, rows, is_wide=output_format is ListFormat.WIDE)
        case ListFormat.NAME:
            for name in names:
                typer.echo(printable(name))
        case ListFormat.JSON | ListFormat.YAML:
            print_data(data, output_format)
        case _:
            assert_never(output_format)


def print_table(
    headings: Sequence[str], rows: Iterable[Sequence[str | None]], *, is_wide: bool = False
) -> None:
    """Print rows below headings.

    A terminal that is too narrow for all columns does without those with an `Extra` heading, from
    the last to the first, and says so: an id that is folded over two lines cannot be copied.

    Args:
        headings: One for each column.
        rows: The cells.
        is_wide: Print all columns, however narrow the terminal is.
    """
    console, rows = _console(is_wide=is_wide), list(rows)
    shown, hidden = list(range(len(headings))), list[str]()
    extras = [number for number in shown if isinstance(headings[number], Extra)]
    while extras and _width(_table(headings, rows, shown)) > console.width:
        number = extras.pop()
        shown.remove(number)
        hidden.insert(0, headings[number])
    console.print(_table(headings, rows, shown))
    if hidden:
        note(f"not shown, because the terminal is too narrow: {', '.join(hidden)}")


def _table(
    headings: Sequence[str], rows: Iterable[Sequence[str | None]], shown: Sequence[int]
) -> rich.table.Table:
    table = rich.table.Table(box=rich.box.SIMPLE_HEAD, pad_edge=False)
    for number in shown:
        table.add_column(headings[number], overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row[number]) for number in shown))
    return table


def _width(table: rich.table.Table) -> int:
    """Return how wide a table is if no cell is folded."""
    return rich.console.Console(width=_WIDE).measure(table).maximum


def print_pairs(pairs: Mapping[str, str | None]) -> None:
    """Print names and values, one pair a line."""
    table = rich.table.Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for name, value in pairs.items():
        table.add_row(name, _cell(value))
    _console().print(table)


def note(text: str) -> None:
    """Print a line on stderr."""
    typer.echo(printable(text), err=True)


def note_refused(refused: Mapping[str, str]) -> None:
    """Print the first errors of messages that were refused, by their names."""
    for name, error in list(refused.items())[:SHOWN_ERRORS]:
        note(f"{name} was refused: {error}")
    if len(refused) > SHOWN_ERRORS:
        note(f"and {len(refused) - SHOWN_ERRORS} more were refused")


def confirm(question: str) -> None:
    """Ask a person, and end the command unless the answer is yes.

    Raises:
        UsageError: stdin is not a terminal.
    """
    if not sys.stdin.isatty():
        raise errors.UsageError(f"{question} stdin is not a terminal: confirm with --yes")
    if not typer.confirm(printable(question), err=True):
        note("nothing was changed")
        raise typer.Exit(FAILED)


@contextlib.contextmanager
def progress(total: int, *, verb: str) -> Iterator[Callable[[int], None]]:
    """Show progress on stderr: a bar on a terminal, else a line a second.

    Args:
        total: How many items there are.
        verb: What happens to them: `sent`, `moved`.

    Yields:
        A function to call with the number of items that are done.
    """
    console = rich.console.Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield _ProgressLines(total, verb).update
        return
    with rich.progress.Progress(
        rich.progress.TextColumn(verb),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TimeRemainingColumn(),
        console=console,
    ) as bars:
        bar = bars.add_task(verb, total=total)
        yield lambda count: bars.update(bar, completed=count)


class _ProgressLines:
    """Prints at most a line a second, and one at the end."""

    def __init__(self, total: int, verb: str) -> None:
        self._total = total
        self._verb = verb
        self._began_at = self._printed_at = time.monotonic()

    def update(self, count: int) -> None:
        now = time.monotonic()
        if count < self._total and now - self._printed_at < _LINE_SECONDS:
            return
        self._printed_at = now
        line = f"{count} of {self._total} {self._verb}"
        if 0 < count < self._total:
            left = (now - self._began_at) / count * (self._total - count)
            line += f", {humanize.naturaldelta(left)} left"
        note(line)


def moment(at: dt.datetime, *, now: dt.datetime) -> str:
    """Return a time (UTC), and how far away it is: exact where it is near."""
    distance = abs(at - now)
    unit = "hours" if distance.days else "minutes" if distance.seconds >= 3600 else "seconds"  # noqa: PLR2004 - an hour
    away = humanize.precisedelta(distance, minimum_unit=unit, format="%d")
    return f"{at:%Y-%m-%d %H:%M:%S} UTC ({f'in {away}' if at > now else f'{away} ago'})"


def printable(text: str) -> str:
    """Replace the characters that could command a terminal."""
    return "".join(
        each if each.isprintable() or each == "\n" else "\N{REPLACEMENT CHARACTER}" for each in text
    )


def _cell(value: str | None) -> rich.text.Text:
    # As Text, because a value from outside must not be read as rich's markup.
    return rich.text.Text(printable(value) if value else "-")


def _console(*, is_wide: bool = False) -> rich.console.Console:
    console = rich.console.Console(highlight=False)
    if console.is_terminal and not is_wide:
        return console
    return rich.console.Console(width=_WIDE, highlight=False)
