"""Runs a drill: shows what would happen, asks, sends over a time, and reports."""

import asyncio
import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Annotated, TypeAlias

import typer

from queue_processor.domain import durations, errors
from queue_processor.messages import output, rate_limiter
from queue_processor.messages.options import OutputFormat
from queue_processor.messages.output import Extra
from queue_processor.messages.rate_limiter import RateLimiter
from queue_processor.messages.send import preview, targets
from queue_processor.messages.send.events import EventSink, Sender
from queue_processor.messages.send.targets import Drill, DrillTarget, DrillTemplate, TargetQuery
from queue_processor.messages.send.undo import DrillUndo
from queue_processor.settings import ToolSettings

# Events a second if they are not spread: as fast as batches are sent.
_AT_ONCE = 100.0
_STORM = "30s"

Nodes: TypeAlias = Annotated[
    list[str] | None, typer.Option("--node", metavar="NAME", help="A node. Can be repeated.")
]
Selector: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--selector", "-l", metavar="LABELS", help="All nodes that a label selector selects."
    ),
]
Storm: TypeAlias = Annotated[
    int | None,
    typer.Option("--storm", min=1, metavar="N", help="Only N of these, at equal distances."),
]
Spread: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--spread",
        metavar="TIME",
        help="Send over this time: 30s, 5min.  [default: 30s for a storm, else at once]",
        show_default=False,
    ),
]
DryRun: TypeAlias = Annotated[
    bool, typer.Option("--dry-run", help="Show what would be sent, and send nothing.")
]


UndoAfter: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--undo-after",
        metavar="TIME",
        help="Stay, and uncordon the nodes after this time, each once it is drained: 10min.",
    ),
]


def parse_spread(spread: str | None, storm: int | None) -> dt.timedelta:
    """Return over which time a drill is sent.

    Raises:
        UsageError: It is not a time.
    """
    return durations.parse(spread if spread is not None else _STORM if storm else "0s")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DrillRequest:
    """The events of a drill, where they are sent, and over which time.

    Attributes:
        destination: The name of the place, for people.
        place: The same for programs; the result of the command begins with it.
        identity: The heading of what identifies an event that was sent.
    """

    template: DrillTemplate
    sink: EventSink
    duration: dt.timedelta
    destination: str
    place: Mapping[str, str | None]
    identity: str = "event id"

    def rate(self, count: int) -> float:
        """Return how many events a second are sent."""
        seconds = self.duration.total_seconds()
        return count / seconds if seconds else _AT_ONCE


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DrillMode:
    """The options that all drills have.

    Attributes:
        undo_after: When the nodes are uncordoned; None: not by this command.
    """

    dry_run: bool
    yes: bool
    undo_after: dt.timedelta | None = None
    output_format: OutputFormat


def run(
    query: TargetQuery, request: DrillRequest, settings: ToolSettings, *, mode: DrillMode
) -> None:
    """Run a drill.

    Raises:
        UsageError: The query has no targets, or one of them must not be sent anything.
        ConfigurationError: The cluster cannot be read.
    """
    now = dt.datetime.now(dt.UTC)
    drill = asyncio.run(targets.plan(query, request.template, settings, now=now))
    output.note(f"cluster: {drill.cluster_name}")
    for name, place in request.place.items():
        if place is not None:
            output.note(f"{name.replace('_', ' ')}: {place}")
    for line in preview.describe(drill, settings):
        output.note(line)
    if mode.dry_run:
        _show(drill, request, mode.output_format)
        return
    confirmed = drill.targets if mode.yes else _confirmed(drill, query, request)
    _send(confirmed, request, mode)


def _show(drill: Drill, request: DrillRequest, output_format: OutputFormat) -> None:
    if output_format is OutputFormat.TEXT:
        for target in drill.targets:
            typer.echo(target.body)
    else:
        output.print_data([preview.fields(target) for target in drill.targets], output_format)
    output.note(f"{len(drill.targets)} would be sent to {request.destination}")


def _confirmed(drill: Drill, query: TargetQuery, request: DrillRequest) -> Sequence[DrillTarget]:
    """Ask, and return the targets that were not protected in the meantime."""
    without_node = [target.instance_id for target in drill.targets if target.node is None]
    unknown = f"{' '.join(without_node)}: not a node of this cluster. " if without_node else ""
    moving = sum(len(target.moving) for target in drill.targets)
    output.confirm(
        f"{unknown}{moving} pods move. Send {len(drill.targets)} {request.template.kind} events to"
        f" {request.destination}?"
    )
    protected = asyncio.run(targets.protected_instances())
    names = " ".join(each.name for each in drill.targets if each.instance_id in protected)
    if names and query.selector is None:
        raise errors.UsageError(f"{names}: protected in the meantime, so nothing is sent")
    if names:
        output.note(f"left out, protected in the meantime: {names}")
    return [each for each in drill.targets if each.instance_id not in protected]


def _send(confirmed: Sequence[DrillTarget], request: DrillRequest, mode: DrillMode) -> None:
    with rate_limiter.stop_on_signals() as stop:
        limiter = RateLimiter(request.rate(len(confirmed)), stop=stop)
        sender = Sender(request.sink, request.template, limiter=limiter)
        try:
            with output.progress(len(confirmed), verb="sent") as on_progress:
                sender.run(confirmed, on_progress=on_progress)
        finally:
            _report(sender, confirmed, request, mode.output_format)
        if mode.undo_after is not None:
            names = [
                target.node.name
                for target in confirmed
                if target.node is not None and target.instance_id in sender.event_ids
            ]
            undo = DrillUndo(names, event_ids=sender.event_ids.values())
            undo.run(mode.undo_after, stop=stop)
    if len(sender.event_ids) + len(sender.refused) < len(confirmed):
        raise typer.Exit(output.INTERRUPTED)
    if sender.refused:
        raise typer.Exit(output.FAILED)


def _report(
    sender: Sender,
    confirmed: Sequence[DrillTarget],
    request: DrillRequest,
    output_format: OutputFormat,
) -> None:
    by_instance = {target.instance_id: target for target in confirmed}
    attempted_ids = {*sender.event_ids, *sender.refused, *sender.unconfirmed}
    unsent = [target for target in confirmed if target.instance_id not in attempted_ids]
    output.note_refused({by_instance[each].name: error for each, error in sender.refused.items()})
    if sender.unconfirmed:
        names = " ".join(by_instance[each].name for each in sender.unconfirmed)
        output.note(f"no answer came, so these may have been sent: {names}")
    sent = [(by_instance[each], event_id) for each, event_id in sender.event_ids.items()]
    if sent and output_format is OutputFormat.TEXT:
        output.print_table(
            ("node or instance", request.identity, Extra("instance")),
            [
                (target.identity()["node"] or target.instance_id, event_id, target.instance_id)
                for target, event_id in sent
            ],
        )
    key = request.identity.replace(" ", "_")
    output.print_result(
        {
            **request.place,
            "kind": request.template.kind.value,
            "sent": [{**target.identity(), key: event_id} for target, event_id in sent],
            "refused": [by_instance[each].identity() for each in sender.refused],
            "unconfirmed": [by_instance[each].identity() for each in sender.unconfirmed],
            "left": [target.identity() for target in unsent],
        },
        output_format,
        text=f"{len(sent)} {request.template.kind} events sent to {request.destination},"
        f" {len(unsent)} left",
    )
