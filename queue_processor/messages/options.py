"""The options that the commands share."""

import pathlib
from typing import Annotated, TypeAlias

import typer

from queue_processor import settings
from queue_processor.messages import printing

Config: TypeAlias = Annotated[
    pathlib.Path | None,
    typer.Option(
        "--config",
        envvar=settings.CONFIG_VARIABLE,
        help="The operator's YAML file with settings; environment variables rule over it.",
    ),
]
Output: TypeAlias = Annotated[
    printing.Output,
    typer.Option("--output", "-o", help="text: for people. json, yaml: for programs, on stdout."),
]
Queue: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--queue",
        "-q",
        metavar="URL|NAME",
        help="The queue, or any dead-letter queue.  [default: queue_url of the settings]",
        show_default=False,
    ),
]
DeadLetters: TypeAlias = Annotated[
    bool, typer.Option("--dead-letters", help="The dead-letter queue of that queue.")
]
Yes: TypeAlias = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask, go on.")]
