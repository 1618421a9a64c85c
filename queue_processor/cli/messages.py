"""`queue-processor messages`: registers the queue tools."""

from queue_processor.cli import lazy
from queue_processor.cli.lazy import LazyCommand
from queue_processor.cli.places import Place

app = lazy.command_tree(
    "Look into the queue and its dead-letter queue, and put messages back.",
    {
        "explain": LazyCommand(
            "queue_processor.messages.explain:explain",
            "Explain what the operator would do with a message.",
            (Place.CLUSTER, Place.AWS),
        ),
        "peek": LazyCommand(
            "queue_processor.messages.peek:peek", "Show the messages of a queue.", (Place.AWS,)
        ),
        "record": LazyCommand(
            "queue_processor.messages.record:record",
            "Copy the messages of a queue to a file.",
            (Place.AWS,),
        ),
        "replay": LazyCommand(
            "queue_processor.messages.replay:replay",
            "Send recorded messages.",
            (Place.CLUSTER, Place.AWS),
        ),
        "redrive": LazyCommand(
            "queue_processor.messages.redrive:redrive",
            "Move dead-lettered messages back to their queue.",
            (Place.AWS,),
        ),
        "send": LazyCommand(
            "queue_processor.messages.send:send",
            "Send the events of a drill.",
            (Place.CLUSTER, Place.AWS),
        ),
    },
)
