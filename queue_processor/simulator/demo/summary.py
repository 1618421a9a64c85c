"""The end of a rehearsal, for people: figures, workloads, and what was not as it should be."""

from collections.abc import Iterator, Sequence

import rich.console
import rich.table
import rich.text

from queue_processor.simulator.demo import checks, evidence, score


def parts(
    known: evidence.Evidence, figures: score.Score, judged: Sequence[checks.Check]
) -> Iterator[rich.console.RenderableType]:
    """The parts of the summary, one below the other."""
    yield ""
    yield _workloads(known)
    yield ""
    yield _figures(known, figures)
    yield ""
    passed = sum(check.passed for check in judged)
    yield rich.text.Text(f"{passed} of {len(judged)} checks passed")
    for check in judged:
        if not check.passed:
            yield failure(check)


def failure(check: checks.Check) -> rich.text.Text:
    """What was expected, and what was found."""
    return rich.text.Text(
        f"FAILED  {check.name}: expected {check.expected}, found {check.found}", style="red"
    )


def _workloads(known: evidence.Evidence) -> rich.table.Table:
    made = rich.table.Table(
        title="Ready replicas at the lowest point", title_justify="left", box=None, pad_edge=False
    )
    made.add_column("workload", no_wrap=True)
    for heading in ("replicas", "lowest", "needed"):
        made.add_column(heading, justify="right", no_wrap=True)
    made.add_column("budget", no_wrap=True)
    for workload in known.scenario.workloads:
        low = known.lows.get(workload.name)
        lowest = workload.replicas if low is None else low.count
        needed = workload.budget.least(workload.replicas) if workload.budget else None
        is_below = needed is not None and lowest < needed
        made.add_row(
            workload.name,
            str(workload.replicas),
            str(lowest),
            "-" if needed is None else str(needed),
            "none" if workload.budget is None else str(workload.budget),
            style="red" if is_below else "",
        )
    return made


def _figures(known: evidence.Evidence, figures: score.Score) -> rich.table.Table:
    made = rich.table.Table(show_header=False, box=None, pad_edge=False)
    made.add_column(no_wrap=True)
    made.add_column()
    refused = len(known.evictions) - figures.pods_evicted
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
        ("events", f"{figures.events}, in {len(known.messages)} messages"),
        ("messages", messages),
        ("nodes", nodes),
        ("lifecycle actions", f"{figures.lifecycle_actions_completed} completed"),
        ("event to cordon", _spread(figures.event_to_cordon_seconds, digits=2)),
        ("event to drained", _spread(figures.event_to_drained_seconds, digits=1)),
        ("smallest margin", _seconds(figures.margin_seconds_min, digits=1)),
        ("pods", pods),
        ("budgets", f"{figures.budget_violations} violations"),
    ):
        made.add_row(*row)
    return made


def _spread(spread: score.Spread, *, digits: int) -> str:
    named = (("p50", spread.p50), ("p99", spread.p99), ("max", spread.max))
    return ", ".join(f"{name} {_seconds(value, digits=digits)}" for name, value in named)


def _seconds(value: float | None, *, digits: int) -> str:
    return "none" if value is None else f"{value:.{digits}f} s"
