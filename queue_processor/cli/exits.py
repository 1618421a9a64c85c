"""How commands for people end: one line on stderr that names the cause, and the exit code."""

import contextlib
from collections.abc import Iterator

import typer

from queue_processor import settings
from queue_processor.domain import errors

FAILED = 1
WRONG_USAGE = 2
INTERRUPTED = 130


@contextlib.contextmanager
def settings_faults_told() -> Iterator[None]:
    """End with one line for each fault of the settings."""
    try:
        yield
    except settings.SettingsFault as fault:
        for line in str(fault).splitlines():
            typer.echo(f"settings: {line}", err=True)
        raise typer.Exit(WRONG_USAGE) from fault


@contextlib.contextmanager
def faults_told(command: str) -> Iterator[None]:
    """End with one line about what went wrong; it also decorates a command."""
    try:
        with settings_faults_told():
            yield
    except errors.WrongUsage as fault:
        typer.echo(f"{command}: {fault}", err=True)
        raise typer.Exit(WRONG_USAGE) from fault
    except errors.QueueProcessorError as fault:
        typer.echo(f"{command}: {fault}", err=True)
        raise typer.Exit(FAILED) from fault
    except KeyboardInterrupt:
        typer.echo(f"{command}: interrupted", err=True)
        raise typer.Exit(INTERRUPTED) from None
