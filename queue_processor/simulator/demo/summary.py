"""The end of a scenario: its figures, workloads and checks. Without details they fit 80x24."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence

import rich.console
import rich.table
import rich.text

from queue_processor.simulator.demo import workloads
from queue_processor.simulator.demo.checks import Assessment, Check
from queue_processor.simulator.demo.results import Spread
from queue_processor.simulator.demo.workloads import WorkloadResult

_SHOWN_SHORTFALLS = 3


def summary(assessment: Assessment, *, details: bool) -> Iterator[rich.console.RenderableType]:
    """Make the parts of the summary, one below the other; details name everything in full."""
    results = workloads.workload_results(assessment.observed)
    if details:
        yield ""
        yield _workload_table(results)
    yield ""
    yield _pairs(figures(assessment, results))
    yield from _shortfalls(results, limit=len(results) if details else _SHOWN_SHORTFALLS)
    yield ""
    passed = len(assessment.checks) - len(assessment.failed)
    yield rich.text.Text(f"{passed} of {len(assessment.checks)} checks passed")
    if details:
        yield from (
            rich.text.Text(f"  {check.name}") for check in assessment.checks if check.passed
        )
    else:
        yield _pairs(_labels(assessment))
    for check in assessment.failed:
        text = f"FAILED  {check.name}: expected {check.expected}, found {check.observed}"
        yield rich.text.Text(text, style="red")
    if assessment.failed:
        yield rich.text.Text("Something did not come out right.", style="bold red")
    else:
        yield rich.text.Text("Everything came out right.", style="bold green")


def fields(assessment: Assessment) -> Mapping[str, object]:
    """Return the summary for programs."""
    results = workloads.workload_results(assessment.observed)
    return {
        **dataclasses.asdict(assessment.summary),
        "seed": assessment.observed.scenario.seed,
        "workloads": len(results),
        "workloads_below_need": [
            {
                "name": each.workload.name,
                "replicas": each.workload.replicas,
                "lowest": each.lowest,
                "needed": each.workload.min_ready,
                "reason": each.shortfall,
            }
            for each in results
            if each.shortfall
        ],
        "checks": [
            {"group": group.name, **_check_fields(check), "passed": check.passed}
            for group in assessment.groups
            for check in group.checks
        ],
        "failed_checks": [_check_fields(check) for check in assessment.failed],
    }


def figures(assessment: Assessment, results: Sequence[WorkloadResult]) -> Sequence[tuple[str, str]]:
    """List the figures, each with its name."""
    observed, totals = assessment.observed, assessment.summary
    refused = len(observed.evictions) - totals.pods_evicted
    messages = (
        f"{totals.messages_deleted} settled, {totals.messages_dead_lettered} dead-lettered,"
        f" {totals.messages_left} left"
    )
    pods = (
        f"{totals.pods_evicted} evicted ({refused} times refused),"
        f" {totals.pods_deleted_at_deadline} deleted at the deadline"
    )
    return (
        ("events", f"{totals.events}, in {len(observed.messages)} messages"),
        ("messages", messages),
        ("nodes", f"{totals.cordoned} cordoned, {totals.drained} drained, of {totals.nodes}"),
        ("lifecycle actions", f"{totals.lifecycle_actions_completed} completed"),
        ("event to cordon", _spread(totals.event_to_cordon_seconds, digits=2)),
        ("event to drained", _spread(totals.event_to_drained_seconds, digits=1)),
        ("smallest margin", _seconds(totals.margin_seconds_min, digits=1)),
        ("pods", pods),
        ("budgets", f"{totals.budget_violations} violations"),
        ("workloads", _workload_counts(results)),
    )


def _workload_counts(results: Sequence[WorkloadResult]) -> str:
    kept = sum(not each.shortfall for each in results)
    return f"{len(results)}, {kept} always had the ready replicas they need"


def _shortfalls(results: Sequence[WorkloadResult], *, limit: int) -> Iterator[rich.text.Text]:
    short = [each for each in results if each.shortfall]
    yield from (rich.text.Text(f"  {each}", style="yellow") for each in short[:limit])
    if len(short) > limit:
        yield rich.text.Text(f"  and {len(short) - limit} more: --details lists them")


def _labels(assessment: Assessment) -> Iterator[tuple[str, str]]:
    """Yield each group with the labels of its checks that passed."""
    for group in assessment.groups:
        labels = [check.label for check in group.checks if check.passed]
        yield f"  {group.name}", ", ".join(labels) or "none"


def _check_fields(check: Check) -> dict[str, str]:
    return {"name": check.name, "expected": check.expected, "found": check.observed}


def _workload_table(results: Sequence[WorkloadResult]) -> rich.table.Table:
    table = rich.table.Table(
        title="Ready replicas at the lowest point", title_justify="left", box=None, pad_edge=False
    )
    names = [each.workload.name for each in results]
    table.add_column("workload", no_wrap=True, min_width=max(map(len, names), default=0))
    for heading in ("replicas", "lowest", "needed"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("budget", no_wrap=True)
    for each in results:
        workload = each.workload
        counts = (workload.replicas, each.lowest, workload.min_ready)
        table.add_row(
            workload.name,
            *map(str, counts),
            str(workload.budget or "none"),
            style="yellow" if each.shortfall else "",
        )
    return table


def _pairs(rows: Iterable[tuple[str, str]]) -> rich.table.Table:
    table = rich.table.Table(show_header=False, box=None, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for row in rows:
        table.add_row(*map(rich.text.Text, row))
    return table


def _spread(spread: Spread, *, digits: int) -> str:
    percentiles = (("p50", spread.p50), ("p99", spread.p99), ("max", spread.max))
    return ", ".join(f"{name} {_seconds(value, digits=digits)}" for name, value in percentiles)


def _seconds(value: float | None, *, digits: int) -> str:
    return "none" if value is None else f"{value:.{digits}f} s"
