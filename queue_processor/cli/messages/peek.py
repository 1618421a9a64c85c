"""`queue-processor messages peek`: what lies in a queue."""

import dataclasses
import datetime as dt
from typing import Annotated

import typer

from queue_processor import settings
from queue_processor.cli import exits
from queue_processor.cli.messages import options, printing
from queue_processor.domain.explanation import Explanation
from queue_processor.domain.messages import QueueMessage
from queue_processor.maintenance import mail

_HEADINGS = ("message id", "age", "received", "kind", "instances", "verdict", "reason")


@exits.errors_reported("peek")
def peek(
    *,
    most: Annotated[
        int, typer.Option("--max", min=1, help="How many messages to look at, at most.")
    ] = 10,
    queue: options.Queue = None,
    dead_letters: options.DeadLetters = False,
    config: options.Config = None,
    output: options.Output = printing.Output.TEXT,
) -> None:
    """Show the messages of a queue, and give them back at once.

    A message that the operator holds cannot be seen; one that is shown is hidden from it for about
    as long as the command takes. The receive count of each goes up by one, and a queue with a
    redrive policy moves a message that it has handed out too often to its dead-letter queue.

    \b
    Examples:
      queue-processor messages peek
      queue-processor messages peek --dead-letters --max 50
      queue-processor messages peek --queue interruptions --output json | jq '.[].verdict'
    """  # noqa: D301 - after a real backspace the lines stay as they are
    chosen = settings.load_for_tool(config)
    queue_client = mail.opened(mail.Address(queue=queue, is_dead_letters=dead_letters), chosen)
    now = dt.datetime.now(dt.UTC)
    seen = [
        _Seen(message=message, age=now - (message.sent_at or now), known=known)
        for message, known in mail.explained(queue_client, chosen, now=now, limit=most)
    ]
    if output is not printing.Output.TEXT:
        printing.data([each.fields() for each in seen], output)
    elif seen:
        printing.table(_HEADINGS, [each.cells() for each in seen])
    printing.note(
        f"{len(seen)} of {queue_client.name}; the receive count of each went up by one"
        if seen
        else f"nothing is visible in {queue_client.name}; what the operator holds cannot be seen"
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    message: QueueMessage
    age: dt.timedelta
    known: Explanation

    def fields(self) -> dict[str, object]:
        return {
            "message_id": self.message.message_id,
            "age_seconds": round(self.age.total_seconds(), 3),
            "receive_count": self.message.receive_count,
            **self.known.fields("kind", "instances", "verdict", "reason"),
        }

    def cells(self) -> tuple[str | None, ...]:
        event = self.known.event
        return (
            self.message.message_id,
            printing.span(self.age.total_seconds()),
            str(self.message.receive_count),
            self.known.kind,
            None if event is None else " ".join(event.instance_ids),
            self.known.verdict.value,
            self.known.reason,
        )
