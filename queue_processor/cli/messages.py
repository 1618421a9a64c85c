"""`queue-processor messages`: registers the queue tools."""

from queue_processor.cli import exits, lazy
from queue_processor.messages import explain, peek, record, redrive, replay, send

app = lazy.new_group("Look into the queue and its dead-letter queue, and put messages back.")
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
