"""`queue-processor run`: the operator."""

import asyncio

import structlog
import typer

from queue_processor import bootstrap, settings
from queue_processor.cli import exits
from queue_processor.domain import errors
from queue_processor.messages import options
from queue_processor.observability import logs

_log = structlog.get_logger(__name__)


def run(config: options.Config = None) -> None:
    """Receive interruption events from the queue and drain their nodes, until SIGTERM or Ctrl-C.

    \b
    Example:
      export QUEUE_PROCESSOR_QUEUE_URL=https://sqs.eu-west-1.amazonaws.com/123456789012/interruptions
      queue-processor run
    """  # noqa: D301 - after a real backspace the lines stay as they are
    with exits.settings_errors_reported():
        loaded = settings.load(config)
        bootstrap.check(loaded)
    logs.configure(as_text=loaded.log.is_text(), level=loaded.log.level)
    try:
        asyncio.run(bootstrap.run(loaded))
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
    except errors.ConfigurationError as error:
        _log.error("cannot_start", cause=str(error))
        raise typer.Exit(exits.FAILED) from error
    except Exception as crash:
        _log.exception("crashed", cause=str(_first_cause(crash)))
        raise typer.Exit(exits.FAILED) from crash


def _first_cause(crash: Exception) -> BaseException:
    cause: BaseException = crash
    while isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    return cause
