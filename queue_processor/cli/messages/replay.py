"""`queue-processor messages replay`: recorded messages, put back."""

import dataclasses
import datetime as dt
import pathlib
from collections.abc import Sequence
from typing import Annotated

import typer

from queue_processor import settings
from queue_processor.adapters.aws.queue import QueueClient, QueueState
from queue_processor.adapters.files import journal as journals
from queue_processor.adapters.files import recordings
from queue_processor.cli import exits
from queue_processor.cli.messages import asking, options, printing, progress
from queue_processor.domain import editing, explanation
from queue_processor.domain.editing import Edits
from queue_processor.domain.explanation import Explanation
from queue_processor.domain.messages import QueueMessage
from queue_processor.maintenance import audience, mail, pacing, replayer, stopping
from queue_processor.maintenance.replayer import Replayed, Replayer
from queue_processor.settings import ToolSettings

_HEADINGS = ("message id", "kind", "instances", "occurred at", "verdict", "reason")


@exits.errors_reported("replay")
def replay(  # noqa: PLR0913 - the options of a command
    source: Annotated[
        pathlib.Path, typer.Argument(metavar="FILE|DIR", help="What `messages record` wrote.")
    ],
    *,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="QUEUE",
            help="Where to send them, by URL or name.  [default: queue_url of the settings]",
            show_default=False,
        ),
    ] = None,
    rate: Annotated[
        str, typer.Option(metavar="N/s", help="How many a second, or a minute: 90/min.")
    ] = "10/s",
    retime: Annotated[
        bool,
        typer.Option("--retime", help="Move the times in each event, so that it happens now."),
    ] = False,
    instance: Annotated[
        list[str] | None,
        typer.Option(metavar="OLD=NEW", help="Replace an instance id; may be given repeatedly."),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Send those too that were sent before.")
    ] = False,
    journal: Annotated[
        pathlib.Path | None,
        typer.Option(
            help="Where to note what was sent.  [default: FILE.journal, DIR/replay.journal]",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be sent, and send nothing.")
    ] = False,
    yes: options.Yes = False,
    config: options.Config = None,
    output: options.Output = printing.Output.TEXT,
) -> None:
    """Send recorded messages, with their attributes.

    A journal beside the recording tells what each queue was sent, so that after Ctrl-C the same
    command goes on where it stopped. Each message carries the attribute queue-processor.replayed,
    with the id that it had. The operator acts on these messages as on any other: you are asked
    first, unless nobody holds a message of the queue and nobody holds the operator's Lease.

    \b
    Examples:
      queue-processor messages replay dead-letters/ --dry-run
      queue-processor messages replay storm.jsonl --to staging --rate 50/s --retime --yes
      queue-processor messages replay one.json --instance i-0123456789abcdef0=i-0fedcba9876543210
    """  # noqa: D301 - after a real backspace the lines stay as they are
    order = _Order(
        journal=journal or journals.path_for(source),
        edits=Edits(
            moves_times=retime,
            instances=dict(editing.parse_replacement(text) for text in instance or ()),
        ),
        rate=pacing.rate(rate),
        is_again=again,
    )
    chosen = settings.load_for_tool(config)
    messages = recordings.read(source)
    queue_client = mail.opened(mail.Address(queue=to), chosen)
    state = queue_client.state()
    before = journals.read(order.journal, queue=state.arn)
    left = order.left_of(messages, before)
    if dry_run:
        seen = [_preview(message, order.edits, chosen) for message in left]
        if output is printing.Output.TEXT:
            printing.table(_HEADINGS, [each.cells() for each in seen])
        else:
            printing.data([each.fields() for each in seen], output)
        printing.note(f"{len(left)} of {len(messages)} would be sent to {queue_client.name}")
        return
    if left and not yes:
        _ask(len(left), queue_client, state, chosen)
    _send(messages, queue_client, state, order, output)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """What a person asked for."""

    journal: pathlib.Path
    edits: Edits
    rate: float
    is_again: bool

    def left_of(
        self, messages: Sequence[QueueMessage], before: journals.Progress
    ) -> Sequence[QueueMessage]:
        """The messages that are still to be sent."""
        if self.is_again:
            return messages
        return [each for each in messages if each.message_id not in before.sent]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Preview:
    """A message as it would be sent, and what the operator would make of it."""

    message: QueueMessage
    known: Explanation

    def fields(self) -> dict[str, object]:
        return {
            "message_id": self.message.message_id,
            **self.known.fields("kind", "instances", "occurred_at", "verdict", "reason"),
            "body": self.message.body,
        }

    def cells(self) -> tuple[str | None, ...]:
        event = self.known.event
        return (
            self.message.message_id,
            self.known.kind,
            None if event is None else " ".join(event.instance_ids),
            None if event is None else f"{event.occurred_at:%Y-%m-%d %H:%M:%S} UTC",
            self.known.verdict.value,
            self.known.reason,
        )


