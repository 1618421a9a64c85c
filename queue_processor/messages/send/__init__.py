"""`queue-processor messages send`: the events of AWS, for a drill."""

import asyncio
import dataclasses
import datetime as dt
from collections.abc import Sequence
from typing import Annotated

import typer

from queue_processor import settings
from queue_processor.adapters.aws import clients, eventbus
from queue_processor.adapters.aws.eventbus import EventBus
from queue_processor.adapters.aws.queue import QueueClient
from queue_processor.domain import errors
from queue_processor.domain.event_builder import ChangeStatus
from queue_processor.domain.events import EventKind, InstanceState
from queue_processor.messages import options, output, queues, rate_limiter
from queue_processor.messages.options import OutputFormat
from queue_processor.messages.queues import QueueRef
from queue_processor.messages.rate_limiter import RateLimiter
from queue_processor.messages.send import events, preview, targets
from queue_processor.messages.send.events import EventSink, EventTemplate, QueueSink, Sender
from queue_processor.messages.send.targets import Drill, DrillTarget, TargetQuery

_HEADINGS = ("instance", "node", "event id")
# Events a second if they are not spread: as fast as batches are sent.
_AT_ONCE = 100.0
_STORM = "30s"


def send(  # noqa: PLR0913 - the options of a command
    kind: Annotated[EventKind, typer.Argument(metavar="KIND", help="The kind of the events.")],
    *,
    instance: Annotated[
        list[str] | None,
        typer.Option(metavar="i-…", help="An instance. Can be repeated."),
    ] = None,
    node: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A node. Can be repeated.")
    ] = None,
    selector: Annotated[
        str | None,
        typer.Option(
            "--selector", "-l", metavar="LABELS", help="All nodes that a label selector selects."
        ),
    ] = None,
    storm: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Only N of these, at equal distances."),
    ] = None,
    spread: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Send over this time: 30s, 5min.  [default: 30s for a storm, else at once]",
            show_default=False,
        ),
    ] = None,
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
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be sent, and send nothing.")
    ] = False,
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

    \b
    Examples:
      queue-processor messages send spot_interruption --node ip-10-0-1-7.ec2.internal
      queue-processor messages send spot_interruption -l pool=spot --storm 20 --spread 30s
      queue-processor messages send state_change --state stopping --instance i-0123456789abcdef0
      queue-processor messages send autoscaling_termination --group web --hook drain --node NAME
      queue-processor messages send scheduled_change --starts-in 2h --node NAME --dry-run
    """  # noqa: D301 - after a real backspace the lines stay as they are
    query = targets.parse_query(instance or (), node or (), selector, storm)
    event_options = events.parse_options(
        kind, state=state, group=group, hook=hook, starts_in=starts_in, status=status
    )
    duration = options.parse_duration(spread if spread is not None else _STORM if storm else "0s")
    _check_source(source, event_bus)
    loaded = settings.load_for_tool(config)
    queue_client = queues.open_queue(QueueRef(queue=queue), loaded)
    request = SendRequest(
        template=EventTemplate(
            kind=kind, options=event_options, queue_arn=queue_client.state().arn
        ),
        queue=queue_client,
        bus=None if event_bus is None else _open_bus(event_bus, source),
        duration=duration,
        output_format=output_format,
    )
    now = dt.datetime.now(dt.UTC)
    drill = asyncio.run(targets.plan(query, request.template, loaded, now=now))
    for line in preview.describe(drill, loaded):
        output.note(line)
    if dry_run:
        _show(drill, request)
        return
    _send(drill.targets if yes else _confirmed(drill, query, request), request)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SendRequest:
    """The events, where they are sent, and over which time."""

    template: EventTemplate
    queue: QueueClient
    bus: EventBus | None
    duration: dt.timedelta
    output_format: OutputFormat

    @property
    def destination(self) -> str:
        """Return the name of the queue or the event bus, for people."""
        return self.queue.name if self.bus is None else f"the event bus {self.bus.name}"

    def sink(self) -> EventSink:
        """Return where the events are sent."""
        return self.bus or QueueSink(self.queue, began_at=dt.datetime.now(dt.UTC))

    def rate(self, count: int) -> float:
        """Return how many events a second are sent."""
        seconds = self.duration.total_seconds()
        return count / seconds if seconds else _AT_ONCE


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


def _open_bus(name: str, source: str | None) -> EventBus:
    if source is None:
        output.note(
            "AWS refuses events on a bus whose source begins with aws.; an emulator may take them."
            " With AWS leave --event-bus out, or name a --source of your own"
        )
    return EventBus(clients.ClientFactory().events(), name, source=source)


def _show(drill: Drill, request: SendRequest) -> None:
    if request.output_format is OutputFormat.TEXT:
        for target in drill.targets:
            typer.echo(target.body)
    else:
        output.print_data(
            [preview.fields(target) for target in drill.targets], request.output_format
        )
    output.note(f"{len(drill.targets)} would be sent to {request.destination}")


def _confirmed(drill: Drill, query: TargetQuery, request: SendRequest) -> Sequence[DrillTarget]:
    """Ask, and return the targets that were not protected in the meantime."""
    without_node = [target.instance_id for target in drill.targets if target.node is None]
    unknown = f"{' '.join(without_node)}: not a node of this cluster. " if without_node else ""
    moving = sum(len(target.moving) for target in drill.targets)
    output.confirm(
        f"{unknown}{moving} pods move. Send {len(drill.targets)} {request.template.kind} events to"
        f" {request.destination}?"
    )
    protected = asyncio.run(targets.protected_instances())
    late = [target.name for target in drill.targets if target.instance_id in protected]
    if late and query.selector is None:
        raise errors.UsageError(f"{' '.join(late)}: protected in the meantime, so nothing is sent")
    if late:
        output.note(f"left out, protected in the meantime: {' '.join(late)}")
    return [each for each in drill.targets if each.instance_id not in protected]


def _send(every: Sequence[DrillTarget], request: SendRequest) -> None:
    with rate_limiter.stop_on_signals() as stop:
        limiter = RateLimiter(request.rate(len(every)), stop=stop)
        sender = Sender(request.sink(), request.template, limiter=limiter)
        try:
            with output.progress(len(every), verb="sent") as on_progress:
                sender.run([each.instance_id for each in every], on_progress=on_progress)
        finally:
            _report(sender, every, request)
    if len(sender.event_ids) + len(sender.refused) < len(every):
        raise typer.Exit(output.INTERRUPTED)
    if sender.refused:
        raise typer.Exit(output.FAILED)


def _report(sender: Sender, every: Sequence[DrillTarget], request: SendRequest) -> None:
    by_instance = {target.instance_id: target for target in every}
    handled = {*sender.event_ids, *sender.refused, *sender.unconfirmed}
    left = [target for target in every if target.instance_id not in handled]
    output.note_refused({by_instance[each].name: error for each, error in sender.refused.items()})
    if sender.unconfirmed:
        names = " ".join(by_instance[each].name for each in sender.unconfirmed)
        output.note(f"no answer came, so these may have been sent: {names}")
    sent = [(by_instance[each], event_id) for each, event_id in sender.event_ids.items()]
    if sent and request.output_format is OutputFormat.TEXT:
        output.print_table(
            _HEADINGS, [(*target.identity().values(), event_id) for target, event_id in sent]
        )
    output.print_result(
        {
            "queue": request.queue.url if request.bus is None else None,
            "event_bus": None if request.bus is None else request.bus.name,
            "kind": request.template.kind.value,
            "sent": [{**target.identity(), "event_id": event_id} for target, event_id in sent],
            "refused": [by_instance[each].identity() for each in sender.refused],
            "unconfirmed": [by_instance[each].identity() for each in sender.unconfirmed],
            "left": [target.identity() for target in left],
        },
        request.output_format,
        text=f"{len(sent)} {request.template.kind} events sent to {request.destination},"
        f" {len(left)} left",
    )
