"""`queue-processor config`: show, check and describe the settings."""

import json

import typer
import yaml

from queue_processor import settings
from queue_processor.cli import lazy
from queue_processor.cli.lazy import LazyCommand
from queue_processor.messages import options

app = lazy.command_tree(
    "Show, check and describe the settings.",
    {
        "show": LazyCommand("queue_processor.cli.config:show", "Print every setting."),
        "validate": LazyCommand("queue_processor.cli.config:validate", "Check the settings."),
        "schema": LazyCommand("queue_processor.cli.config:schema", "Print their JSON schema."),
    },
)


def show(config: options.Config = None) -> None:
    """Print every setting with its value, as `run` would read it here; secrets are masked.

    The output is a settings file.

    \b
    Examples:
      queue-processor config show
      queue-processor config show --config settings.yaml | grep timeout
    """  # noqa: D301 - after a real backspace the lines stay as they are
    loaded = settings.load_for_tool(config)
    typer.echo(yaml.safe_dump(loaded.model_dump(mode="json"), sort_keys=False), nl=False)


def validate(config: options.Config = None) -> None:
    """Check the settings as `run` does, and print each error in one line.

    Nothing is connected to: neither AWS nor a cluster.

    \b
    Example:
      queue-processor config validate --config settings.yaml
    """  # noqa: D301 - after a real backspace the lines stay as they are
    settings.load(config)
    typer.echo("the settings are valid")


def schema() -> None:
    """Print the JSON schema of the settings file, for editors and for checks in a pipeline.

    \b
    Example:
      queue-processor config schema > queue-processor.schema.json
    """  # noqa: D301 - after a real backspace the lines stay as they are
    typer.echo(json.dumps(settings.Settings.model_json_schema(), indent=2))
