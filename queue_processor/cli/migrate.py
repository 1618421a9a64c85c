"""`queue-processor migrate`: from settings of aws-node-termination-handler to ours."""

import enum
import pathlib
import sys
from typing import Annotated

import typer

from queue_processor.cli import exits
from queue_processor.domain import errors
from queue_processor.settings.nth import conversion, reading, writing
from queue_processor.settings.nth.conversion import Migration

_STDIN = "-"


class Output(enum.StrEnum):
    """What is printed."""

    CONFIG = "config"
    HELM = "helm"


@exits.errors_reported("migrate")
def migrate(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="Values of NTH's chart, manifests with its Deployment, a list of environment"
            " variables as it stands there, or KEY=VALUE lines. - reads stdin.",
        ),
    ],
    output: Annotated[
        Output,
        typer.Option(
            "--output",
            "-o",
            help="config: a settings file, for --config. helm: values of the chart.",
        ),
    ] = Output.CONFIG,
) -> None:
    """Turn settings of aws-node-termination-handler (Queue Processor mode) into ours.

    Prints them on stdout, each with a comment that says where it came from, and on stderr what was
    not taken over, and why. Nothing is changed anywhere. docs/migrate-from-nth.md has the whole
    table. The URL of a webhook that stands in the file is printed, too.

    \b
    Examples:
      queue-processor migrate nth-values.yaml > queue-processor.yaml
      queue-processor migrate nth-values.yaml --output helm > values.yaml
      helm get values aws-node-termination-handler -o yaml | queue-processor migrate - -o helm
      kubectl get deployment aws-node-termination-handler -o yaml | queue-processor migrate -
      helm get manifest aws-node-termination-handler | queue-processor migrate -
    """  # noqa: D301 - after a real backspace the lines stay as they are
    migration = _migrated(file)
    written = writing.settings_file if output is Output.CONFIG else writing.chart_values
    typer.echo(written(migration), nl=False)
    for told in migration.told:
        typer.echo(f"{told.fate}: {told.name}: {told.why}", err=True)
    if output is Output.CONFIG and migration.chart:
        names = ", ".join(".".join(place) for place in migration.chart)
        typer.echo(f"only with --output helm: {names}", err=True)
    if ("queue_url",) not in migration.settings:
        typer.echo("missing: queue_url: the program needs one, and none is in it", err=True)


def _migrated(file: str) -> Migration:
    try:
        return conversion.convert(reading.read(_text_of(file)))
    except errors.UsageError as error:
        raise errors.UsageError(f"{'stdin' if file == _STDIN else file}: {error}") from error


def _text_of(file: str) -> str:
    most = reading.SIZE_LIMIT + 1
    try:
        if file == _STDIN:
            return sys.stdin.buffer.read(most).decode()
        with pathlib.Path(file).open("rb") as opened:
            return opened.read(most).decode()
    except OSError as cause:
        raise errors.UsageError(f"cannot be read: {cause.strerror}") from cause
    except UnicodeDecodeError as cause:
        raise errors.UsageError("no text in UTF-8") from cause
