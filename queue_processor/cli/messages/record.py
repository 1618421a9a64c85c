"""`queue-processor messages record`: copies messages to the disk."""

import pathlib
from typing import Annotated

import typer

from queue_processor import settings
from queue_processor.adapters.files import recordings
from queue_processor.cli import exits
from queue_processor.cli.messages import options, printing
from queue_processor.maintenance import mail, recorder, stopping


@exits.errors_reported("record")
def record(
    *,
    to: Annotated[
        pathlib.Path,
        typer.Option(
            "--to",
            metavar="DIR|FILE.jsonl",
            help="A file with one message a line, or a directory with one file a message. A"
            " message that is in it already is not recorded again.",
        ),
    ],
    follow: Annotated[
        bool, typer.Option("--follow", help="Record what comes as well, until Ctrl-C.")
    ] = False,
    queue: options.Queue = None,
    dead_letters: options.DeadLetters = False,
    config: options.Config = None,
    output: options.Output = printing.Output.TEXT,
) -> None:
    """Copy the messages of a queue to the disk: bodies and attributes, as they are.

    The messages stay in the queue and are visible again at once; the receive count of each goes up
    by one, or by more with --follow. What the operator holds cannot be copied. The format is that
    of the AWS CLI: MessageId, Body, Attributes, MessageAttributes.

    \b
    Examples:
      queue-processor messages record --to storm.jsonl --follow
      queue-processor messages record --dead-letters --to dead-letters/
      jq -r .Body storm.jsonl
    """  # noqa: D301 - after a real backspace the lines stay as they are
    chosen = settings.load_for_tool(config)
    queue_client = mail.opened(mail.Address(queue=queue, is_dead_letters=dead_letters), chosen)
    with stopping.on_signals() as stop, recordings.appended(to) as recording:
        work = recorder.Recorder(
            queue_client,
            recording,
            stop=stop,
            told=lambda copied: printing.note(f"{copied.recorded} recorded"),
        )
        if follow:
            printing.note(f"recording what comes to {queue_client.name}, until Ctrl-C")
            work.follow()
        else:
            work.run()
        copied, is_cut_short = work.copied, stop.is_asked and not follow
    told = {
        "queue": queue_client.url,
        "to": str(to),
        "recorded": copied.recorded,
        "known": copied.known,
    }
    if output is printing.Output.TEXT:
        known = f"; {copied.known} were in it before" if copied.known else ""
        typer.echo(f"{copied.recorded} messages of {queue_client.name} recorded in {to}{known}")
    else:
        printing.data(told, output)
    if is_cut_short:
        raise typer.Exit(exits.INTERRUPTED)
