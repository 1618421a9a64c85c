"""`queue-processor messages redrive`: dead letters, moved back to their queue."""

import collections
import dataclasses
import datetime as dt
from collections.abc import Sequence
from typing import Annotated

import typer

from queue_processor import settings
from queue_processor.cli import exits
from queue_processor.cli.messages import asking, options, printing, progress
from queue_processor.domain.explanation import Explanation
from queue_processor.domain.messages import QueueMessage
from queue_processor.maintenance import audience, mail, pacing, redriver, stopping
from queue_processor.maintenance.redriver import Choice, Moved, Redriver
from queue_processor.settings import ToolSettings

_HEADINGS = ("messages", "kind", "verdict", "reason", "what is done")


@exits.errors_reported("redrive")
def redrive(  # noqa: PLR0913 - the options of a command
    *,
    queue: options.Queue = None,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="QUEUE",
            help="Where they go, by URL or name.  [default: the queue they came from]",
            show_default=False,
        ),
    ] = None,
    filters: Annotated[
        list[str] | None,
        typer.Option(
            "--filter", metavar="kind=KIND", help="Only events of a kind; may be given repeatedly."
        ),
    ] = None,
    rate: Annotated[
        str,
        typer.Option(metavar="N/s", help="How many a second, or a minute: 90/min."),
    ] = "100/s",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be moved, and move nothing.")
    ] = False,
    yes: options.Yes = False,
    config: options.Config = None,
    output: options.Output = printing.Output.TEXT,
) -> None:
    """Move dead letters back to their queue, when the operator would understand them now.

    Each message is explained first, with the settings that count for `run`. What is still
    malformed stays, because it would only come back. Each of the others is sent to the queue and
    then deleted here, so that none is lost: when the command is killed in between, up to ten of
    them are in both queues. The same command goes on with the rest, ten minutes later, when all
    of them are visible again. A moved message is a new one: its age and its receive count start
    again, and the times in its event stay the same. The command adds one to the receive count of
    each message that it looks at.

    \b
    Examples:
      queue-processor messages redrive --dry-run
      queue-processor messages redrive --rate 50/s
      queue-processor messages redrive --queue interruptions --filter kind=spot_interruption --yes
    """  # noqa: D301 - after a real backspace the lines stay as they are
    chosen = settings.load_for_tool(config)
    choice = redriver.choice(filters or ())
    a_second = pacing.rate(rate)
    route = mail.way_back(queue, to=to, settings=chosen)
    letters = _look(route, choice, chosen)
    going = [letter for letter in letters if letter.goes]
    _show(letters, route, is_dry=dry_run, output=output)
    if dry_run or not going:
        return
    if not yes:
        _ask(f"Move {len(going)} messages", route, chosen)
    _move([letter.message.message_id for letter in going], route, a_second, output)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Letter:
    """A dead letter, what the operator would make of it now, and whether it goes back."""

    message: QueueMessage
    known: Explanation
    goes: bool

    def fields(self) -> dict[str, object]:
        return {
            "message_id": self.message.message_id,
            **self.known.fields("kind", "instances", "verdict", "reason"),
            "moves": self.goes,
        }


def _look(route: mail.Route, choice: Choice, chosen: ToolSettings) -> Sequence[_Letter]:
    now = dt.datetime.now(dt.UTC)
    return [
        _Letter(message=message, known=known, goes=choice.takes(known))
        for message, known in mail.explained(route.dead_letters, chosen, now=now)
    ]


def _show(
    letters: Sequence[_Letter], route: mail.Route, *, is_dry: bool, output: printing.Output
) -> None:
    name = route.dead_letters.name
    if is_dry and output is not printing.Output.TEXT:
        printing.data([letter.fields() for letter in letters], output)
    elif letters and output is printing.Output.TEXT:
        alike = collections.Counter(
            (letter.known.kind, letter.known.verdict.value, letter.known.reason, letter.goes)
            for letter in letters
        )
        printing.table(
            _HEADINGS,
            [
                (str(count), kind, verdict, reason, "moved" if goes else "left")
                for (kind, verdict, reason, goes), count in alike.most_common()
            ],
        )
    going = sum(letter.goes for letter in letters)
    if not letters:
        printing.note(f"nothing is visible in {name}")
    elif is_dry:
        printing.note(f"{going} of {len(letters)} would go from {name} to {route.target.name}")
    elif not going:
        printing.note(f"none of the {len(letters)} messages of {name} goes to {route.target.name}")


def _ask(deed: str, route: mail.Route, chosen: ToolSettings) -> None:
    readers = audience.of(route.target.state(), chosen, now=dt.datetime.now(dt.UTC))
    asking.confirm(
        f"{route.target.name}: {readers.text}. {deed} from {route.dead_letters.name} to"
        f" {route.target.name}?"
    )


def _move(
    chosen: Sequence[str], route: mail.Route, a_second: float, output: printing.Output
) -> None:
    with stopping.on_signals() as stop:
        work = Redriver(route, pace=pacing.Pace(a_second, stop=stop))
        try:
            with progress.shown(len(chosen), done="moved") as told:
                work.run(chosen, told=told)
        finally:
            _note_faults(work.moved)
            _report(work.moved.moved, len(chosen), route, output)
        is_asked = stop.is_asked
    if work.moved.handled < len(chosen) and is_asked:
        raise typer.Exit(exits.INTERRUPTED)
    if work.moved.moved < len(chosen):
        raise typer.Exit(exits.FAILED)


def _note_faults(moved: Moved) -> None:
    printing.refusals(moved.refused)
    for message_id in moved.doubled[: printing.SHOWN_FAULTS]:
        printing.note(f"{message_id} was moved, and could not be deleted: it lies in both queues")


def _report(moved: int, total: int, route: mail.Route, output: printing.Output) -> None:
    left = max(total - moved, 0)
    if left:
        printing.note("the same command goes on with what is left")
    if output is not printing.Output.TEXT:
        told = {
            "from": route.dead_letters.url,
            "to": route.target.url,
            "moved": moved,
            "left": left,
        }
        printing.data(told, output)
        return
    typer.echo(f"{moved} messages moved to {route.target.name}, {left} left")
