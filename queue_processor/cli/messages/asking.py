"""Asks a person before something is changed."""

import sys

import typer

from queue_processor.cli import exits
from queue_processor.cli.messages import printing
from queue_processor.domain import errors


def confirm(question: str, *, is_agreed: bool) -> None:
    """Go on when a person agrees, or has agreed beforehand; end the command otherwise.

    Args:
        question: What is going to happen.
        is_agreed: Whether `--yes` was given.

    Raises:
        WrongUsage: There is nobody to ask.
    """
    if is_agreed:
        return
    if not sys.stdin.isatty():
        raise errors.WrongUsage(f"{question} Nobody can be asked here: --yes agrees beforehand")
    if not typer.confirm(printing.safe(question), err=True):
        printing.note("nothing was changed")
        raise typer.Exit(exits.FAILED)


def is_confirmed(question: str) -> bool:
    """Ask where there is somebody to ask; nobody agrees to nothing."""
    return sys.stdin.isatty() and typer.confirm(printing.safe(question), err=True)
