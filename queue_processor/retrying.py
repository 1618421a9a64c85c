"""The one way to repeat what failed: tenacity, with one backoff for all.

A call is repeated in one layer only, on named errors, with jitter, so that those who failed
together do not return together, and never earlier than a server asked for with `Retry-After`,
unless that would use up the time that the work has: a server does not know about deadlines.
https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/

It stands below the controller and the adapters, because both repeat calls: the controller those
that a drain or a message depends on, the adapters those that nobody above them waits for.
"""

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import structlog
import tenacity

from queue_processor.domain import errors
from queue_processor.observability import metrics

FIRST_DELAY = dt.timedelta(seconds=0.2)
LONGEST_DELAY = dt.timedelta(seconds=5)

_CONFLICTS_IN_A_ROW = 20
# The most of the time left that one pause may take, so that there is time for the work itself.
_LARGEST_SHARE = 0.25

_Object = TypeVar("_Object")
_Result = TypeVar("_Result")

_log = structlog.get_logger(__name__)


def retrying(
    call: metrics.Call | None = None,
    *,
    stop_when: Callable[[], bool] = lambda: False,
    time_left: Callable[[], dt.timedelta] | None = None,
    attempts: int | None = None,
    longest_delay: dt.timedelta = LONGEST_DELAY,
    on: tuple[type[Exception], ...] = (errors.TemporaryError,),
) -> tenacity.AsyncRetrying:
    """Repeat a call while it fails temporarily; the last error is raised at the end.

    Args:
        call: Names the call in the log and in the metrics; None keeps it out of both.
        stop_when: Evaluated after each failure.
        time_left: Until the deadline of the work, which bounds every pause; None: it has none.
        attempts: The most attempts; None does not bound them.
        longest_delay: The cap of the backoff; a longer `Retry-After` is honoured.
        on: The errors that are worth another try.
    """

    def count(state: tenacity.RetryCallState) -> None:
        if call is not None:
            metrics.CALLS_RETRIED.labels(call=call).inc()
            error = str(_error_of(state))
            _log.info("call_retried", call=call, attempt=state.attempt_number, error=error)

    def stop(state: tenacity.RetryCallState) -> bool:
        return stop_when() or (attempts is not None and state.attempt_number >= attempts)

    return tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type(on),
        wait=_AtLeastRetryAfter(longest_delay, time_left=time_left),
        stop=stop,
        before_sleep=count,
        reraise=True,
    )


@contextlib.asynccontextmanager
async def answering_within(seconds: float, whom: str) -> AsyncIterator[None]:
    """Give up on a service that does not answer in time, whatever is repeated inside.

    Raises:
        ConfigurationError: It did not.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as cause:
        raise errors.ConfigurationError(
            f"{whom} did not answer within {seconds:.0f} s", cure="check endpoints and the network"
        ) from cause


class Backoff:
    """The same pauses, for loops that are more than a call that is repeated."""

    def __init__(self, *, longest: dt.timedelta = LONGEST_DELAY) -> None:
        self._wait = _AtLeastRetryAfter(longest)

    def after(self, attempt: int, error: BaseException | None = None) -> dt.timedelta:
        """Return the pause after an attempt (from 1), and the error that it ended with."""
        state = tenacity.RetryCallState(tenacity.AsyncRetrying(), fn=None, args=(), kwargs={})
        state.attempt_number = attempt
        if error is not None:
            state.set_exception((type(error), error, error.__traceback__))
        return dt.timedelta(seconds=self._wait(state))


def within(time_left: dt.timedelta, pause: dt.timedelta) -> dt.timedelta:
    """Return the pause, or a share of the time left if that is shorter."""
    return min(pause, max(time_left * _LARGEST_SHARE, FIRST_DELAY))


class _AtLeastRetryAfter(tenacity.wait_random_exponential):
    def __init__(
        self, longest: dt.timedelta, *, time_left: Callable[[], dt.timedelta] | None = None
    ) -> None:
        self._time_left = time_left
        super().__init__(multiplier=2 * FIRST_DELAY.total_seconds(), min=FIRST_DELAY, max=longest)

    def __call__(self, retry_state: tenacity.RetryCallState) -> float:
        error, pause = _error_of(retry_state), super().__call__(retry_state)
        if isinstance(error, errors.TemporaryError) and error.retry_after is not None:
            pause = max(pause, error.retry_after.total_seconds())
        if self._time_left is None:
            return pause
        return within(self._time_left(), dt.timedelta(seconds=pause)).total_seconds()


def _error_of(state: tenacity.RetryCallState) -> BaseException | None:
    return None if state.outcome is None else state.outcome.exception()


async def retry_on_conflict(
    write: Callable[[_Object], Awaitable[_Result]],
    seen: _Object,
    *,
    refresh: Callable[[_Object], Awaitable[_Object]],
) -> _Result:
    """Write an object; when somebody else wrote first, read it and write again at once.

    Optimistic concurrency, as client-go's `RetryOnConflict`: a write holds only for the version
    of the object that it was decided on.

    Args:
        write: Looks at the object and writes it, or does not; raises Conflict when it has changed.
        seen: The object as it was last seen.
        refresh: Reads the object as it is now.

    Raises:
        TemporaryError: The object changes faster than it can be written.
    """
    conflicts = 0
    while True:
        try:
            return await write(seen)
        except errors.Conflict as conflict:
            conflicts += 1
            if conflicts == _CONFLICTS_IN_A_ROW:
                raise errors.TemporaryError(
                    f"it changes faster than it can be written: {conflict}"
                ) from conflict
            seen = await refresh(seen)
