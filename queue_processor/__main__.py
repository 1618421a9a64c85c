"""Process entry: `queue-processor` and `python -m queue_processor`."""

from queue_processor import cli


def main() -> None:
    """Run the command line."""
    cli.app()


if __name__ == "__main__":
    main()
