"""Log lines: JSON, or text for people on a terminal; always on stderr."""

import dataclasses
import datetime as dt
import logging
import sys

import structlog

# Libraries that say a lot at INFO about things that we log ourselves.
_QUIET = ("kopf", "aiohttp", "botocore", "boto3", "urllib3", "kubernetes", "asyncio")

# A variable may hold a token, or a whole message.
_WITHOUT_VARIABLES = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)


def configure(*, as_text: bool, level: str) -> None:
    """Send everything that the program and its libraries log to stderr, in one format.

    Args:
        as_text: For people; JSON otherwise.
        level: The name of the least severe level that is logged.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    rendering: list[structlog.typing.Processor]
    if as_text:
        rendering = [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
    else:
        rendering = [
            structlog.processors.ExceptionRenderer(_WITHOUT_VARIABLES),
            structlog.processors.JSONRenderer(default=plain),
        ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def plain(value: object) -> object:
    """What JSON has no type for: times as ISO 8601, durations in seconds, sets sorted."""
    match value:
        case dt.datetime():
            return value.isoformat()
        case dt.timedelta():
            return round(value.total_seconds(), 3)
        case frozenset() | set():
            return sorted(value)
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return dataclasses.asdict(value)
        case _:
            return str(value)
