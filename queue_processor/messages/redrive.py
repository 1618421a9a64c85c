"""`queue-processor messages redrive`: moves dead-lettered messages back to their queue.

SQS has a redrive of its own, which moves everything and cannot be limited to what the operator
would understand now. Ours explains each message first. It sends a message before it deletes it, so
none is lost: a process that is killed leaves up to ten of them in both queues. The operator
handles such a message twice, which changes nothing the second time.
"""

import collections
import datetime as dt
from collections.abc import Callable, Collection, Sequence
from typing import Annotated

import typer

from queue_processor import settings
from queue_processor.adapters.aws import batches
from queue_processor.domain import errors
from queue_processor.domain.events import EventKind
from queue_processor.domain.messages import ReceivedMessage
from queue_processor.messages import options, output, queues, rate_limiter
from queue_processor.messages.explanation import ExplainedMessage, Explanation, MessageVerdict
from queue_processor.messages.options import OutputFormat
from queue_processor.messages.queues import RedrivePath
from queue_processor.messages.rate_limiter import RateLimiter
from queue_processor.settings import ToolSettings

_HEADINGS = ("messages", "kind", "verdict", "reason", "action")
# Longer than it takes to look through most dead-letter queues. After a kill the messages that were
# received stay invisible for as long.
_HIDDEN = dt.timedelta(minutes=10)


def redrive(  # noqa: PLR0913 - the options of a command
    *,
    queue: options.Queue = None,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="QUEUE",
            help="The target, by URL or name.  [default: the queue they came from]",
            show_default=False,
        ),
    ] = None,
    filters: Annotated[
        list[str] | None,
        typer.Option(
            "--filter", metavar="kind=KIND", help="Only events of a kind. Can be repeated."
        ),
    ] = None,
    rate: options.Rate = "100/s",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be moved, and move nothing.")
    ] = False,
    yes: options.Yes = False,
    config: options.Config = None,
    output_format: options.Output = OutputFormat.TEXT,
) -> None:
    """Move dead-lettered messages back to their queue, if the operator would understand them now.

    Each message is explained first, with the settings that count for `run`. What is still
    malformed stays, because it would only come back. Each of the others is sent to the queue and
    then deleted here, so that none is lost: when the command is killed in between, up to ten of
    them are in both queues. The same command continues with the rest, ten minutes later, when all
    of them are visible again. A moved message is a new one: its age and its receive count start
    again, and the times in its event stay the same. The command adds one to the receive count of
    each message that it looks at.

    \b
    Examples:
      queue-processor messages redrive --dry-run
      queue-processor messages redrive --rate 50/s
      queue-processor messages redrive --queue interruptions --filter kind=spot_interruption --yes
    """  # noqa: D301 - after a real backspace the lines stay as they are
    kinds, per_second = _parse_filters(filters or ()), options.parse_rate(rate)
    loaded = settings.load_for_tool(config)
    path = queues.find_redrive_path(queue, to=to, settings=loaded)
    now = dt.datetime.now(dt.UTC)
    dead_letters = [
        (each, _moves(each.explanation, kinds))
        for each in queues.peek_explained(path.dead_letters, loaded, now=now)
    ]
    moving = [each.message.message_id for each, moves in dead_letters if moves]
    _show(dead_letters, path, is_dry_run=dry_run, output_format=output_format)
    if dry_run or not moving:
        return
    if not yes:
        _confirm(len(moving), path, loaded)
    _move(moving, path, per_second, output_format)


def _parse_filters(filters: Collection[str]) -> frozenset[EventKind]:
    """Return the kinds in filters such as `kind=spot_interruption`; none means every message."""
    kinds = set()
    for text in filters:
        key, _, value = text.partition("=")
        if key != "kind" or value not in set(EventKind):
            raise errors.UsageError(
                f"{text!r} is not a filter: kind= and one of {', '.join(EventKind)}"
            )
        kinds.add(EventKind(value))
    return frozenset(kinds)


def _moves(explained: Explanation, kinds: frozenset[EventKind]) -> bool:
    # A malformed message would only be dead-lettered again.
    is_understood = explained.verdict is not MessageVerdict.MALFORMED
    return is_understood and (not kinds or explained.kind in kinds)


def _show(
    dead_letters: Sequence[tuple[ExplainedMessage, bool]],
    path: RedrivePath,
    *,
    is_dry_run: bool,
    output_format: OutputFormat,
) -> None:
    if is_dry_run and output_format is not OutputFormat.TEXT:
        data = [
            {**each.fields("kind", "instances", "verdict", "reason"), "moves": moves}
            for each, moves in dead_letters
        ]
        output.print_data(data, output_format)
    elif dead_letters and output_format is OutputFormat.TEXT:
        alike = collections.Counter(
            (each.explanation.kind, each.explanation.verdict, each.explanation.reason, moves)
            for each, moves in dead_letters
        )
        output.print_table(
            _HEADINGS,
            [
                (str(count), kind, verdict, reason, "moved" if moves else "left")
                for (kind, verdict, reason, moves), count in alike.most_common()
            ],
        )
    name, moving = path.dead_letters.name, sum(moves for _, moves in dead_letters)
    if not dead_letters:
        output.note(f"nothing is visible in {name}")
    elif is_dry_run:
        output.note(f"{moving} of {len(dead_letters)} would go from {name} to {path.target.name}")
    elif not moving:
        output.note(
            f"none of the {len(dead_letters)} messages of {name} goes to {path.target.name}"
        )


