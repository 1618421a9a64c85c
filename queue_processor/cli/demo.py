"""`queue-processor demo`: a rehearsal of interruptions on one machine."""

import enum
from typing import Annotated

import typer

_FAILED = 1
_WRONG_USAGE = 2
_INTERRUPTED = 130
_DRAWN_FROM_EXTRA = frozenset({"moto", "flask", "werkzeug"})


class ScenarioName(enum.StrEnum):
    """What is rehearsed."""

    SINGLE = "single"
    STORM = "storm"
    MIXED = "mixed"


class Output(enum.StrEnum):
    """How the outcome is told."""

    TEXT = "text"
    JSON = "json"


def demo(
    scenario: Annotated[
        ScenarioName,
        typer.Option(
            help="single: a spot interruption on a small cluster. storm: interruptions of many"
            " kinds at once. mixed: every kind of event, and a deadline that is near."
        ),
    ] = ScenarioName.STORM,
    nodes: Annotated[
        int | None, typer.Option(min=2, max=2000, help="How many nodes there are.")
    ] = None,
    pods_per_node: Annotated[
        int | None, typer.Option(min=1, max=100, help="How many pods run on each at first.")
    ] = None,
    events: Annotated[
        int | None, typer.Option(min=1, max=1000, help="How many interruption events come.")
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="The same seed makes the same scenario again.")
    ] = 0,
    output: Annotated[
        Output,
        typer.Option(help="text: for people. json: one object on stdout, logs on stderr."),
    ] = Output.TEXT,
) -> None:
    """Rehearse interruptions: the real operator, a simulated AWS and cluster, no account.

    Runs the same code as `queue-processor run` against AWS and a Kubernetes API server on ports
    of this machine, and judges the outcome by what it finds there. Your own QUEUE_PROCESSOR_
    settings apply. Exit code 0: everything came out right; 1: something did not.

    \b
    Examples:
      queue-processor demo
      queue-processor demo --scenario mixed
      queue-processor demo --nodes 200 --events 80 --seed 7
      queue-processor demo --scenario single --output json | jq .event_to_cordon_seconds
      QUEUE_PROCESSOR_DRAIN__ON_DEADLINE=leave queue-processor demo --scenario mixed
    """  # noqa: D301 - after a real backspace the lines stay as they are
    # All of this only here, so that no other command waits for it or needs the extra.
    from queue_processor.simulator.demo import scenario as scenes  # noqa: PLC0415
    from queue_processor.simulator.demo import scenarios, surroundings  # noqa: PLC0415

    size = scenarios.Size(nodes=nodes, pods_per_node=pods_per_node, events=events)
    try:
        plan = scenarios.compose(scenarios.Name(scenario.value), size, seed=seed)
    except scenes.ImpossibleScenarioError as error:
        typer.echo(f"demo: {error}", err=True)
        raise typer.Exit(_WRONG_USAGE) from error
    surroundings.stay_on_this_machine()
    try:
        from queue_processor.simulator.demo import program  # noqa: PLC0415
    except ModuleNotFoundError as missing:
        package = (missing.name or "").partition(".")[0]
        if package not in _DRAWN_FROM_EXTRA:
            raise
        typer.echo(
            f"demo: {package} is not installed: pip install 'queue-processor[demo]'", err=True
        )
        raise typer.Exit(_FAILED) from missing
    except KeyboardInterrupt:
        raise typer.Exit(_INTERRUPTED) from None
    raise typer.Exit(program.run(plan, as_json=output is Output.JSON))
