"""`make bench`: measures storms of several sizes, prints and saves the figures."""

import asyncio
import dataclasses
import pathlib
import signal
from typing import Annotated

import typer

from benchmarks import baseline, environment, results
from benchmarks.results import BenchmarkResults
from benchmarks.rounds import Rounds, Sizes
from tests.cluster import assets

_HERE = pathlib.Path(__file__).parent
_TEMPLATE = _HERE / "results.md.j2"
_RECORDED_ROUNDS = 3
_FAILURES = (
    assets.AssetsIncomplete,
    assets.AssetsMissing,
    baseline.BareEvictionsError,
    environment.OperatorEndedError,
)
_RECORDS = _HERE / "RESULTS.md", _HERE / "results.json"


def _main(  # noqa: PLR0913 - the options of a command
    *,
    storms: Annotated[
        list[int] | None, typer.Option("--storm", help="Nodes to interrupt at once; repeatable.")
    ] = None,
    slow: Annotated[
        list[int] | None,
        typer.Option("--slow", help="The same, with pods that stop in 5 s; repeatable."),
    ] = None,
    kills: Annotated[
        list[int] | None,
        typer.Option(
            "--kill", min=20, help="The same, and the operator is killed after 1 s; repeatable."
        ),
    ] = None,
    limits: Annotated[
        list[int] | None,
        typer.Option(
            "--limits", help="The same, with 100m CPU and 128 MiB for the operator; repeatable."
        ),
    ] = None,
    indexes: Annotated[
        list[int] | None, typer.Option("--index", help="Nodes to do nothing with; repeatable.")
    ] = None,
    watched: Annotated[
        list[int] | None,
        typer.Option("--notices", help="Nodes to interrupt by instance metadata; repeatable."),
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(min=1, help="How often everything is measured: 3 with --record, else 1."),
    ] = None,
    as_json: Annotated[
        pathlib.Path, typer.Option("--json", help="Where the figures of every round go.")
    ] = pathlib.Path("benchmark.json"),
    record: Annotated[
        bool,
        typer.Option("--record", help="Write benchmarks/RESULTS.md and results.json as well."),
    ] = False,
) -> None:
    """Measure the operator on a real control plane on this machine.

    The table shows the median of the rounds, with the least and the most. Progress, and a warning
    when other programs use the machine, go to stderr.

    \b
    Examples:
      python -m benchmarks --storm 50
      python -m benchmarks --storm 50 --kill 50 --limits 50 --rounds 3 --json before.json
      python -m benchmarks.compare before.json after.json
      QUEUE_PROCESSOR_KUBERNETES__REQUESTS_IN_FLIGHT=64 python -m benchmarks --storm 200
    """  # noqa: D301 - after a real backspace the lines stay as they are
    # The processes that it started end with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sizes = Sizes(
        storms=storms or (),
        slow=slow or (),
        kills=kills or (),
        limits=limits or (),
        indexes=indexes or (),
        watched=watched or (),
    )
    default = _RECORDED_ROUNDS if record else 1
    try:
        measured = asyncio.run(_measure(sizes, rounds or default, as_json))
    except _FAILURES as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    text = results.render(_TEMPLATE, results=measured)
    typer.echo(text)
    if record:
        table, raw = _RECORDS
        table.write_text(text, encoding="utf-8")
        results.save(measured, raw)


async def _measure(sizes: Sizes, rounds: int, as_json: pathlib.Path) -> BenchmarkResults:
    """Measure everything, and save what there is after each round."""
    measured = BenchmarkResults(results.provenance(), {})
    async for sections in Rounds(sizes, rounds, lambda line: typer.echo(line, err=True)).run():
        measured = dataclasses.replace(measured, sections=sections)
        results.save(measured, as_json)
    return measured


if __name__ == "__main__":
    app = typer.Typer(rich_markup_mode=None, add_completion=False)
    app.command()(_main)
    app()
