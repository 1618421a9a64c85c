"""Process entry: `queue-processor` and `python -m queue_processor`."""


def main() -> None:
    """Run the command line."""
