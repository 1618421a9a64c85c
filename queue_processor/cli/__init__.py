"""The command tree."""

import typer

from queue_processor.cli import demo, exits, messages, run
from queue_processor.migration import command as migration

app = typer.Typer(
    name="queue-processor",
    help="Drain EC2 nodes before AWS takes the instances.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command(name="run")(run.run)
app.command(name="demo")(demo.demo)
app.command(name="migrate")(exits.errors_reported("migrate")(migration.migrate))
app.add_typer(messages.app, name="messages")


@app.callback()
def _main() -> None:
    """Drain EC2 nodes before AWS takes the instances."""
