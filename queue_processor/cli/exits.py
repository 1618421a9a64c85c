"""Report errors of commands in one line on stderr, and exit with a code."""

import contextlib
from collections.abc import Iterator

import typer

from queue_processor.domain import errors

FAILED = 1
WRONG_USAGE = 2
# The command has done its work, and the answer is no.
NOT_RIGHT = 3
INTERRUPTED = 130


@contextlib.contextmanager
def settings_errors_reported() -> Iterator[None]:
    """Print one line for each error in the settings, and exit."""
    try:
        yield
    except errors.SettingsError as error:
        for line in str(error).splitlines():
            typer.echo(f"settings: {line}", err=True)
        raise typer.Exit(WRONG_USAGE) from error


@contextlib.contextmanager
def errors_reported(command: str) -> Iterator[None]:
    """Print one line about the error and exit; works as a decorator of a command, too."""
    try:
        with settings_errors_reported():
            yield
    except errors.UsageError as error:
        for line in str(error).splitlines():
            typer.echo(f"{command}: {line}", err=True)
        raise typer.Exit(WRONG_USAGE) from error
    except errors.QueueProcessorError as error:
        typer.echo(f"{command}: {error}", err=True)
        raise typer.Exit(FAILED) from error
    except KeyboardInterrupt:
        typer.echo(f"{command}: interrupted", err=True)
        raise typer.Exit(INTERRUPTED) from None
