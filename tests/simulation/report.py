"""The report of many runs, as it stands in benchmarks/SIMULATION.md."""

import collections
import dataclasses
import datetime as dt
import os
import pathlib
import platform
import subprocess
from collections.abc import Mapping, Sequence

from tests.simulation import planted, runs, scenario

PATH = pathlib.Path(__file__).parents[2] / "benchmarks" / "SIMULATION.md"
MOST_SEEDS_TO_FIND = 500


@dataclasses.dataclass(slots=True)
class Summary:
    """The sums of many runs."""

    seeds: int = 0
    evictions: int = 0
    seconds: float = 0.0
    violations: list[str] = dataclasses.field(default_factory=list)
    faults: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    incidents: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    signals: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)

    def add(self, result: runs.RunResult) -> None:
        """Add a run."""
        self.seeds += 1
        self.evictions += result.evictions
        self.seconds += result.seconds
        self.faults.update(result.faults)
        self.incidents.update(result.incidents)
        self.signals.update(result.signals)
        if result.violation is not None:
            self.violations.append(f"seed {result.seed}: {result.violation}")


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """The first seed that finds a planted defect.

    Attributes:
        seed: None if none of the seeds finds it.
    """

    defect: str
    does: str
    seed: int | None
    violation: str


def find(defect: type[planted.PlantedDefect], *, seeds: int = MOST_SEEDS_TO_FIND) -> Finding:
    """Play one scenario after the other until one violates a rule because of the defect."""
    name, does = defect.__name__, str(defect.__doc__)
    for seed in range(seeds):
        violation = runs.run(scenario.draw(seed), world=defect).violation
        runs.collect_garbage(seed)
        if violation is not None and runs.run(scenario.draw(seed)).violation is None:
            return Finding(name, does, seed, violation)
    return Finding(name, does, None, "")


def markdown(
    summary: Summary, findings: Sequence[Finding], *, wall_seconds: float, processes: int
) -> str:
    """Return the report."""
    violations = [f"- {each}" for each in summary.violations] or ["None."]
    provenance = (
        f"Revision {_revision()}, {dt.datetime.now(dt.UTC):%Y-%m-%d}. {os.cpu_count()} cores,"
        f" {platform.machine()}, Python {platform.python_version()}."
    )
    totals = (
        f"{summary.seeds:,} worlds in {wall_seconds:.0f} s in {processes} processes,"
        f" {1000 * summary.seconds / max(summary.seeds, 1):.0f} ms each:"
        f" {sum(summary.signals.values()):,} messages, {summary.evictions:,} evictions,"
        f" {summary.incidents['SIGKILL']:,} times SIGKILL,"
        f" {summary.incidents['SIGTERM']:,} times SIGTERM,"
        f" {len(summary.violations)} violations."
    )
    introduction = (
        "The same oracle looks at programs in which one thing is wrong. Each has to be found within"
        f" {MOST_SEEDS_TO_FIND} seeds."
    )
    lines = [
        "# Results of `make simulate`",
        "",
        f"Written by the simulation, not by hand. {provenance}",
        "",
        totals,
        "",
        "## Violations",
        "",
        *violations,
        "",
        "## Planted defects",
        "",
        introduction,
        "",
        "| the program | first seed | violation |",
        "|---|---|---|",
        *(
            f"| {each.does.strip().rstrip('.')} |"
            f" {'not found' if each.seed is None else each.seed} | {_rule(each.violation)} |"
            for each in findings
        ),
        "",
        *_table("calls that went wrong", summary.faults),
        *_table("incidents drawn", summary.incidents),
        *_table("messages", summary.signals),
    ]
    return "\n".join(lines)


def _rule(violation: str) -> str:
    return violation.partition(":")[0]


def _table(head: str, counts: Mapping[str, int]) -> list[str]:
    rows = [f"| {name} | {count:,} |" for name, count in sorted(counts.items())]
    return [f"| {head} | times |", "|---|---|", *rows, ""]


def _revision() -> str:
    command = ("git", "describe", "--always", "--abbrev=12", "--dirty")
    answer = subprocess.run(  # noqa: S603 - the command is constant
        command, cwd=PATH.parent, capture_output=True, text=True, check=False
    )
    return answer.stdout.strip() or "unknown"
