"""`queue-processor demo`: interruptions on one machine."""

import enum
import pathlib
from typing import Annotated

import typer

from queue_processor.cli import exits
from queue_processor.domain import errors

_FROM_EXTRA = frozenset({"moto", "flask", "werkzeug"})


class ScenarioName(enum.StrEnum):
    """The scenarios of the demo."""

    SINGLE = "single"
    STORM = "storm"
    MIXED = "mixed"
    IMDS = "imds"
    MIXED_SOURCES = "mixed-sources"


class DemoOutput(enum.StrEnum):
    """Output formats of the demo."""

    TEXT = "text"
    JSON = "json"


def demo(  # noqa: PLR0913 - the options of a command
    *,
    scenario: Annotated[
        ScenarioName,
        typer.Option(
            help="single: a Spot interruption in a small cluster. storm: interruptions of many"
            " kinds at once. mixed: every kind of event, and a deadline that is near. imds: what"
            " instance metadata announces, without a queue. mixed-sources: Spot interruptions by"
            " the queue and by instance metadata, for the same nodes."
        ),
    ] = ScenarioName.STORM,
    nodes: Annotated[int | None, typer.Option(min=2, max=2000, help="The number of nodes.")] = None,
    pods_per_node: Annotated[
        int | None, typer.Option(min=1, max=100, help="The number of pods on each at first.")
    ] = None,
    events: Annotated[
        int | None, typer.Option(min=1, max=1000, help="The number of interruption events.")
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="The same seed makes the same scenario again.")
    ] = 0,
    output: Annotated[
        DemoOutput,
        typer.Option(help="text: for people. json: one object on stdout, logs on stderr."),
    ] = DemoOutput.TEXT,
    details: Annotated[
        bool, typer.Option("--details", help="Print every node, workload and check at the end.")
    ] = False,
    report_path: Annotated[
        pathlib.Path | None,
        typer.Option(
            "--report", metavar="FILE.html", help="Write a page with timelines to this file."
        ),
    ] = None,
    keep: Annotated[
        bool,
        typer.Option(
            "--keep",
            help="Keep the cluster, AWS and the operator up until Ctrl-C, and print the variables"
            " with which the other commands and kubectl work there.",
        ),
    ] = False,
) -> None:
    """Play interruptions: the real operator, a simulated AWS and cluster, no account.

    Runs the same code as `queue-processor run` against AWS and a Kubernetes API server on ports
    of this machine, and checks the outcome there. Your own QUEUE_PROCESSOR_ settings apply.
    Exit code 0: everything came out right; 1: something did not, and the log of the operator
    stays in the file that the last line names. docs/playground.md is a tutorial for --keep.

    \b
    Examples:
      queue-processor demo
      queue-processor demo --scenario mixed
      queue-processor demo --scenario imds --details
      queue-processor demo --nodes 200 --events 80 --seed 7
      queue-processor demo --scenario single --output json | jq .event_to_cordon_seconds
      queue-processor demo --report storm.html
      queue-processor demo --keep --nodes 12 --events 4
      QUEUE_PROCESSOR_DRAIN__ON_DEADLINE=leave queue-processor demo --scenario mixed
    """  # noqa: D301 - after a real backspace the lines stay as they are
    # Imported here, because no other command needs it or the extra.
    from queue_processor.simulator.demo import operator, report, scenarios  # noqa: PLC0415
    from queue_processor.simulator.demo.scenario import ImpossibleScenarioError  # noqa: PLC0415

    try:
        plan = scenarios.compose(
            scenario, seed=seed, nodes=nodes, pods_per_node=pods_per_node, events=events
        )
    except ImpossibleScenarioError as error:
        typer.echo(f"demo: {error}", err=True)
        raise typer.Exit(exits.WRONG_USAGE) from error
    if keep and output is DemoOutput.JSON:
        raise errors.UsageError("--keep prints lines for a shell: leave --output json out")
    if report_path is not None:
        report.check_writable(report_path)
    operator.isolate()
    try:
        from queue_processor.simulator.demo import run  # noqa: PLC0415
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _FROM_EXTRA:
            raise
        typer.echo(
            f"demo: {package} is not installed: pip install 'queue-processor[demo]'", err=True
        )
        raise typer.Exit(exits.FAILED) from error
    except KeyboardInterrupt:
        raise typer.Exit(exits.INTERRUPTED) from None
    options = run.DemoOptions(
        as_json=output is DemoOutput.JSON, details=details, report=report_path, keep=keep
    )
    raise typer.Exit(run.run(plan, options))
