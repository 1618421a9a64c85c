"""`queue-processor messages send`: the events of AWS, for a drill."""

import asyncio
import dataclasses
import datetime as dt
from collections.abc import Sequence
from typing import Annotated

import typer

from queue_processor import settings
from queue_processor.adapters.aws import clients
from queue_processor.adapters.aws.eventbus import EventBus
from queue_processor.adapters.aws.queue import QueueClient
from queue_processor.cli import exits
from queue_processor.cli.messages import asking, options, preview, printing, progress, sendoptions
from queue_processor.domain import errors
from queue_processor.domain.event_builder import ChangeStatus
from queue_processor.domain.events import EventKind, InstanceState
from queue_processor.domain.targeting import Wanted
from queue_processor.maintenance import drill, mail, pacing, stopping
from queue_processor.maintenance.drill import EventDraft, Selection, Target
from queue_processor.maintenance.sender import Outlet, QueueOutlet, Sender, Sent

_HEADINGS = ("instance", "node", "event id")
# What nobody wants spread goes as fast as batches go.
_AT_ONCE = 100.0


@exits.errors_reported("send")
def send(  # noqa: PLR0913 - the options of a command
    kind: Annotated[EventKind, typer.Argument(metavar="KIND", help="What the events tell.")],
    *,
    instance: Annotated[
        list[str] | None,
        typer.Option(metavar="i-…", help="An instance; may be given repeatedly."),
    ] = None,
    node: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A node; may be given repeatedly.")
    ] = None,
    selector: Annotated[
        str | None,
        typer.Option(
            "--selector", "-l", metavar="LABELS", help="All nodes that a label selector selects."
        ),
    ] = None,
    storm: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Only N of these, as far apart as there is room."),
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
        InstanceState | None, typer.Option(help="For state_change: what the instance is.")
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
    output: options.Output = printing.Output.TEXT,
) -> None:
    """Send the events of a drill, one for each instance, just as AWS words them.

    The operator drains the nodes: you see which pods will move, and are asked first. A node with
    the label queue-processor/protected is never sent an event: to name it is refused, a selector
    leaves it out. Each message in the queue carries the attribute queue-processor.sent. It takes
    the permissions to list nodes and pods, sqs:GetQueueAttributes and sqs:SendMessage.

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
    wanted = sendoptions.wanted(instance, node, selector, storm)
    particulars = sendoptions.particulars(
        kind,
        sendoptions.Given(state=state, group=group, hook=hook, starts_in=starts_in, status=status),
    )
    lasting = sendoptions.lasting(spread, is_storm=storm is not None)
    sendoptions.check_source(source, event_bus)
    chosen = settings.load_for_tool(config)
    queue_client = mail.opened(mail.Address(queue=queue), chosen)
    draft = EventDraft(kind=kind, particulars=particulars, queue_arn=queue_client.state().arn)
    order = _Order(
        draft=draft,
        queue_client=queue_client,
        bus=_bus(event_bus, source),
        lasting=lasting,
        output=output,
    )
    selection = asyncio.run(drill.look(wanted, draft, chosen, now=dt.datetime.now(dt.UTC)))
    preview.tell(selection, chosen)
    if dry_run:
        _show(selection, order)
        return
    if not yes:
        selection = _asked(selection, wanted, order)
    _send(selection.targets, order)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """What is sent where, and how fast."""

    draft: EventDraft
    queue_client: QueueClient
    bus: EventBus | None
    lasting: dt.timedelta
    output: printing.Output

    @property
    def destination(self) -> str:
        return self.queue_client.name if self.bus is None else f"the event bus {self.bus.name}"

    def outlet(self) -> Outlet:
        if self.bus is not None:
            return self.bus
        return QueueOutlet(self.queue_client, began_at=dt.datetime.now(dt.UTC))

    def rate(self, count: int) -> float:
        """How many a second."""
        seconds = self.lasting.total_seconds()
        return count / seconds if seconds else _AT_ONCE


def _bus(name: str | None, source: str | None) -> EventBus | None:
    if name is None:
        return None
    if source is None:
        printing.note(
            "AWS refuses events on a bus whose source begins with aws.; an emulator may take them."
            " With AWS leave --event-bus out, or give them a --source of your own"
        )
    return EventBus(clients.create_events(), name, source=source)


def _show(selection: Selection, order: _Order) -> None:
    if order.output is printing.Output.TEXT:
        for target in selection.targets:
            typer.echo(target.body)
    else:
        printing.data([preview.fields(target) for target in selection.targets], order.output)
    printing.note(f"{len(selection.targets)} would be sent to {order.destination}")


def _asked(selection: Selection, wanted: Wanted, order: _Order) -> Selection:
    """Go on when a person agrees, without the nodes that have been protected meanwhile."""
    strangers = preview.strangers(selection)
    unknown = f"{' '.join(strangers)}: no node of this cluster. " if strangers else ""
    asking.confirm(
        f"{unknown}{preview.moving(selection)} pods move. Send {len(selection.targets)}"
        f" {order.draft.kind} events to {order.destination}?"
    )
    protected = asyncio.run(drill.protected())
    late = [target.name for target in selection.targets if target.instance_id in protected]
    if late and wanted.selector is None:
        raise errors.UsageError(f"{' '.join(late)}: protected meanwhile, so nothing is sent")
    if late:
        printing.note(f"left out, protected meanwhile: {' '.join(late)}")
    return dataclasses.replace(
        selection, targets=[each for each in selection.targets if each.instance_id not in protected]
    )


def _send(targets: Sequence[Target], order: _Order) -> None:
    with stopping.on_signals() as stop:
        work = Sender(
            order.outlet(),
            order.draft,
            pace=pacing.Pace(order.rate(len(targets)), stop=stop),
            clock=lambda: dt.datetime.now(dt.UTC),
        )
        try:
            with progress.shown(len(targets), done="sent") as told:
                work.run(targets, told=told)
        finally:
            _report(work.sent, targets, order)
    if len(work.sent.event_ids) + len(work.sent.refused) < len(targets):
        raise typer.Exit(exits.INTERRUPTED)
    if work.sent.refused:
        raise typer.Exit(exits.FAILED)


def _report(sent: Sent, targets: Sequence[Target], order: _Order) -> None:
    by_instance = {target.instance_id: target for target in targets}
    dealt_with = {*sent.event_ids, *sent.refused, *sent.doubtful}
    left = [target for target in targets if target.instance_id not in dealt_with]
    for instance_id, error in sent.refused.items():
        printing.note(f"{by_instance[instance_id].name} was not taken: {error}")
    if sent.doubtful:
        names = " ".join(by_instance[each].name for each in sent.doubtful)
        printing.note(f"no answer came, so these may have been sent: {names}")
    rows = [(by_instance[each], event_id) for each, event_id in sent.event_ids.items()]
    if order.output is not printing.Output.TEXT:
        told = {
            "queue": order.queue_client.url if order.bus is None else None,
            "event_bus": None if order.bus is None else order.bus.name,
            "kind": order.draft.kind.value,
            "sent": [{**_identity(target), "event_id": event_id} for target, event_id in rows],
            "refused": [_identity(by_instance[each]) for each in sent.refused],
            "doubtful": [_identity(by_instance[each]) for each in sent.doubtful],
            "left": [_identity(target) for target in left],
        }
        printing.data(told, order.output)
        return
    if rows:
        printing.table(
            _HEADINGS,
            [(*_identity(target).values(), event_id) for target, event_id in rows],
        )
    typer.echo(
        f"{len(rows)} {order.draft.kind} events sent to {order.destination}, {len(left)} left"
    )


def _identity(target: Target) -> dict[str, str | None]:
    return {
        "instance": target.instance_id,
        "node": None if target.node is None else target.node.name,
    }
