"""`queue-processor nodes`: registers the node tools."""

from queue_processor.cli import lazy
from queue_processor.cli.lazy import LazyCommand
from queue_processor.cli.places import Place

app = lazy.command_tree(
    "List the nodes that the operator holds, and take them back into use.",
    {
        "list": LazyCommand(
            "queue_processor.nodes.commands:list_nodes",
            "List the nodes that are held.",
            (Place.CLUSTER,),
        ),
        "uncordon": LazyCommand(
            "queue_processor.nodes.commands:uncordon_nodes",
            "Undo what the operator did to nodes.",
            (Place.CLUSTER,),
        ),
    },
)
