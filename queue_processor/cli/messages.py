"""`queue-processor messages`: registers the queue tools."""

import typer

from queue_processor.cli import exits
from queue_processor.messages import explain, peek, record, redrive, replay, send

app = typer.Typer(
    help="Look into the queue and its dead-letter queue, and put messages back.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
for _command in (
    explain.explain,
    peek.peek,
    record.record,
    replay.replay,
    redrive.redrive,
    send.send,
):
    _name = _command.__name__
    app.command(name=_name)(exits.errors_reported(_name)(_command))