def _preview(message: QueueMessage, edits: Edits, chosen: ToolSettings) -> _Preview:
    now = dt.datetime.now(dt.UTC)
    # The queue gives it a new time of sending.
    sent = dataclasses.replace(edits.made_to(message, now=now), system={})
    known = explanation.explain_message(sent, now=now, decisions=chosen.policy())
    return _Preview(message=sent, known=known)


def _ask(count: int, queue_client: QueueClient, state: QueueState, chosen: ToolSettings) -> None:
    readers = audience.of(state, chosen, now=dt.datetime.now(dt.UTC))
    if readers.is_excluded:
        printing.note(readers.text)
        return
    asking.confirm(f"{readers.text}. Send {count} messages to {queue_client.name}?")


def _send(
    messages: Sequence[QueueMessage],
    queue_client: QueueClient,
    state: QueueState,
    order: _Order,
    output: printing.Output,
) -> None:
    def clock() -> dt.datetime:
        return dt.datetime.now(dt.UTC)

    with (
        stopping.on_signals() as stop,
        journals.opened(order.journal, queue=state.arn, clock=clock) as journal,
    ):
        if order.is_again:
            journal.again()
        # Another replay may have gone on while a person was asked.
        left = order.left_of(messages, journal.progress)
        _note_begin(len(messages) - len(left), journal.progress.doubtful, order)
        work = Replayer(
            queue_client,
            journal,
            edits=order.edits,
            pace=pacing.Pace(order.rate, stop=stop),
            clock=clock,
        )
        try:
            with progress.shown(len(left), done="sent") as told:
                work.run(left, told=told)
        finally:
            _report(work.replayed, len(left), queue_client, order, output)
    if work.replayed.sent + len(work.replayed.refused) < len(left):
        raise typer.Exit(exits.INTERRUPTED)
    if work.replayed.refused:
        raise typer.Exit(exits.FAILED)


def _note_begin(sent_before: int, doubtful: set[str], order: _Order) -> None:
    printing.note(f"journal: {order.journal}")
    if sent_before:
        printing.note(f"{sent_before} were sent before; --again sends them once more")
    if doubtful:
        printing.note(
            f"{len(doubtful)} were on their way when the last replay ended, and may be doubled"
        )


def _report(
    replayed: Replayed,
    total: int,
    queue_client: QueueClient,
    order: _Order,
    output: printing.Output,
) -> None:
    left = total - replayed.sent - len(replayed.refused)
    printing.refusals(replayed.refused)
    if replayed.unmarked:
        printing.note(f"{replayed.unmarked} had no room for {replayer.REPLAYED_ATTRIBUTE}")
    if left or replayed.refused:
        printing.note("the same command goes on with what is left")
    told = {
        "queue": queue_client.url,
        "sent": replayed.sent,
        "refused": len(replayed.refused),
        "left": left,
        "journal": str(order.journal),
    }
    if output is not printing.Output.TEXT:
        printing.data(told, output)
        return
    refused = f", {len(replayed.refused)} refused" if replayed.refused else ""
    typer.echo(f"{replayed.sent} messages sent to {queue_client.name}{refused}, {left} left")
