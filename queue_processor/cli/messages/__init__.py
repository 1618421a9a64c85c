"""`queue-processor messages`: for the person who has to know what lies in a queue, and why."""

import typer

from queue_processor.cli.messages import explain, peek, record, redrive, replay, send

app = typer.Typer(
    help="Look into the queue and its dead-letter queue, and put messages back.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.command(name="explain")(explain.explain)
app.command(name="peek")(peek.peek)
app.command(name="record")(record.record)
app.command(name="replay")(replay.replay)
app.command(name="redrive")(redrive.redrive)
app.command(name="send")(send.send)
