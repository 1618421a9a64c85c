"""The command tree."""

from collections.abc import Mapping

from queue_processor.cli import lazy
from queue_processor.cli.lazy import LazyCommand
from queue_processor.cli.places import Place

COMMANDS: Mapping[str, LazyCommand] = {
    "run": LazyCommand("queue_processor.cli.run:run", "Run the operator."),
    "config": LazyCommand("queue_processor.cli.config:app", "Show and check the settings."),
    "doctor": LazyCommand(
        "queue_processor.cli.doctor:doctor",
        "Check the installation, and name each cure.",
        (Place.CLUSTER, Place.AWS),
    ),
    "demo": LazyCommand("queue_processor.cli.demo:demo", "Watch a storm on a simulated cluster."),
    "migrate": LazyCommand(
        "queue_processor.migration.command:migrate",
        "Convert the settings of aws-node-termination-handler.",
    ),
    "messages": LazyCommand(
        "queue_processor.cli.messages:app", "Look into the queues, send drills, replay messages."
    ),
    "nodes": LazyCommand(
        "queue_processor.cli.nodes:app", "List held nodes, and take them back into use."
    ),
    "imds": LazyCommand("queue_processor.cli.imds:app", "Simulate instance metadata (IMDS)."),
}

app = lazy.command_tree(
    "Drain EC2 nodes before AWS takes the instances.", COMMANDS, package="queue-processor"
)
