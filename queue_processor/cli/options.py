"""Options that commands share."""

import pathlib
from typing import Annotated

import typer

from queue_processor import settings

ConfigOption = Annotated[
    pathlib.Path | None,
    typer.Option(
        "--config",
        envvar=settings.CONFIG_VARIABLE,
        help="A YAML file with settings; environment variables take precedence.",
    ),
]
