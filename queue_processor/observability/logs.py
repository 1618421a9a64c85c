"""Log to stderr: JSON, or text on a terminal."""

import dataclasses
import datetime as dt
import enum
import json
import logging
import sys

import structlog

# These libraries log at INFO what we log ourselves.
_QUIET = ("kopf", "aiohttp", "botocore", "boto3", "urllib3", "kubernetes", "asyncio")

# They report with a traceback that the watch of nodes ended, which we log and start again.
_SUPERVISED = ("kopf._core.reactor.orchestration", "kopf._core.reactor.running")

# A variable may contain a token, or a whole message.
_WITHOUT_VARIABLES = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)


def configure(*, as_text: bool, level: str) -> None:
    """Log everything from the program and its libraries to stderr, in one format.

    Args:
        as_text: True for text, False for JSON.
        level: The name of the lowest level to log.
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
            _flatten,
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
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
    for name in _SUPERVISED:
        logging.getLogger(name).setLevel(logging.CRITICAL)
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


def _flatten(
    logger: object, method: str, line: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Write nested values as JSON, and others by their names: text would show code of Python."""
    del logger, method
    return {name: _flat(value) for name, value in line.items()}


def _flat(value: object) -> object:
    match value:
        case enum.Enum() | dt.datetime() | dt.timedelta():
            return plain(value)
        case list() | dict() | frozenset() | set():
            return json.dumps(value, default=plain, ensure_ascii=False)
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return json.dumps(value, default=plain, ensure_ascii=False)
    return value


def plain(value: object) -> object:
    """Convert a value to a JSON type: times to ISO 8601, durations to seconds, sets to lists."""
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
