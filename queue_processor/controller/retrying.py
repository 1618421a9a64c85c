"""How short calls are repeated: with jittered backoff, on temporary faults only."""

import datetime as dt
import random
from collections.abc import Callable

import structlog
import tenacity

from queue_processor.domain import errors
from queue_processor.observability import metrics

FIRST_DELAY = dt.timedelta(seconds=0.2)
LONGEST_DELAY = dt.timedelta(seconds=5)

_log = structlog.get_logger(__name__)


def retrying(
    call: metrics.Call,
    *,
    stop_when: Callable[[], bool] = lambda: False,
    longest_delay: dt.timedelta = LONGEST_DELAY,
    on: tuple[type[Exception], ...] = (errors.TemporaryError,),
) -> tenacity.AsyncRetrying:
    """Repeat a call while it fails temporarily; the last error is raised when it gives up.

    Args:
        call: Names the call in the log and in the metrics.
        stop_when: Asked after each failure.
        longest_delay: The cap of the backoff; a longer `Retry-After` is honoured.
        on: The errors that are worth another try.
    """
    backoff = Backoff(longest=longest_delay)

    def pause(state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        return backoff.after(state.attempt_number, error).total_seconds()

    def tell(state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        metrics.CALLS_RETRIED.labels(call=call).inc()
        _log.info("call_retried", call=call, attempt=state.attempt_number, error=str(error))

    return tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type(on),
        wait=pause,
        stop=lambda _: stop_when(),
        before_sleep=tell,
        reraise=True,
    )


class Backoff:
    """Doubling delays with jitter, so that those who failed together do not return together.

    https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/
    """

    def __init__(
        self, *, first: dt.timedelta = FIRST_DELAY, longest: dt.timedelta = LONGEST_DELAY
    ) -> None:
        self._first = first.total_seconds()
        self._longest = longest.total_seconds()

    def after(self, attempt: int, error: BaseException | None = None) -> dt.timedelta:
        """The pause after an attempt (from 1), never shorter than the server asked for."""
        cap = min(self._longest, self._first * 2.0 ** min(attempt, 16))
        delay = dt.timedelta(seconds=random.uniform(self._first, cap))  # noqa: S311 - no secret
        asked = error.retry_after if isinstance(error, errors.TemporaryError) else None
        return delay if asked is None else max(delay, asked)
