"""The display of a scenario while it is played: a live table or plain lines."""

import collections
import dataclasses
import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence

import rich.console
import rich.live
import rich.table
import rich.text

from queue_processor.simulator.demo.checks import Assessment
from queue_processor.simulator.demo.summary import summary
from queue_processor.simulator.demo.timelines import (
    NodeState,
    NodeTimeline,
    format_duration,
    seconds_between,
)

# The lines of the live table that are not nodes: title, header, the count of hidden nodes, and
# the last line of the terminal, so that it does not scroll.
_OTHER_LINES = 4

_STYLES: Mapping[NodeState, str] = {
    NodeState.DRAINING: "yellow",
    NodeState.INTERRUPTED: "red",
    NodeState.NOT_JOINED: "dim",
    NodeState.RUNNING: "dim",
    NodeState.DRAINED: "green",
}
_URGENCY = list(NodeState).index


class Reporter:
    """Prints the steps, and nothing else: for output that programs read."""

    def __init__(self, console: rich.console.Console) -> None:
        self._console = console

    def step(self, text: str) -> None:
        """Report that something begins."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def progress(self, timelines: Sequence[NodeTimeline]) -> None:
        """Report what may have changed; called several times a second."""

    def outcome(self, assessment: Assessment) -> None:
        """Report the end."""

    def close(self) -> None:
        """Give the terminal back."""


class LineReporter(Reporter):
    """Prints a line for everything that happens to a node, and the summary."""

    def __init__(self, console: rich.console.Console, *, details: bool) -> None:
        super().__init__(console)
        self._details = details
        self._printed: set[tuple[str, str]] = set()

    def progress(self, timelines: Sequence[NodeTimeline]) -> None:
        """Print what is new."""
        for line in timelines:
            for happening, text in _happenings(line):
                if (line.node, happening) not in self._printed:
                    self._printed.add((line.node, happening))
                    self._console.print(f"{line.node}: {text}", highlight=False, soft_wrap=True)

    def outcome(self, assessment: Assessment) -> None:
        """Print the summary."""
        for part in summary(assessment, details=self._details):
            self._console.print(part)


class TableReporter(LineReporter):
    """Shows a table that changes several times a second, and replaces it by the summary."""

    def __init__(
        self, console: rich.console.Console, clock: Callable[[], dt.datetime], *, details: bool
    ) -> None:
        super().__init__(console, details=details)
        self._clock = clock
        self._live = rich.live.Live(
            console=console, auto_refresh=False, transient=not details, vertical_overflow="crop"
        )

    def progress(self, timelines: Sequence[NodeTimeline]) -> None:
        """Show the nodes as they are now, as many as fit."""
        self._live.start()
        self._live.update(self.table(timelines), refresh=True)

    def outcome(self, assessment: Assessment) -> None:
        """Print the summary, and with details the last table with all nodes above it."""
        if self._details:
            lines = assessment.observed.timelines
            self._live.update(self.table(lines, rows=len(lines)), refresh=True)
        self._live.stop()
        super().outcome(assessment)

    def close(self) -> None:
        """Give the terminal back, wherever the scenario broke off."""
        self._live.stop()

    def table(
        self, timelines: Sequence[NodeTimeline], *, rows: int | None = None
    ) -> rich.console.RenderableType:
        """Make the table of nodes for this terminal, which may have another size each time."""
        fitting = max(self._console.height - _OTHER_LINES, 1)
        return node_table(
            timelines, now=self._clock(), rows=rows or fitting, width=self._console.width
        )


def reporter_for(console: rich.console.Console, *, details: bool) -> LineReporter:
    """Return the reporter that suits what is behind the console."""
    if console.is_terminal and not console.is_dumb_terminal:
        return TableReporter(console, lambda: dt.datetime.now(tz=dt.UTC), details=details)
    return LineReporter(console, details=details)


@dataclasses.dataclass(frozen=True, slots=True)
class NodeColumn:
    """A column of the table of nodes: its heading, and its cell at a moment."""

    heading: str
    cell: Callable[[NodeTimeline, dt.datetime], str]
    is_number: bool = False
    may_shrink: bool = False


def node_table(
    timelines: Sequence[NodeTimeline], *, now: dt.datetime, rows: int, width: int
) -> rich.console.RenderableType:
    """Make the table of nodes: the most urgent if not all fit, with a line about the others."""
    done = sum(line.state is NodeState.DRAINED for line in timelines)
    shown, hidden = list(timelines), list[NodeTimeline]()
    if len(shown) > rows:
        shown.sort(key=_urgency)
        shown, hidden = shown[:rows], shown[rows:]
    columns = next(columns for least, columns in _LAYOUTS if width >= least)
    table = rich.table.Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(
            column.heading,
            justify="right" if column.is_number else "left",
            no_wrap=not column.may_shrink,
        )
    for line in shown:
        style = _STYLES[line.state]
        table.add_row(*(_text(column.cell(line, now), style) for column in columns))
    parts: list[rich.console.RenderableType] = [
        _text(f"{done} of {len(timelines)} nodes drained", "italic"),
        table,
    ]
    if hidden:
        counts = collections.Counter(line.state for line in hidden)
        states = ", ".join(f"{counts[state]} {state}" for state in NodeState if counts[state])
        parts.append(_text(f"and {len(hidden)} more: {states}", "dim"))
    return rich.console.Group(*parts)


def _text(text: str, style: str) -> rich.text.Text:
    return rich.text.Text(text, style=style, no_wrap=True, overflow="ellipsis")


def _urgency(line: NodeTimeline) -> tuple[int, float]:
    """Order by state, then the nearest deadline, or what was drained last."""
    if line.drained_at is not None:
        return _URGENCY(line.state), -line.drained_at.timestamp()
    deadline = line.deadline.timestamp() if line.deadline else float("inf")
    return _URGENCY(line.state), deadline


def _kinds(line: NodeTimeline, _: dt.datetime) -> str:
    return " + ".join(line.labels)


def _first_kind(line: NodeTimeline, _: dt.datetime) -> str:
    more = len(line.labels) - 1
    return "".join(line.labels[:1]) + (f" +{more}" if more > 0 else "")


def _pods_left(line: NodeTimeline, _: dt.datetime) -> str:
    return f"{line.pods_left} of {len(line.pods)}" if line.pods else "none"


def _time_left(line: NodeTimeline, now: dt.datetime) -> str:
    if line.interrupted_at is None:
        return ""
    seconds = seconds_between(line.drained_at or now, line.deadline)
    if seconds is None:
        return "none"
    return f"-{format_duration(-seconds)}" if seconds < 0 else format_duration(seconds)


def _cordoned(line: NodeTimeline, _: dt.datetime) -> str:
    return "" if line.cordon_seconds is None else f"in {line.cordon_seconds:.2f} s"


def _state(line: NodeTimeline, _: dt.datetime) -> str:
    after = "" if line.drain_seconds is None else f" {line.drain_seconds:.1f} s"
    return f"{line.state}{after}"


_NODE = NodeColumn("node", lambda line, _: line.node)
_KINDS = NodeColumn("kind", _kinds, may_shrink=True)
_FIRST_KIND = NodeColumn("kind", _first_kind, may_shrink=True)
_DEADLINE = NodeColumn("deadline", _time_left, is_number=True)
_PODS_LEFT = NodeColumn("pods left", _pods_left, is_number=True)
_CORDONED = NodeColumn("cordoned", _cordoned, is_number=True)
_STATE = NodeColumn("state", _state)
# The columns that fit into so many characters, for the longest names of nodes and kinds.
_LAYOUTS: Sequence[tuple[int, Sequence[NodeColumn]]] = (
    (108, (_NODE, _KINDS, _DEADLINE, _PODS_LEFT, _CORDONED, _STATE)),
    (80, (_NODE, _FIRST_KIND, _DEADLINE, _PODS_LEFT, _STATE)),
    (48, (_NODE, _DEADLINE, _PODS_LEFT, _STATE)),
    (0, (_NODE, _PODS_LEFT, _STATE)),
)


def _happenings(line: NodeTimeline) -> Iterator[tuple[str, str]]:
    """Yield an id and a text for each thing that has happened to a node so far."""
    if line.interrupted_at is not None:
        labels = " + ".join(line.labels)
        yield labels, labels
    if line.cordon_seconds is not None:
        text = f"cordoned after {line.cordon_seconds:.2f} s, {line.pods_left} pods to move"
        yield "cordoned", text
    if line.drain_seconds is not None:
        yield "drained", f"drained after {line.drain_seconds:.1f} s, {line.margin}"
