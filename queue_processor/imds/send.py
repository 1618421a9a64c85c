"""`queue-processor imds send`: announces an interruption in simulated instance metadata."""

import dataclasses
import datetime as dt
from collections.abc import Sequence
from typing import Annotated

import typer

from queue_processor import settings
from queue_processor.domain import durations, errors, identifiers, notices
from queue_processor.domain.aws_events import Event
from queue_processor.domain.events import EventKind
from queue_processor.domain.identifiers import InstanceId, NodeName
from queue_processor.domain.imds_bodies import InterruptionAction
from queue_processor.domain.notices import Notice
from queue_processor.domain.policy import Policy
from queue_processor.imds.client import SimulatorClient
from queue_processor.messages import explanation, options, output
from queue_processor.messages.explanation import Explanation
from queue_processor.messages.options import OutputFormat
from queue_processor.messages.send import drill, targets
from queue_processor.messages.send.drill import DrillMode, DrillRequest
from queue_processor.messages.send.targets import DrillTarget
from queue_processor.simulator.imds import announcements
from queue_processor.simulator.imds.announcements import Announced, Announcement, NodeAnnouncement


def send(  # noqa: PLR0913 - the options of a command
    kind: Annotated[
        EventKind,
        typer.Argument(
            metavar="KIND",
            help="What is announced: spot_interruption, rebalance_recommendation, scheduled_change"
            " or autoscaling_termination.",
        ),
    ],
    *,
    node: drill.Nodes = None,
    selector: drill.Selector = None,
    storm: drill.Storm = None,
    spread: drill.Spread = None,
    ends_in: Annotated[
        str | None,
        typer.Option(
            "--in",
            metavar="TIME",
            help="When it takes place: 2min, 90s.  [default: 2min for spot_interruption, 14d for"
            " scheduled_change]",
            show_default=False,
        ),
    ] = None,
    action: Annotated[
        InterruptionAction | None,
        typer.Option(help="For spot_interruption. hibernate begins at once.  [default: terminate]"),
    ] = None,
    cancel: Annotated[
        bool,
        typer.Option("--cancel", help="For scheduled_change: those of the node are cancelled."),
    ] = False,
    server: Annotated[
        str, typer.Option(metavar="URL", help="The server: `queue-processor imds serve`.")
    ] = "http://127.0.0.1:8169",
    offline: Annotated[
        bool,
        typer.Option(
            "--offline",
            help="Look at no cluster: for nodes that the server invented. It needs --node.",
        ),
    ] = False,
    dry_run: drill.DryRun = False,
    yes: options.Yes = False,
    config: options.Config = None,
    output_format: options.Output = OutputFormat.TEXT,
) -> None:
    """Announce an interruption in the simulated instance metadata of nodes.

    Handlers that are pointed at the server find it there with their next poll. You see which pods
    our operator would move, and are asked first; other handlers may move others. A node with the
    label queue-processor/protected is left alone: to name it is refused, a selector leaves it out.
    In the cluster, the command only reads: it needs the permissions to list nodes and pods.

    An announcement stays until its instance is gone, as on EC2. A second spot_interruption or
    rebalance_recommendation for the same node replaces the first.

    \b
    Examples:
      queue-processor imds send spot_interruption --node ip-10-0-1-7.ec2.internal
      queue-processor imds send spot_interruption -l pool=spot --storm 20 --spread 30s
      queue-processor imds send spot_interruption --node NAME --action stop --in 5min
      queue-processor imds send scheduled_change --node NAME --in 2h
      queue-processor imds send scheduled_change --node NAME --cancel
      queue-processor imds send spot_interruption --node 127.0.0.1 --offline --yes
    """  # noqa: D301 - after a real backspace the lines stay as they are
    announcement = Announcement(
        kind=kind,
        ends_in=None if ends_in is None else durations.parse(ends_in),
        action=action,
        is_cancelled=cancel,
    )
    client = SimulatorClient(server)
    duration = drill.parse_spread(spread, storm)
    mode = DrillMode(dry_run=dry_run, yes=yes, output_format=output_format)
    if offline:
        if selector is not None or storm is not None or spread is not None:
            raise errors.UsageError("--offline looks at no cluster: name the nodes with --node")
        _send_offline(_parse_names(node or ()), announcement, client, mode=mode)
        return
    query = targets.parse_query((), node or (), selector, storm)
    request = DrillRequest(
        template=AnnouncementTemplate(announcement=announcement),
        sink=client,
        duration=duration,
        destination=client.url,
        place={"server": client.url},
        identity="announced",
    )
    drill.run(query, request, settings.load_for_tool(config), mode=mode)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AnnouncementTemplate:
    """An announcement, as a drill sends it."""

    announcement: Announcement

    @property
    def kind(self) -> EventKind:
        """The kind of interruption."""
        return self.announcement.kind

    def explain(
        self, instance_id: InstanceId, *, now: dt.datetime, decisions: Policy
    ) -> tuple[str, Explanation]:
        """Return what instance metadata would answer, and what the operator would do."""
        # What is cancelled has been announced before.
        first = dataclasses.replace(self.announcement, is_cancelled=False)
        announced, _ = Announced().after(first, now=now)
        path = announcements.PATH_OF[self.kind]
        body = announced.bodies()[path]
        notice = _notice(self.announcement, body, instance_id, now=now)
        event = notices.parse(
            notice.annotation, notice.to_json(), instance_id=instance_id, received_at=now
        )
        return body, explanation.explain_event(event, now=now, decisions=decisions)

    def event_for(self, target: DrillTarget, *, now: dt.datetime) -> Event:
        """Return the announcement for the node of a target, as the server takes it."""
        del now
        if target.node is None:
            raise errors.UsageError(f"{target.name}: not a node of this cluster")
        order = NodeAnnouncement(
            node=target.node.name, instance_id=target.instance_id, announcement=self.announcement
        )
        return order.to_fields()


