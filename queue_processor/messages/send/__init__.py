"""`queue-processor messages send`: the events of AWS, for a drill."""

import datetime as dt
from typing import Annotated

import typer

from queue_processor import settings
from queue_processor.adapters.aws import clients, eventbus
from queue_processor.adapters.aws.eventbus import EventBus
from queue_processor.domain import durations, errors
from queue_processor.domain.event_builder import ChangeStatus
from queue_processor.domain.events import EventKind, InstanceState
from queue_processor.messages import options, output, queues
from queue_processor.messages.options import OutputFormat
from queue_processor.messages.queues import QueueRef
from queue_processor.messages.send import drill, events, targets
from queue_processor.messages.send.drill import DrillMode, DrillRequest
from queue_processor.messages.send.events import EventTemplate, QueueSink


def send(  # noqa: PLR0913 - the options of a command
    kind: Annotated[EventKind, typer.Argument(metavar="KIND", help="The kind of the events.")],
    *,
    instance: Annotated[
        list[str] | None,
        typer.Option(metavar="i-…", help="An instance. Can be repeated."),
    ] = None,
    node: drill.Nodes = None,
    selector: drill.Selector = None,
    storm: drill.Storm = None,
    spread: drill.Spread = None,
    state: Annotated[
        InstanceState | None, typer.Option(help="For state_change: the state of the instance.")
    ] = None,
    group: Annotated[
        str | None, typer.Option(metavar="NAME", help="For autoscaling_*: the Auto Scaling group.")
    ] = None,
    hook: Annotated[
        str | None, typer.Option(metavar="NAME", help="For autoscaling_*: its lifecycle hook.")
    ] = None,
    starts_in: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="For scheduled_change: when it takes place.  [default: 14d]",
            show_default=False,
        ),
    ] = None,
    status: Annotated[
        ChangeStatus | None,
        typer.Option(help="For scheduled_change: closed cancels it.  [default: upcoming]"),
    ] = None,
    event_bus: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|ARN",
            help="Put the events on this bus of EventBridge, whose rules send to the queue.",
        ),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="With --event-bus: a source that AWS lets you use. The event is the detail, so"
            " your rule's target needs the InputPath $.detail.",
        ),
    ] = None,
    undo_after: drill.UndoAfter = None,
    dry_run: drill.DryRun = False,
    queue: options.Queue = None,
    yes: options.Yes = False,
    config: options.Config = None,
    output_format: options.Output = OutputFormat.TEXT,
) -> None:
    """Send the events of a drill, one for each instance, exactly as AWS prints them.

    The operator drains the nodes: you see which pods will move, and are asked first. A node with
    the label queue-processor/protected is never sent an event: to name it is refused, a selector
    leaves it out. Each message in the queue carries the attribute queue-processor.sent. The command
    needs the permissions to list nodes and pods, sqs:GetQueueAttributes and sqs:SendMessage.

    With --event-bus they go through EventBridge. AWS refuses events there whose source begins with
    aws.; emulators take them. With --source the events pass, and a rule for that source brings them
    to the queue: the parameter DrillSource of the CloudFormation template makes it.

    The nodes stay cordoned until they are gone. With --undo-after the command stays and takes them
    back into use, which needs the permission to patch nodes; `nodes uncordon` does it later.

    \b
    Examples:
      queue-processor messages send spot_interruption --node ip-10-0-1-7.ec2.internal
      queue-processor messages send spot_interruption -l pool=spot --storm 20 --spread 30s
      queue-processor messages send spot_interruption --node NAME --undo-after 10min
      queue-processor messages send state_change --state stopping --instance i-0123456789abcdef0
      queue-processor messages send autoscaling_termination --group web --hook drain --node NAME
      queue-processor messages send scheduled_change --starts-in 2h --node NAME --dry-run
    """  # noqa: D301 - after a real backspace the lines stay as they are
    query = targets.parse_query(instance or (), node or (), selector, storm)
    event_options = events.parse_options(
        kind, state=state, group=group, hook=hook, starts_in=starts_in, status=status
    )
    duration = drill.parse_spread(spread, storm)
    _check_source(source, event_bus)
    loaded = settings.load_for_tool(config)
    queue_client = queues.open_queue(QueueRef(queue=queue), loaded)
    template = EventTemplate(kind=kind, options=event_options, queue_arn=queue_client.state().arn)
    bus = None if event_bus is None else _open_bus(event_bus, source, queue_client.url)
    request = DrillRequest(
        template=template,
        sink=bus or QueueSink(queue_client, began_at=dt.datetime.now(dt.UTC)),
        duration=duration,
        destination=queue_client.name if bus is None else f"the event bus {bus.name}",
        place={
            "queue": queue_client.url if bus is None else None,
            "event_bus": None if bus is None else bus.name,
        },
    )
    mode = DrillMode(
        dry_run=dry_run,
        yes=yes,
        output_format=output_format,
        undo_after=None if undo_after is None else durations.parse(undo_after),
    )
    drill.run(query, request, loaded, mode=mode)


def _check_source(source: str | None, event_bus: str | None) -> None:
    if source is None:
        return
    if event_bus is None:
        raise errors.UsageError("--source is for events on a bus: name it with --event-bus")
    if not source or source.startswith(eventbus.RESERVED):
        raise errors.UsageError(
            f"AWS refuses the source {source!r}: those that begin with {eventbus.RESERVED} are"
            " reserved; choose another, such as drill"
        )


def _open_bus(name: str, source: str | None, queue_url: str) -> EventBus:
    if source is None:
        output.note(
            "AWS refuses events on a bus whose source begins with aws.; an emulator may take them."
            " With AWS leave --event-bus out, or name a --source of your own"
        )
    return EventBus(clients.ClientFactory(queue_url=queue_url).events(), name, source=source)
