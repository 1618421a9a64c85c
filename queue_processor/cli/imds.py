"""`queue-processor imds`: registers the simulator of instance metadata and its sender."""

from queue_processor.cli import lazy
from queue_processor.cli.lazy import LazyCommand

app = lazy.command_tree(
    "Simulate instance metadata (IMDS), and announce interruptions there.",
    {
        "serve": LazyCommand(
            "queue_processor.imds.serve:serve", "Serve the metadata of simulated instances."
        ),
        "send": LazyCommand(
            "queue_processor.imds.send:send", "Announce an interruption in the metadata."
        ),
    },
)
