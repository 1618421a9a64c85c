"""`queue-processor messages replay`: sends recorded messages, each once.

A journal on the disk notes each batch before and after it is sent, so the same command continues
after Ctrl-C or a kill. A kill between the two notes leaves a batch that may have been sent. It is
sent again: the operator handles a message twice without harm, but cannot handle one that is lost.
"""

import dataclasses
import datetime as dt
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

import typer

from queue_processor import settings
from queue_processor.adapters.aws import batches
from queue_processor.adapters.aws.queue import ATTRIBUTE_LIMIT, QueueClient
from queue_processor.domain import errors
from queue_processor.domain.messages import Attribute, QueueMessage
from queue_processor.domain.policy import Policy
from queue_processor.messages import (
    explanation,
    journal,
    options,
    output,
    queues,
    rate_limiter,
    recordings,
    rewrite,
)
from queue_processor.messages.explanation import ExplainedMessage
from queue_processor.messages.journal import Journal, JournalStep
from queue_processor.messages.options import OutputFormat
from queue_processor.messages.output import Extra
from queue_processor.messages.queues import QueueRef
from queue_processor.messages.rate_limiter import RateLimiter
from queue_processor.messages.rewrite import Rewrite
from queue_processor.settings import ToolSettings

# On each message: the id that it had when it was recorded.
REPLAYED_ATTRIBUTE = "queue-processor.replayed"
_HEADINGS = (
    "message id",
    *(Extra("kind"), Extra("verdict"), Extra("occurred at")),
    *(Extra("instances"), Extra("reason")),
)


def replay(  # noqa: PLR0913 - the options of a command
    source: Annotated[
        pathlib.Path, typer.Argument(metavar="FILE", help="What `messages record` wrote.")
    ],
    *,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="QUEUE",
            help="The target, by URL or name.  [default: queue_url of the settings]",
            show_default=False,
        ),
    ] = None,
    rate: options.Rate = "10/s",
    retime: Annotated[
        bool,
        typer.Option("--retime", help="Shift the times in each event, so that it happens now."),
    ] = False,
    instance: Annotated[
        list[str] | None,
        typer.Option(metavar="OLD=NEW", help="Replace an instance id. Can be repeated."),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Also send those that were sent before.")
    ] = False,
    journal_path: Annotated[
        pathlib.Path | None,
        typer.Option(
            "--journal",
            help="Where to note what was sent.  [default: FILE.journal]",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be sent, and send nothing.")
    ] = False,
    yes: options.Yes = False,
    config: options.Config = None,
    output_format: options.Output = OutputFormat.TEXT,
) -> None:
    """Send recorded messages, with their attributes.

    A journal beside the recording notes what each queue was sent, so that after Ctrl-C the same
    command continues where it stopped. Each message carries the attribute queue-processor.replayed,
    with the id that it had. The operator acts on these messages as on any other: you are asked
    first, unless no message of the queue is in flight and no operator holds the Lease. It ignores
    messages that were recorded in another account, unless sources.sqs.accounts lists it.

    \b
    Examples:
      queue-processor messages replay dead-letters.jsonl --dry-run
      queue-processor messages replay storm.jsonl --to staging --rate 50/s --retime --yes
      queue-processor messages replay one.json --instance i-0123456789abcdef0=i-0fedcba9876543210
    """  # noqa: D301 - after a real backspace the lines stay as they are
    changes = Rewrite(
        shift_times=retime,
        instances=dict(rewrite.parse_replacement(text) for text in instance or ()),
    )
    per_second = options.parse_rate(rate)
    loaded = settings.load_for_tool(config)
    messages = recordings.read(source)
    queue = queues.open_queue(QueueRef(queue=to), loaded)
    state = queue.state()
    request = ReplayRequest(
        messages=messages,
        queue=queue,
        queue_arn=state.arn,
        journal=journal_path or source.with_name(source.name + journal.SUFFIX),
        rewrite=changes,
        rate=per_second,
        again=again,
    )
    unsent = request.unsent(journal.read(request.journal, queue_arn=state.arn))
    if dry_run:
        _preview(unsent, request, loaded, output_format)
        return
    if unsent and not yes:
        consumers = queues.find_consumers(state, loaded, now=dt.datetime.now(dt.UTC))
        if consumers.none:
            output.note(consumers.text)
        else:
            output.confirm(f"{consumers.text}. Send {len(unsent)} messages to {queue.name}?")
    _send(request, output_format)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ReplayRequest:
    """The messages, the queue, and how they are sent."""

    messages: Sequence[QueueMessage]
    queue: QueueClient
    queue_arn: str
    journal: pathlib.Path
    rewrite: Rewrite
    rate: float
    again: bool

    def unsent(self, steps: Mapping[str, JournalStep]) -> Sequence[QueueMessage]:
        """Return the messages to send."""
        if self.again:
            return self.messages
        return [
            each for each in self.messages if steps.get(each.message_id) is not JournalStep.SENT
        ]


def _preview(
    unsent: Sequence[QueueMessage], request: ReplayRequest, loaded: ToolSettings, form: OutputFormat
) -> None:
    decisions = loaded.policy()
    previews = [_explain(request.rewrite, message, decisions) for message in unsent]
    if form is OutputFormat.TEXT:
        output.print_table(_HEADINGS, [_cells(each) for each in previews])
    else:
        names = ("kind", "instances", "occurred_at", "verdict", "reason")
        data = [{**each.fields(*names), "body": each.message.body} for each in previews]
        output.print_data(data, form)
    output.note(f"{len(unsent)} of {len(request.messages)} would be sent to {request.queue.name}")


