"""The display of a scenario: a live table or plain lines, and a summary at the end."""

import datetime as dt
from collections.abc import Callable, Iterator, Sequence

import rich.console
import rich.live
import rich.table
import rich.text

from queue_processor.simulator.demo.checks import Assessment
from queue_processor.simulator.demo.results import (
    NodeTimeline,
    Observations,
    Spread,
    seconds_between,
)

# The lines of the live table that are not nodes: title, header, the count of hidden nodes.
_OTHER_LINES = 6


class Reporter:
    """Prints the steps, and nothing else: for output that programs read."""

    def __init__(self, console: rich.console.Console) -> None:
        self._console = console

    def step(self, text: str) -> None:
        """Report that something begins."""
        self._console.print(text, highlight=False)

    def progress(self, timelines: Sequence[NodeTimeline]) -> None:
        """Report what may have changed; called several times a second."""

    def outcome(self, assessment: Assessment) -> None:
        """Report the end."""

    def close(self) -> None:
        """Give the terminal back."""


class LineReporter(Reporter):
    """Prints a line for everything that happens to a node, and the summary."""

    def __init__(self, console: rich.console.Console) -> None:
        super().__init__(console)
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
        for part in summary(assessment):
            self._console.print(part, soft_wrap=isinstance(part, rich.text.Text))


class TableReporter(LineReporter):
    """Shows a table that changes several times a second, and prints the summary."""

    def __init__(self, console: rich.console.Console, clock: Callable[[], dt.datetime]) -> None:
        super().__init__(console)
        self._clock = clock
        self._live = rich.live.Live(
            console=console, auto_refresh=False, transient=False, vertical_overflow="crop"
        )

    def progress(self, timelines: Sequence[NodeTimeline]) -> None:
        """Show every node as it is now."""
        self._live.start()
        rows = max(self._console.height - _OTHER_LINES, 1)
        self._live.update(node_table(timelines, now=self._clock(), rows=rows), refresh=True)

    def outcome(self, assessment: Assessment) -> None:
        """Leave the last table where it is, and print the summary below it."""
        lines = assessment.observed.timelines
        self._live.update(node_table(lines, now=self._clock(), rows=len(lines)), refresh=True)
        self._live.stop()
        super().outcome(assessment)

    def close(self) -> None:
        """Give the terminal back, wherever the scenario broke off."""
        self._live.stop()


def node_table(
    timelines: Sequence[NodeTimeline], *, now: dt.datetime, rows: int
) -> rich.table.Table:
    """Make the table of nodes; where more than fit, those that are not drained come first."""
    done = sum(line.drained_at is not None for line in timelines)
    table = _table(
        *("node", "kind", ">deadline", ">pods left", "outcome"),
        title=f"{done} of {len(timelines)} nodes drained",
    )
    shown = list(timelines)
    if len(shown) > rows:
        shown.sort(key=lambda line: line.drained_at is not None)
    for line in shown[:rows]:
        outcome, style = _outcome(line)
        pods = f"{line.pods_left} of {len(line.pods)}" if line.pods else "none"
        cells = (line.node, " + ".join(line.labels), _time_left(line, now), pods, outcome)
        table.add_row(*(rich.text.Text(cell, style=style) for cell in cells))
    if len(shown) > rows:
        table.add_row(f"and {len(shown) - rows} more", style="dim")
    return table


def summary(assessment: Assessment) -> Iterator[rich.console.RenderableType]:
    """Make the parts of the summary, one below the other."""
    yield ""
    yield _workloads(assessment.observed)
    yield ""
    yield _figures(assessment)
    yield ""
    passed = len(assessment.checks) - len(assessment.failed)
    yield rich.text.Text(f"{passed} of {len(assessment.checks)} checks passed")
    for check in assessment.failed:
        text = f"FAILED  {check.name}: expected {check.expected}, found {check.observed}"
        yield rich.text.Text(text, style="red")


def _outcome(line: NodeTimeline) -> tuple[str, str]:
    if line.drain_seconds is not None:
        return f"drained in {line.drain_seconds:.1f} s", "green"
    if line.cordon_seconds is not None:
        return f"draining, cordoned in {line.cordon_seconds:.2f} s", "yellow"
    if line.interrupted_at is None:
        return "", "dim"
    return ("interrupted", "red") if line.measured_from else ("not joined yet", "dim")


