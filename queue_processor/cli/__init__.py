"""The command tree."""

from collections.abc import Mapping

from queue_processor.cli import lazy

COMMANDS: Mapping[str, str] = {
    "run": "queue_processor.cli.run:run",
    "demo": "queue_processor.cli.demo:demo",
    "migrate": "queue_processor.migration.command:migrate",
    "messages": "queue_processor.cli.messages:app",
    "imds": "queue_processor.cli.imds:app",
}

app = lazy.command_tree("Drain EC2 nodes before AWS takes the instances.", COMMANDS)