def _explain(changes: Rewrite, message: QueueMessage, decisions: Policy) -> ExplainedMessage:
    now = dt.datetime.now(dt.UTC)
    # The queue gives it a new time of sending.
    sent = dataclasses.replace(changes.apply(message, now=now), system={})
    explained = explanation.explain_message(sent, now=now, decisions=decisions)
    return ExplainedMessage(message=sent, explanation=explained)


def _cells(preview: ExplainedMessage) -> Sequence[str | None]:
    explained = preview.explanation
    event = explained.event
    return (
        preview.message.message_id,
        explained.kind,
        explained.verdict.value,
        None if event is None else f"{event.occurred_at:%Y-%m-%d %H:%M:%S} UTC",
        explained.instances,
        explained.reason,
    )


def _send(request: ReplayRequest, output_format: OutputFormat) -> None:
    with (
        rate_limiter.stop_on_signals() as stop,
        journal.open_journal(request.journal, queue_arn=request.queue_arn) as opened,
    ):
        if request.again:
            opened.write(JournalStep.AGAIN)
        # Another replay may have sent some while a person was asked.
        unsent = request.unsent(opened.steps)
        _note_start(request, len(unsent), opened.steps)
        replayer = Replayer(
            request.queue,
            opened,
            rewrite=request.rewrite,
            limiter=RateLimiter(request.rate, stop=stop),
        )
        try:
            with output.progress(len(unsent), verb="sent") as on_progress:
                replayer.run(unsent, on_progress=on_progress)
        finally:
            _report(replayer, len(unsent), request, output_format)
    if replayer.sent + len(replayer.refused) < len(unsent):
        raise typer.Exit(output.INTERRUPTED)
    if replayer.refused:
        raise typer.Exit(output.FAILED)


def _note_start(request: ReplayRequest, unsent: int, steps: Mapping[str, JournalStep]) -> None:
    output.note(f"journal: {request.journal}")
    sent_before = len(request.messages) - unsent
    if sent_before:
        output.note(f"{sent_before} were sent before; --again sends them once more")
    unconfirmed = sum(step is JournalStep.SENDING for step in steps.values())
    if unconfirmed:
        output.note(
            f"{unconfirmed} were being sent when the last replay ended, and may be sent twice"
        )


def _report(
    replayer: "Replayer", total: int, request: ReplayRequest, output_format: OutputFormat
) -> None:
    refused = len(replayer.refused)
    left = total - replayer.sent - refused
    output.note_refused(replayer.refused)
    if replayer.unmarked:
        output.note(f"{replayer.unmarked} had no room for {REPLAYED_ATTRIBUTE}")
    if left or refused:
        output.note("the same command continues with what is left")
    output.print_result(
        {
            "queue": request.queue.url,
            "sent": replayer.sent,
            "refused": refused,
            "left": left,
            "journal": str(request.journal),
        },
        output_format,
        text=f"{replayer.sent} messages sent to {request.queue.name}"
        f"{f', {refused} refused' if refused else ''}, {left} left",
    )


class Replayer:
    """Sends batch by batch. Ctrl-C does not come between a batch and its line in the journal.

    Attributes:
        sent: How many messages the queue has taken.
        unmarked: How many of them had no room for the attribute that marks a replay.
        refused: The errors of those that the queue refused, by message id.
    """

    def __init__(
        self, queue: QueueClient, journal: Journal, *, rewrite: Rewrite, limiter: RateLimiter
    ) -> None:
        self._queue = queue
        self._journal = journal
        self._rewrite = rewrite
        self._limiter = limiter
        self.sent = 0
        self.unmarked = 0
        self.refused: dict[str, str] = {}

    def run(self, messages: Sequence[QueueMessage], *, on_progress: Callable[[int], None]) -> None:
        """Send messages until all are sent or a stop is requested.

        Raises:
            TemporaryError: AWS does not answer; it may have the last batch.
        """
        for batch in self._limiter.batches(messages, on_progress=on_progress):
            now = dt.datetime.now(dt.UTC)
            rewritten = [_marked(self._rewrite.apply(message, now=now)) for message in batch]
            for part in batches.filled(rewritten, size_of=lambda message: message.size):
                self._send(part)

    def _send(self, batch: Sequence[QueueMessage]) -> None:
        ids = [message.message_id for message in batch]
        self._journal.write(JournalStep.SENDING, ids)
        try:
            results = self._queue.send(batch)
        except (errors.PermanentError, errors.UsageError):
            self._journal.write(JournalStep.FAILED, ids)
            raise
        sent = [message for message, error in zip(batch, results, strict=True) if error is None]
        refused = {
            message_id: str(error)
            for message_id, error in zip(ids, results, strict=True)
            if error is not None
        }
        if sent:
            self._journal.write(JournalStep.SENT, [message.message_id for message in sent])
        if refused:
            self._journal.write(JournalStep.FAILED, refused)
        self.refused |= refused
        self.sent += len(sent)
        self.unmarked += sum(REPLAYED_ATTRIBUTE not in message.attributes for message in sent)


def _marked(message: QueueMessage) -> QueueMessage:
    """Return the message with its mark if there is room for it."""
    mark = Attribute(data_type="String", value=message.message_id)
    marked = dataclasses.replace(
        message, attributes={**message.attributes, REPLAYED_ATTRIBUTE: mark}
    )
    has_room = len(marked.attributes) <= ATTRIBUTE_LIMIT and marked.size <= batches.SIZE_LIMIT
    return marked if has_room else message
