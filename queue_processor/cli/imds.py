"""`queue-processor imds`: registers the simulator of instance metadata and its sender."""

from queue_processor.cli import lazy

app = lazy.command_tree(
    "Simulate instance metadata (IMDS), and announce interruptions there.",
    {
        "serve": "queue_processor.imds.serve:serve",
        "send": "queue_processor.imds.send:send",
    },
)
