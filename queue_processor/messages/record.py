"""`queue-processor messages record`: copies messages to the disk."""

import pathlib
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from queue_processor import settings
from queue_processor.adapters.aws.queue import QueueClient
from queue_processor.domain import errors
from queue_processor.domain.messages import QueueMessage
from queue_processor.messages import options, output, queues, rate_limiter, recordings
from queue_processor.messages.options import OutputFormat
from queue_processor.messages.queues import QueueRef
from queue_processor.messages.rate_limiter import StopSignal
from queue_processor.messages.recordings import Recording

_LONGEST_PAUSE_SECONDS = 16.0


def record(
    *,
    to: Annotated[
        pathlib.Path,
        typer.Option(
            "--to",
            metavar="FILE.jsonl",
            help="A file with one message a line. A message that is in it already is not recorded"
            " again.",
        ),
    ],
    follow: Annotated[
        bool, typer.Option("--follow", help="Also record what arrives, until Ctrl-C.")
    ] = False,
    queue: options.Queue = None,
    dead_letters: options.DeadLetters = False,
    config: options.Config = None,
    output_format: options.Output = OutputFormat.TEXT,
) -> None:
    """Copy the messages of a queue to a file: bodies and attributes, as they are.

    The messages stay in the queue and are visible again at once. The receive count of each goes up
    by one, or by more with --follow. Messages in flight cannot be copied. The format is that of
    the AWS CLI: MessageId, Body, Attributes, MessageAttributes.

    \b
    Examples:
      queue-processor messages record --to storm.jsonl --follow
      queue-processor messages record --dead-letters --to dead-letters.jsonl
      jq -r .Body storm.jsonl
    """  # noqa: D301 - after a real backspace the lines stay as they are
    ref = QueueRef(queue=queue, is_dead_letters=dead_letters)
    queue_client = queues.open_queue(ref, settings.load_for_tool(config))
    with rate_limiter.stop_on_signals() as stop, recordings.open_recording(to) as recording:
        recorder = Recorder(
            queue_client,
            recording,
            stop=stop,
            on_progress=lambda count: output.note(f"{count} recorded"),
        )
        if follow:
            output.note(f"recording what arrives in {queue_client.name}, until Ctrl-C")
            recorder.follow()
        else:
            recorder.run()
        is_cut_short = stop.is_requested and not follow
    before = f"; {recorder.skipped} were in it before" if recorder.skipped else ""
    output.print_result(
        {
            "queue": queue_client.url,
            "to": str(to),
            "recorded": recorder.recorded,
            "skipped": recorder.skipped,
        },
        output_format,
        text=f"{recorder.recorded} messages of {queue_client.name} recorded in {to}{before}",
    )
    if is_cut_short:
        raise typer.Exit(output.INTERRUPTED)


class Recorder:
    """Copies the messages of a queue, and leaves them to the operator.

    Attributes:
        recorded: How many messages were added to the recording.
        skipped: How many were in it before.
    """

    def __init__(
        self,
        queue: QueueClient,
        recording: Recording,
        *,
        stop: StopSignal,
        on_progress: Callable[[int], None],
    ) -> None:
        self._queue = queue
        self._recording = recording
        self._stop = stop
        self._on_progress = on_progress
        self.recorded = 0
        self.skipped = 0

    def run(self) -> None:
        """Copy the messages that are visible."""
        for messages in queues.peek_all(self._queue):
            self.skipped += len(messages) - self._copy(messages)
            if self._stop.is_requested:
                break

    def follow(self) -> None:
        """Copy the messages that are visible, and those that arrive, until stopped.

        Raises:
            PermanentError: A message stays in the queue, and to receive it again and again would
                move it to the dead-letter queue.
        """
        redrive = self._queue.state().redrive
        self.run()
        pause = 0.0
        while not self._stop.wait(pause):
            messages = queues.peek(self._queue, queues.PEEK_SIZE)
            copied = self._copy(messages)
            if redrive is not None:
                _check_receive_counts(messages, redrive.max_receive_count)
            # Messages that nobody takes are received less and less often. The receive of an empty
            # queue has waited already.
            is_idle = bool(messages) and not copied
            pause = min(max(2 * pause, 1.0), _LONGEST_PAUSE_SECONDS) if is_idle else 0.0

    def _copy(self, messages: Sequence[QueueMessage]) -> int:
        fresh = [each for each in messages if each.message_id not in self._recording]
        if fresh:
            self._recording.append(fresh)
            self.recorded += len(fresh)
            self._on_progress(self.recorded)
        return len(fresh)


def _check_receive_counts(messages: Sequence[QueueMessage], max_receive_count: int) -> None:
    """Leave half of the receives that a message has to the operator."""
    worn = next((each for each in messages if 2 * each.receive_count > max_receive_count), None)
    if worn is not None:
        raise errors.PermanentError(
            f"message {worn.message_id} stays in the queue and has been received"
            f" {worn.receive_count} times; after {max_receive_count} it goes to the dead-letter"
            " queue, so the recording ends here. Does the operator run?"
        )
