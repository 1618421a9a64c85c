"""`make simulate`: play many scenarios and write the report, or one of them and print all of it."""

import sys
import time
from typing import Annotated

import typer

from tests.simulation import report, runs, scenario, shrinking
from tests.simulation.planted import DEFECTS

_PROGRESS_EVERY = 500


def main(
    *,
    seeds: Annotated[int, typer.Option(help="How many scenarios to play.")] = 10_000,
    first: Annotated[int, typer.Option(help="The first of the seeds.")] = 0,
    seed: Annotated[int | None, typer.Option(help="Play only this one and print it.")] = None,
    processes: Annotated[int, typer.Option(help="How many to play at a time.")] = 2,
    record: Annotated[bool, typer.Option(help="Write benchmarks/SIMULATION.md.")] = False,
    digests: Annotated[bool, typer.Option(help="Print what must be equal in each run.")] = False,
) -> None:
    """Play scenarios in simulated worlds."""
    if seed is not None:
        sys.exit(_play_one(seed))
    if digests:
        for result in runs.run_seeds(range(first, first + seeds), processes=processes):
            typer.echo(f"{result.seed} {result.digest}")
        return
    sys.exit(_play_many(range(first, first + seeds), processes=processes, is_recorded=record))


def _play_one(seed: int) -> int:
    drawn = scenario.draw(seed)
    result = runs.run(drawn)
    typer.echo(drawn)
    typer.echo("\n".join(result.trace))
    if result.violation is None:
        typer.echo("no rule is violated")
        return 0
    smallest = shrinking.shrink(drawn)
    typer.echo("\nThe smallest scenario that violates the same rule:")
    typer.echo(smallest)
    typer.echo("\n".join(runs.run(smallest).trace))
    typer.echo(result.violation)
    return 1


def _play_many(seeds: range, *, processes: int, is_recorded: bool) -> int:
    started_at = time.monotonic()
    summary = report.Summary()
    for result in runs.run_seeds(seeds, processes=processes):
        summary.add(result)
        if result.violation is not None:
            typer.echo(f"seed {result.seed}: {result.violation}")
        if summary.seeds % _PROGRESS_EVERY == 0:
            typer.echo(f"{summary.seeds} seeds, {len(summary.violations)} violations")
    took = time.monotonic() - started_at
    typer.echo(f"{summary.seeds} seeds in {took:.0f} s, {len(summary.violations)} violations")
    if is_recorded:
        findings = [report.find(defect) for defect in DEFECTS]
        text = report.markdown(summary, findings, wall_seconds=took, processes=processes)
        report.PATH.write_text(text, encoding="utf-8")
        typer.echo(f"written to {report.PATH}")
    if summary.violations:
        typer.echo("make simulate SEED=n prints one of them, and the smallest like it")
    return 1 if summary.violations else 0


if __name__ == "__main__":
    typer.run(main)
