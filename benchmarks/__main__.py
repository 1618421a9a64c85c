"""`make bench`: measures storms of several sizes, prints and saves the figures."""

import asyncio
import dataclasses
import json
import pathlib
from typing import Annotated

import typer

from benchmarks import notices, results, storm
from benchmarks.results import BenchmarkResults

_SINGLES = 20
_HERE = pathlib.Path(__file__).parent
_TEMPLATE, _RESULTS = _HERE / "results.md.j2", _HERE / "RESULTS.md"


def _main(
    storms: Annotated[
        list[int] | None, typer.Option("--storm", help="Nodes to interrupt at once; repeatable.")
    ] = None,
    indexes: Annotated[
        list[int] | None, typer.Option("--index", help="Nodes to do nothing with; repeatable.")
    ] = None,
    watched: Annotated[
        list[int] | None,
        typer.Option("--notices", help="Nodes to interrupt by instance metadata; repeatable."),
    ] = None,
    as_json: Annotated[
        pathlib.Path, typer.Option("--json", help="Where the figures go.")
    ] = pathlib.Path("benchmark.json"),
    *,
    record: Annotated[
        bool, typer.Option("--record", help="Write benchmarks/RESULTS.md as well.")
    ] = False,
) -> None:
    """Measure the operator on a real control plane on this machine.

    \b
    Examples:
      python -m benchmarks --storm 50
      python -m benchmarks --notices 50
      QUEUE_PROCESSOR_KUBERNETES__REQUESTS_IN_FLIGHT=64 python -m benchmarks --storm 200
    """  # noqa: D301 - after a real backspace the lines stay as they are
    measured = asyncio.run(_measure(storms or [], indexes or [], watched or []))
    as_json.write_text(json.dumps(dataclasses.asdict(measured), indent=2) + "\n", encoding="utf-8")
    text = results.render(_TEMPLATE, results=measured, pods=storm.PODS)
    typer.echo(text)
    if record:
        _RESULTS.write_text(text, encoding="utf-8")


async def _measure(storms: list[int], indexes: list[int], watched: list[int]) -> BenchmarkResults:
    typer.echo(f"{_SINGLES} nodes, one by one", err=True)
    singles = await storm.storm(_SINGLES, at_once=1)
    measured = []
    for count in storms:
        typer.echo(f"{count} nodes: bare evictions", err=True)
        bare = await storm.bare(count)
        typer.echo(f"{count} nodes: storm", err=True)
        measured.append((await storm.storm(count, at_once=count), bare))
    idle = []
    for count in indexes:
        typer.echo(f"{count} nodes: idle", err=True)
        idle.append(await storm.idle(count))
    by_notices = []
    for count in watched:
        typer.echo(f"{count} nodes: notices", err=True)
        by_notices.append(await notices.notices(count))
    return BenchmarkResults(
        provenance=results.provenance(),
        singles=singles,
        storms=measured,
        idle=idle,
        notices=by_notices,
    )


if __name__ == "__main__":
    app = typer.Typer(rich_markup_mode=None, add_completion=False)
    app.command()(_main)
    app()