def _time_left(line: NodeTimeline, now: dt.datetime) -> str:
    if line.interrupted_at is None:
        return ""
    seconds = seconds_between(line.drained_at or now, line.deadline)
    if seconds is None:
        return "none"
    return f"-{_duration(-seconds)}" if seconds < 0 else _duration(seconds)


def _duration(seconds: float) -> str:
    whole = int(seconds)
    if whole >= 86_400:  # noqa: PLR2004 - seconds in a day
        return f"{whole // 86_400} d"
    if whole >= 3600:  # noqa: PLR2004 - seconds in an hour
        return f"{whole // 3600} h"
    return f"{whole // 60}:{whole % 60:02}"


def _happenings(line: NodeTimeline) -> Iterator[tuple[str, str]]:
    """Yield an id and a text for each thing that has happened to a node so far."""
    if line.interrupted_at is not None:
        labels = " + ".join(line.labels)
        yield labels, labels
    if line.cordon_seconds is not None:
        text = f"cordoned after {line.cordon_seconds:.2f} s, {line.pods_left} pods to move"
        yield "cordoned", text
    if line.drain_seconds is not None:
        margin = line.margin_seconds
        left = "no deadline" if margin is None else f"{_duration(margin)} before the deadline"
        yield "drained", f"drained after {line.drain_seconds:.1f} s, {left}"


def _workloads(observed: Observations) -> rich.table.Table:
    table = _table(
        *("workload", ">replicas", ">lowest", ">needed", "budget"),
        title="Ready replicas at the lowest point",
    )
    for workload in observed.scenario.workloads:
        replicas, budget = workload.replicas, workload.budget
        low = observed.lows.get(workload.name)
        lowest = replicas if low is None else low.count
        needed = budget.min_ready(replicas) if budget else 0
        table.add_row(
            workload.name,
            str(replicas),
            str(lowest),
            str(needed) if budget else "-",
            str(budget) if budget else "none",
            style="red" if lowest < needed else "",
        )
    return table


def _figures(assessment: Assessment) -> rich.table.Table:
    observed, figures = assessment.observed, assessment.summary
    table = rich.table.Table(show_header=False, box=None, pad_edge=False)
    table.add_column(no_wrap=True)
    refused = len(observed.evictions) - figures.pods_evicted
    messages = (
        f"{figures.messages_deleted} settled, {figures.messages_dead_lettered} dead-lettered,"
        f" {figures.messages_left} left"
    )
    pods = (
        f"{figures.pods_evicted} evicted ({refused} times refused),"
        f" {figures.pods_deleted_at_deadline} deleted at the deadline"
    )
    nodes = f"{figures.cordoned} cordoned, {figures.drained} drained, of {figures.nodes}"
    for row in (
        ("events", f"{figures.events}, in {len(observed.messages)} messages"),
        ("messages", messages),
        ("nodes", nodes),
        ("lifecycle actions", f"{figures.lifecycle_actions_completed} completed"),
        ("event to cordon", _spread(figures.event_to_cordon_seconds, digits=2)),
        ("event to drained", _spread(figures.event_to_drained_seconds, digits=1)),
        ("smallest margin", _seconds(figures.margin_seconds_min, digits=1)),
        ("pods", pods),
        ("budgets", f"{figures.budget_violations} violations"),
    ):
        table.add_row(*row)
    return table


def _table(*headings: str, title: str) -> rich.table.Table:
    """Make a table; a heading that begins with > belongs to a column aligned to the right."""
    table = rich.table.Table(title=title, title_justify="left", box=None, pad_edge=False)
    for heading in headings:
        name = heading.removeprefix(">")
        table.add_column(name, justify="left" if name == heading else "right", no_wrap=True)
    return table


def _spread(spread: Spread, *, digits: int) -> str:
    percentiles = (("p50", spread.p50), ("p99", spread.p99), ("max", spread.max))
    return ", ".join(f"{name} {_seconds(value, digits=digits)}" for name, value in percentiles)


def _seconds(value: float | None, *, digits: int) -> str:
    return "none" if value is None else f"{value:.{digits}f} s"
