"""`queue-processor messages explain`: what the operator would do with a message, and why."""

import asyncio
import datetime as dt
import pathlib
import re
import sys
from typing import Annotated

import typer

from queue_processor import settings
from queue_processor.domain import errors
from queue_processor.domain.events import InterruptionEvent
from queue_processor.domain.messages import QueueMessage
from queue_processor.domain.plan import Outcome, OutcomeKind
from queue_processor.domain.policy import Policy
from queue_processor.messages import cluster, explanation, options, output, queues, recordings
from queue_processor.messages.explanation import Explanation
from queue_processor.messages.options import OutputFormat
from queue_processor.messages.queues import QueueRef
from queue_processor.settings import ToolSettings

_STDIN = "-"
_MESSAGE_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


def explain(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE|-|MESSAGE-ID",
            help="The body of a message, or a recording of one; - reads it from stdin. Or the id of"
            " a message in the queue, or in its dead-letter queue.",
        ),
    ],
    *,
    offline: Annotated[
        bool,
        typer.Option("--offline", help="Call neither AWS nor the cluster. No queue has to be set."),
    ] = False,
    queue: options.Queue = None,
    config: options.Config = None,
    output_format: options.Output = OutputFormat.TEXT,
) -> None:
    """Explain what the operator would do with a message, and why. Nothing is changed.

    The settings count as they count for `run`. A body from a file is taken as if it were sent now.
    The deadline is the time that the event sets; null if it sets none. The exit code is 0 for
    every verdict. To find a message by its id, the command looks at all that are visible, which
    adds one to the receive count of each.

    \b
    Examples:
      queue-processor messages explain event.json
      queue-processor messages explain 2c4b5a0e-7b0f-4c4e-9b0a-0d6c1d8f3a11
      queue-processor messages explain --offline --output json - < event.json | jq .verdict
    """  # noqa: D301 - after a real backspace the lines stay as they are
    loaded = settings.load_for_tool(config)
    decisions, now = loaded.policy(), dt.datetime.now(dt.UTC)
    raw = _read(source)
    if raw is not None:
        explained = explain_file(raw, now=now, decisions=decisions)
    elif offline:
        raise errors.UsageError(
            "a message id needs the queue: leave --offline out, or record the message first"
        )
    else:
        message = _find(source, QueueRef(queue=queue), loaded)
        explained = explanation.explain_message(message, now=now, decisions=decisions)
    if not offline:
        explained = asyncio.run(cluster.locate(explained, loaded))
    if output_format is OutputFormat.TEXT:
        output.print_pairs(_rows(explained, now=now))
    else:
        output.print_data(explained.fields(), output_format)


def explain_file(raw: bytes, *, now: dt.datetime, decisions: Policy) -> Explanation:
    """Explain a file: a body, which may be anything, or one recorded message.

    Raises:
        UsageError: It is a recording of several messages.
    """
    try:
        text = raw.decode()
    except UnicodeDecodeError as cause:
        return explanation.malformed(
            errors.MalformedMessage(f"body: not UTF-8: {cause.reason}, byte {cause.start}")
        )
    message = recordings.parse_single(text)
    if message is not None:
        return explanation.explain_message(message, now=now, decisions=decisions)
    return explanation.explain(text, message_id=None, sent_at=now, now=now, decisions=decisions)


def _read(source: str) -> bytes | None:
    """Return the bytes of a file or of stdin; None for the id of a message."""
    try:
        if source == _STDIN:
            return sys.stdin.buffer.read()
        return pathlib.Path(source).read_bytes()
    except OSError as cause:
        if isinstance(cause, FileNotFoundError) and _MESSAGE_ID.fullmatch(source):
            return None
        raise errors.UsageError(f"{source}: cannot be read: {cause.strerror}") from cause


def _find(message_id: str, ref: QueueRef, loaded: ToolSettings) -> QueueMessage:
    queue = queues.open_queue(ref, loaded)
    match = queues.find_message(queue, message_id)
    if match is None:
        raise errors.UsageError(
            f"{message_id} is visible neither in {queue.name} nor in its dead-letter queue;"
            " messages in flight cannot be seen"
        )
    message, place = match
    output.note(f"found in {place.name}; the receive count of each message seen went up by one")
    return message


def _rows(explained: Explanation, *, now: dt.datetime) -> dict[str, str | None]:
    rows = {
        "verdict": explained.verdict.value,
        "reason": explained.reason,
        "shape": explained.shape and explained.shape.value,
        "event id": explained.event_id,
        "the message": _outcome(explained.outcome),
    }
    if explained.event is not None:
        rows |= _event_rows(explained, explained.event, now)
    return rows


def _event_rows(
    explained: Explanation, event: InterruptionEvent, now: dt.datetime
) -> dict[str, str | None]:
    hook = None if event.lifecycle_action is None else event.lifecycle_action.hook
    names = explained.node_names()
    return {
        "kind": event.kind.value,
        "instances": explained.instances,
        "occurred at": output.moment(event.occurred_at, now=now),
        "action": explained.action and explained.action.value,
        "deadline": _deadline(explained, now),
        "lifecycle hook": None if hook is None else f"{hook.name} of group {hook.group}",
        "nodes": "not looked for" if names is None else " ".join(names) or "none",
    }


def _deadline(explained: Explanation, now: dt.datetime) -> str | None:
    ends = explained.drained_by
    if ends is None:
        return None
    if explained.terminates_at is None:
        return f"none; a drain that begins now gives up {output.moment(ends.at, now=now)}"
    deadline = output.moment(explained.terminates_at, now=now)
    if ends.at == explained.terminates_at:
        return deadline
    drained_by = output.moment(ends.at, now=now)
    return f"{deadline}; a node that is still there is drained until {drained_by}"


def _outcome(outcome: Outcome) -> str:
    match outcome.kind:
        case OutcomeKind.DONE:
            action = "" if outcome.completes is None else " and the lifecycle action is completed"
            return f"is deleted when every node is done{action}"
        case OutcomeKind.OBSERVED:
            return "is deleted when its plans are logged; nothing is done, as the mode is observe"
        case OutcomeKind.IGNORED if outcome.leaves is not None:
            return (
                "is deleted; first the lifecycle action is completed if its Auto Scaling group is"
                " this cluster's"
            )
        case OutcomeKind.IGNORED:
            return "is deleted"
        case OutcomeKind.RETRY:
            return "goes back to the queue, for another cluster that reads it"
        case OutcomeKind.DEAD_LETTER:
            return "goes to the dead-letter queue with the reason, and is deleted"
