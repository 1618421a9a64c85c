"""Asks a person before something is changed."""

import sys

import typer

from queue_processor.cli import exits
from queue_processor.cli.messages import printing
from queue_processor.domain import errors


def confirm(question: str) -> None:
    """Go on when a person agrees; end the command otherwise.

    Raises:
        UsageError: There is nobody to ask.
    """
    if not sys.stdin.isatty():
        raise errors.UsageError(f"{question} Nobody can be asked here: --yes agrees beforehand")
    if not typer.confirm(printing.safe(question), err=True):
        printing.note("nothing was changed")
        raise typer.Exit(exits.FAILED)
