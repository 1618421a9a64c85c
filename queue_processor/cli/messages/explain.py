"""`queue-processor messages explain`: what the operator would do with a message, and why."""

import asyncio
import datetime as dt
import pathlib
import re
import sys
from typing import Annotated

import typer

from queue_processor import settings
from queue_processor.cli import exits
from queue_processor.cli.messages import options, printing
from queue_processor.domain import errors, explanation
from queue_processor.domain.events import InterruptionEvent
from queue_processor.domain.explanation import Explanation
from queue_processor.domain.messages import QueueMessage
from queue_processor.domain.plan import Outcome, OutcomeKind
from queue_processor.maintenance import cluster, mail
from queue_processor.settings import ToolSettings

_STDIN = "-"
_MESSAGE_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


@exits.errors_reported("explain")
def explain(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE|-|MESSAGE-ID",
            help="The body of a message, or a recorded one; - reads it from stdin. Or the id of a"
            " message in the queue, or in its dead-letter queue.",
        ),
    ],
    *,
    offline: Annotated[
        bool,
        typer.Option(
            "--offline", help="Ask nobody: neither AWS nor the cluster. No queue has to be set."
        ),
    ] = False,
    queue: options.Queue = None,
    config: options.Config = None,
    output: options.Output = printing.Output.TEXT,
) -> None:
    """Tell what the operator would do with a message, and why. Nothing is changed.

    The settings count as they count for `run`. A body from a file is taken as if it were sent now.
    The deadline is the moment that the event sets; null where it sets none. The exit code is 0
    whatever the verdict. To find a message by its id all that are visible are looked at, which
    adds one to the receive count of each.

    \b
    Examples:
      queue-processor messages explain event.json
      queue-processor messages explain 2c4b5a0e-7b0f-4c4e-9b0a-0d6c1d8f3a11
      queue-processor messages explain --offline --output json - < event.json | jq .verdict
    """  # noqa: D301 - after a real backspace the lines stay as they are
    chosen = settings.load_for_tool(config)
    now = dt.datetime.now(dt.UTC)
    raw = _read(source)
    if raw is not None:
        known = explanation.explain_file(raw, now=now, decisions=chosen.policy())
    elif offline:
        raise errors.UsageError(
            "a message id needs the queue: leave --offline out, or record the message first"
        )
    else:
        message = _find(source, mail.Address(queue=queue), chosen)
        known = explanation.explain_message(message, now=now, decisions=chosen.policy())
    if not offline:
        known = asyncio.run(cluster.locate(known, chosen))
    if output is printing.Output.TEXT:
        printing.pairs(rows(known, now=now))
    else:
        printing.data(known.fields(), output)


def _read(source: str) -> bytes | None:
    """The bytes of a file, or of stdin; None for the id of a message."""
    try:
        if source == _STDIN:
            return sys.stdin.buffer.read()
        return pathlib.Path(source).read_bytes()
    except OSError as cause:
        if isinstance(cause, FileNotFoundError) and _MESSAGE_ID.fullmatch(source):
            return None
        raise errors.UsageError(f"{source}: cannot be read: {cause.strerror}") from cause


def _find(message_id: str, address: mail.Address, chosen: ToolSettings) -> QueueMessage:
    queue_client = mail.opened(address, chosen)
    found = mail.find(queue_client, message_id)
    if found is None:
        raise errors.UsageError(
            f"{message_id} is visible neither in {queue_client.name} nor in its dead-letter queue;"
            " what the operator holds cannot be seen"
        )
    message, place = found
    printing.note(f"found in {place.name}; the receive count of what was looked at went up by one")
    return message


def rows(known: Explanation, *, now: dt.datetime) -> dict[str, str | None]:
    """The explanation for people, line by line."""
    told = {
        "verdict": known.verdict.value,
        "reason": known.reason,
        "shape": known.shape and known.shape.value,
        "event id": known.event_id,
        "the message": _fate(known.outcome),
    }
    if known.event is not None:
        told |= _event_rows(known, known.event, now)
    return told


def _event_rows(
    known: Explanation, event: InterruptionEvent, now: dt.datetime
) -> dict[str, str | None]:
    hook = None if event.lifecycle_action is None else event.lifecycle_action.hook
    return {
        "kind": event.kind.value,
        "instances": " ".join(event.instance_ids),
        "occurred at": printing.moment(event.occurred_at, now=now),
        "action": known.action and known.action.value,
        "deadline": _deadline(known, now),
        "lifecycle hook": None if hook is None else f"{hook.name} of group {hook.group}",
        "nodes": _nodes(known),
    }


def _nodes(known: Explanation) -> str:
    names = known.node_names()
    return "not looked for" if names is None else " ".join(names) or "none"


def _deadline(known: Explanation, now: dt.datetime) -> str | None:
    ends = known.drained_by
    if ends is None:
        return None
    if known.terminates_at is None:
        return f"none; a drain that begins now gives up {printing.moment(ends.at, now=now)}"
    told = printing.moment(known.terminates_at, now=now)
    if ends.at == known.terminates_at:
        return told
    return f"{told}; a node that still stands is drained until {printing.moment(ends.at, now=now)}"


def _fate(outcome: Outcome) -> str:
    match outcome.kind:
        case OutcomeKind.DONE if outcome.completes is not None:
            return "is deleted when every node is done and the lifecycle action is completed"
        case OutcomeKind.DONE:
            return "is deleted when every node is done"
        case OutcomeKind.IGNORED if outcome.completes is not None:
            return "is deleted when the lifecycle action is completed"
        case OutcomeKind.IGNORED:
            return "is deleted"
        case OutcomeKind.RETRY:
            return "goes back to the queue, for another cluster that reads it"
        case OutcomeKind.DEAD_LETTER:
            return "goes to the dead-letter queue with the reason, and is deleted"