def _confirm(count: int, path: RedrivePath, loaded: ToolSettings) -> None:
    consumers = queues.find_consumers(path.target.state(), loaded, now=dt.datetime.now(dt.UTC))
    output.confirm(
        f"{path.target.name}: {consumers.text}. Move {count} messages from"
        f" {path.dead_letters.name} to {path.target.name}?"
    )


def _move(
    message_ids: Sequence[str], path: RedrivePath, rate: float, output_format: OutputFormat
) -> None:
    with rate_limiter.stop_on_signals() as stop:
        redriver = Redriver(path, limiter=RateLimiter(rate, stop=stop))
        try:
            with output.progress(len(message_ids), verb="moved") as on_progress:
                redriver.run(message_ids, on_progress=on_progress)
        finally:
            _report(redriver, len(message_ids), path, output_format)
        is_stopped = stop.is_requested
    if redriver.handled < len(message_ids) and is_stopped:
        raise typer.Exit(output.INTERRUPTED)
    if redriver.moved < len(message_ids):
        raise typer.Exit(output.FAILED)


def _report(
    redriver: "Redriver", total: int, path: RedrivePath, output_format: OutputFormat
) -> None:
    output.note_refused(redriver.refused)
    for message_id in redriver.doubled[: output.SHOWN_ERRORS]:
        output.note(f"{message_id} was moved, but not deleted: it is in both queues")
    left = max(total - redriver.moved, 0)
    if left:
        output.note("the same command continues with what is left")
    output.print_result(
        {
            "from": path.dead_letters.url,
            "to": path.target.url,
            "moved": redriver.moved,
            "left": left,
        },
        output_format,
        text=f"{redriver.moved} messages moved to {path.target.name}, {left} left",
    )


class Redriver:
    """Moves messages batch by batch.

    Attributes:
        moved: How many messages the target has taken.
        doubled: The ids of those that could not be deleted here.
        refused: The errors of those that the target refused, by message id.
    """

    def __init__(self, path: RedrivePath, *, limiter: RateLimiter) -> None:
        self._path = path
        self._limiter = limiter
        # Messages that stay, in flight until the end so that they are not received again.
        self._kept: dict[str, ReceivedMessage] = {}
        self.moved = 0
        self.doubled: list[str] = []
        self.refused: dict[str, str] = {}

    @property
    def handled(self) -> int:
        """Return how many messages were moved or refused."""
        return self.moved + len(self.refused)

    def run(self, message_ids: Collection[str], *, on_progress: Callable[[int], None]) -> None:
        """Move messages until none of them is visible any more, or a stop is requested.

        After each batch `on_progress` is called with the number of messages handled so far.

        Raises:
            TemporaryError: AWS does not answer; the last batch may be in both queues.
        """
        left = set(message_ids)
        empty_receives = 0
        try:
            while left and empty_receives < queues.EMPTY_RECEIVES and self._limiter.wait():
                received = self._path.dead_letters.receive(
                    self._limiter.batch_size, hidden=_HIDDEN, wait=queues.WAIT
                )
                moving = [each for each in received if each.message_id in left]
                others = {each.message_id: each for each in received if each not in moving}
                has_new = bool(moving or others.keys() - self._kept.keys())
                empty_receives = 0 if has_new else empty_receives + 1
                self._kept |= others
                self._move(moving)
                left.difference_update(each.message_id for each in moving)
                self._limiter.consume(len(moving))
                on_progress(self.handled)
        finally:
            self._path.dead_letters.release(each.receipt_handle for each in self._kept.values())

    def _move(self, messages: Sequence[ReceivedMessage]) -> None:
        self._kept |= {each.message_id: each for each in messages}
        for batch in batches.filled(messages, size_of=lambda each: each.size):
            self._delete(self._send(batch))

    def _send(self, batch: Sequence[ReceivedMessage]) -> Sequence[ReceivedMessage]:
        """Send messages to the target; return those that it has taken."""
        results = self._path.target.send(batch)
        sent = []
        for each, error in zip(batch, results, strict=True):
            if error is None:
                sent.append(each)
            else:
                self.refused[each.message_id] = str(error)
        return sent

    def _delete(self, sent: Sequence[ReceivedMessage]) -> None:
        if not sent:
            return
        results = self._path.dead_letters.delete([each.receipt_handle for each in sent])
        for each, error in zip(sent, results, strict=True):
            self.moved += 1
            if error is None:
                del self._kept[each.message_id]
            else:
                self.doubled.append(each.message_id)
