"""`queue-processor messages peek`: the messages of a queue."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Annotated

import humanize
import typer

from queue_processor import settings
from queue_processor.domain.messages import QueueMessage
from queue_processor.messages import options, output, queues
from queue_processor.messages.explanation import ExplainedMessage
from queue_processor.messages.options import ListFormat
from queue_processor.messages.output import Extra
from queue_processor.messages.queues import QueueRef

_HEADINGS = (
    "message id",
    *(Extra("kind"), Extra("verdict"), Extra("age"), Extra("received")),
    *(Extra("instances"), Extra("reason")),
)


def peek(
    *,
    limit: Annotated[
        int, typer.Option("--max", min=1, help="How many messages to look at, at most.")
    ] = 10,
    queue: options.Queue = None,
    dead_letters: options.DeadLetters = False,
    config: options.Config = None,
    output_format: options.ListOutput = ListFormat.TABLE,
) -> None:
    """Show the messages of a queue, and make them visible again at once.

    A message in flight cannot be seen. One that is shown is hidden from the operator for about as
    long as the command takes. The receive count of each goes up by one, and a queue with a redrive
    policy moves a message that was received too often to its dead-letter queue.

    \b
    Examples:
      queue-processor messages peek
      queue-processor messages peek --dead-letters --max 50
      queue-processor messages peek --queue interruptions --output json | jq '.[].verdict'
      queue-processor messages peek --output name
    """  # noqa: D301 - after a real backspace the lines stay as they are
    loaded = settings.load_for_tool(config)
    ref = QueueRef(queue=queue, is_dead_letters=dead_letters)
    queue_client = queues.open_queue(ref, loaded)
    now = dt.datetime.now(dt.UTC)
    peeked = queues.peek_explained(queue_client, loaded, now=now, limit=limit)
    output.print_list(
        output_format,
        _HEADINGS,
        [_cells(each, now) for each in peeked],
        names=[each.message.message_id for each in peeked],
        data=[_fields(each, now) for each in peeked],
    )
    output.note(
        f"{len(peeked)} of {queue_client.name}; the receive count of each went up by one"
        if peeked
        else f"nothing is visible in {queue_client.name}; messages in flight cannot be seen"
    )


def _age(message: QueueMessage, now: dt.datetime) -> dt.timedelta:
    return now - (message.sent_at or now)


def _fields(peeked: ExplainedMessage, now: dt.datetime) -> Mapping[str, object]:
    return {
        "message_id": peeked.message.message_id,
        "age_seconds": round(_age(peeked.message, now).total_seconds(), 3),
        "receive_count": peeked.message.receive_count,
        **peeked.explanation.fields("kind", "instances", "verdict", "reason"),
    }


def _cells(peeked: ExplainedMessage, now: dt.datetime) -> Sequence[str | None]:
    return (
        peeked.message.message_id,
        peeked.explanation.kind,
        peeked.explanation.verdict.value,
        humanize.naturaldelta(_age(peeked.message, now)),
        str(peeked.message.receive_count),
        peeked.explanation.instances,
        peeked.explanation.reason,
    )
