import asyncio
import datetime as dt

import pytest

from queue_processor.domain import errors
from queue_processor.retrying import Backoff, retry_on_conflict, retrying, within

pytestmark = pytest.mark.looptime


class Call:
    """A call that always fails, and is counted."""

    def __init__(self, error: Exception) -> None:
        self.count = 0
        self._error = error

    async def repeated(self, *, attempts: int) -> None:
        async for attempt in retrying(attempts=attempts):
            with attempt:
                self.count += 1
                raise self._error


@pytest.mark.parametrize(("attempt", "longest"), [(1, 0.4), (2, 0.8), (5, 5), (10_000, 5)])
def test_pauses_double_up_to_a_cap(attempt: int, longest: float) -> None:
    pauses = [Backoff().after(attempt).total_seconds() for _ in range(100)]

    assert min(pauses) >= 0.2
    assert longest / 2 < max(pauses) <= longest


def test_a_pause_is_never_shorter_than_the_server_asked_for() -> None:
    busy = errors.TemporaryError("busy", retry_after=dt.timedelta(seconds=60))

    assert Backoff().after(1, busy) == dt.timedelta(seconds=60)
    assert Backoff().after(1, errors.PermanentError("refused")) < dt.timedelta(seconds=1)


@pytest.mark.parametrize(
    ("time_left", "pause"), [(3600, 300), (100, 25), (0.4, 0.2), (0, 0.2), (-60, 0.2)]
)
def test_a_pause_takes_a_quarter_of_the_time_left_at_most(time_left: float, pause: float) -> None:
    asked_for = dt.timedelta(seconds=300)

    assert within(dt.timedelta(seconds=time_left), asked_for) == dt.timedelta(seconds=pause)


async def test_a_call_is_repeated_no_more_often_than_is_allowed() -> None:
    began = asyncio.get_running_loop().time()
    call = Call(errors.TemporaryError("busy", retry_after=dt.timedelta(seconds=7)))
    with pytest.raises(errors.TemporaryError, match="busy"):
        await call.repeated(attempts=3)

    assert call.count == 3
    assert asyncio.get_running_loop().time() - began == pytest.approx(14)


async def test_an_error_that_is_worth_no_other_try_is_raised_at_once() -> None:
    call = Call(errors.PermanentError("refused"))
    with pytest.raises(errors.PermanentError):
        await call.repeated(attempts=3)

    assert call.count == 1


async def test_a_write_is_repeated_on_what_the_object_has_become() -> None:
    async def write(version: int) -> str:
        if version < 3:
            raise errors.Conflict(f"not {version}")
        return f"wrote {version}"

    async def refresh(version: int) -> int:
        return version + 1

    assert await retry_on_conflict(write, 1, refresh=refresh) == "wrote 3"


async def test_an_object_that_changes_on_and_on_is_an_error_that_passes() -> None:
    async def write(version: int) -> None:
        raise errors.Conflict(f"not {version}")

    async def refresh(version: int) -> int:
        return version + 1

    with pytest.raises(errors.TemporaryError, match="not 20"):
        await retry_on_conflict(write, 1, refresh=refresh)
