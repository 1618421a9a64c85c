"""`queue-processor migrate`: print our settings, made from those of NTH."""

import enum
import pathlib
import sys
from typing import Annotated

import typer

from queue_processor.domain import errors
from queue_processor.migration import conversion, reading
from queue_processor.migration.conversion import Migration

_STDIN = "-"
# What belongs to NTH, and what follows if both programs use it.
_OF_NTH = {
    ("queue_url",): "it is the queue of NTH, and two programs that read one queue take each other's"
    " messages: set the URL of a queue of its own, or uninstall NTH first",
    ("serviceAccount", "roleArn"): "it is the role of NTH, for the service account and the queue of"
    " NTH: set the role of the new stack",
}


class MigrationOutput(enum.StrEnum):
    """The file to print."""

    CONFIG = "config"
    HELM = "helm"


def migrate(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="Values of NTH's chart, manifests that include its Deployment or DaemonSet, its"
            " list of environment variables, or KEY=VALUE lines. - reads stdin.",
        ),
    ],
    output: Annotated[
        MigrationOutput,
        typer.Option(
            "--output",
            "-o",
            help="config: a settings file, for --config. helm: values of the chart.",
        ),
    ] = MigrationOutput.CONFIG,
) -> None:
    """Convert settings of aws-node-termination-handler into ours.

    From Queue Processor mode, the operator reads a queue. From IMDS mode, which is NTH's default,
    it reads what a watcher on each node writes on its Node: use --output helm.

    Prints them on stdout, each with a comment that names its origin, and lists on stderr what is
    omitted, and why. Changes nothing else. docs/migrate-from-nth.md has the whole table. If the
    file contains the URL of a webhook, the output contains it, too.

    \b
    Examples:
      queue-processor migrate nth-values.yaml > queue-processor.yaml
      queue-processor migrate nth-values.yaml --output helm > values.yaml
      helm get values aws-node-termination-handler -o yaml | queue-processor migrate - -o helm
      kubectl get deployment aws-node-termination-handler -o yaml | queue-processor migrate -
      kubectl get daemonset aws-node-termination-handler -o yaml | queue-processor migrate -
      helm get manifest aws-node-termination-handler | queue-processor migrate -
    """  # noqa: D301 - after a real backspace the lines stay as they are
    migration = _migration_of(file)
    if output is MigrationOutput.HELM:
        typer.echo(conversion.chart_values(migration), nl=False)
    else:
        typer.echo(conversion.settings_file(migration), nl=False)
    printed = {**migration.settings, **(migration.chart if output is MigrationOutput.HELM else {})}
    for path, note in _OF_NTH.items():
        if path in printed:
            typer.echo(f"warning: {'.'.join(path)}: {note}", err=True)
    for setting in migration.omitted:
        typer.echo(f"{setting.fate}: {setting.name}: {setting.note}", err=True)
    if output is MigrationOutput.CONFIG and migration.chart:
        names = ", ".join(".".join(path) for path in migration.chart)
        typer.echo(f"only with --output helm: {names}", err=True)
    if ("queue_url",) not in migration.settings and ("watcher", "enabled") not in migration.chart:
        typer.echo("missing: queue_url: the program needs one, and the file sets none", err=True)


def _migration_of(file: str) -> Migration:
    try:
        return conversion.convert(reading.read(_text_of(file)))
    except errors.UsageError as error:
        raise errors.UsageError(f"{'stdin' if file == _STDIN else file}: {error}") from error


def _text_of(file: str) -> str:
    limit = reading.SIZE_LIMIT + 1
    try:
        if file == _STDIN:
            return sys.stdin.buffer.read(limit).decode()
        with pathlib.Path(file).open("rb") as opened:
            return opened.read(limit).decode()
    except OSError as cause:
        raise errors.UsageError(f"cannot be read: {cause.strerror}") from cause
    except UnicodeDecodeError as cause:
        raise errors.UsageError("not text in UTF-8") from cause
