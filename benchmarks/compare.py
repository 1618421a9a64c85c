"""`make bench-compare`: two runs side by side, and which differences are more than noise."""

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

import pydantic
import typer

from benchmarks import results
from benchmarks.figures import Row, Summary


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """A figure of two runs."""

    row: str
    figure: str
    before: Summary
    after: Summary

    @property
    def change(self) -> str:
        """Return the change of the median in percent; empty if that was zero."""
        if not self.before.median:
            return ""
        return f"{100 * (self.after.median / self.before.median - 1):+.1f} %"

    @property
    def verdict(self) -> str:
        """Return whether the change may be noise: the ranges of the rounds overlap."""
        if min(self.before.rounds, self.after.rounds) == 1:
            return "unknown: one round"
        return "within noise" if self.before.overlaps(self.after) else "changed"


def compare(
    before: Mapping[str, Sequence[Row]], after: Mapping[str, Sequence[Row]]
) -> Iterator[Comparison]:
    """Yield the figures that both runs have."""
    rows_after = {(section, row.name): row for section, rows in after.items() for row in rows}
    for section, rows in before.items():
        for row in rows:
            other = rows_after.get((section, row.name), Row(row.name))
            for name in row.names:
                if name in other.names:
                    yield Comparison(
                        f"{section}: {row.name}", name, row.summary(name), other.summary(name)
                    )


def _main(
    before: Annotated[pathlib.Path, typer.Argument(help="The JSON of a run.")],
    after: Annotated[pathlib.Path, typer.Argument(help="The JSON of another run.")],
) -> None:
    """Compare two runs: the medians, the change, and whether the ranges overlap.

    \b
    Example:
      python -m benchmarks.compare benchmarks/results.json benchmark.json
    """  # noqa: D301 - after a real backspace the lines stay as they are
    a, b = _load(before), _load(after)
    for name, run in (("A", a), ("B", b)):
        typer.echo(f"{name}: {run.provenance.revision}, {run.provenance.machine}")
    if a.provenance.machine != b.provenance.machine:
        typer.echo("warning: the machines differ", err=True)
    lines = [
        (each.row, each.figure, str(each.before), str(each.after), each.change, each.verdict)
        for each in compare(a.sections, b.sections)
    ]
    heads = ("row", "figure", "A", "B", "change", "")
    widths = [max(map(len, column)) for column in zip(heads, *lines, strict=True)]
    for line in (heads, *lines):
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())


def _load(path: pathlib.Path) -> results.BenchmarkResults:
    try:
        return results.load(path)
    except (OSError, pydantic.ValidationError) as error:
        reason = error if isinstance(error, OSError) else "it is not the JSON of a run"
        typer.echo(f"{path} cannot be read: {reason}", err=True)
        raise typer.Exit(1) from error


if __name__ == "__main__":
    app = typer.Typer(rich_markup_mode=None, add_completion=False)
    app.command()(_main)
    app()