def _notice(
    announcement: Announcement, body: str, instance_id: InstanceId, *, now: dt.datetime
) -> Notice:
    """Return what a watcher would write on the Node."""
    change_id = None
    if announcement.kind is EventKind.SCHEDULED_CHANGE:
        ((change_id, body),) = notices.parse_scheduled_events(body).items()
    return Notice(
        annotation=notices.annotation_name(announcement.kind, change_id=change_id),
        instance_id=instance_id,
        seen_at=now,
        body=body,
        is_cancelled=announcement.is_cancelled,
    )


def _parse_names(texts: Sequence[str]) -> Sequence[NodeName]:
    if not texts:
        raise errors.UsageError("--offline looks at no cluster: name the nodes with --node")
    names = []
    for text in texts:
        name = identifiers.parse_node_name(text)
        if name is None:
            raise errors.UsageError(f"--node: {text!r} is not the name of a node")
        names.append(name)
    return list(dict.fromkeys(names))


def _send_offline(
    names: Sequence[NodeName],
    announcement: Announcement,
    client: SimulatorClient,
    *,
    mode: DrillMode,
) -> None:
    """Announce something to nodes by their names, without a look at any cluster."""
    to = f"{len(names)} nodes of {client.url}"
    if mode.dry_run:
        output.note(f"{announcement.kind} would be announced to {to}: {' '.join(names)}")
        return
    if not mode.yes:
        output.confirm(f"Announce {announcement.kind} to {to}?")
    orders = [NodeAnnouncement(node=name, announcement=announcement) for name in names]
    results = dict(zip(names, client.put([each.to_fields() for each in orders]), strict=True))
    refused: dict[str, str] = {}
    sent: dict[str, str] = {}
    for name, result in results.items():
        (refused if isinstance(result, Exception) else sent)[name] = str(result)
    output.note_refused(refused)
    if sent and mode.output_format is OutputFormat.TEXT:
        output.print_table(("node", "announced"), sent.items())
    output.print_result(
        {
            "server": client.url,
            "kind": announcement.kind.value,
            "sent": [{"node": name, "announced": each} for name, each in sent.items()],
            "refused": [{"node": name} for name in refused],
        },
        mode.output_format,
        text=f"{announcement.kind} announced to {len(sent)} nodes of {client.url}",
    )
    if refused:
        raise typer.Exit(output.FAILED)
