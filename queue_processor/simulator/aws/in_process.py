"""SQS inside an event loop, without sockets and threads: for tests in virtual time.

The client looks like the one of boto3 and answers at once. Only a long poll has to wait, which a
blocking call cannot do on the thread of the loop. So a receive that finds nothing raises; the
executor that made the call waits on the loop's clock and calls again.
"""

import asyncio
import concurrent.futures
import contextvars
import datetime as dt
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ParamSpec, TypeVar

import botocore.exceptions

from queue_processor.simulator.aws import sqs
from queue_processor.simulator.aws.checks import SqsError

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")

# Shorter than its resolution, a virtual clock stands still.
_LEAST_WAIT_SECONDS = 0.001
_ends_at: contextvars.ContextVar[float | None] = contextvars.ContextVar("ends_at", default=None)


class _NothingYetError(Exception):
    """A receive has to wait.

    Attributes:
        available_at: When a message becomes visible by itself.
        ends_at: When the wait is over.
    """

    def __init__(self, *, available_at: float, ends_at: float) -> None:
        super().__init__("A long poll needs an executor of the same event loop.")
        self.available_at = available_at
        self.ends_at = ends_at


class InProcessSqs:
    """The queues and their waiters, in one event loop."""

    def __init__(self, clock: Callable[[], dt.datetime]) -> None:
        self._clock = clock
        self._changed = asyncio.Event()
        self.service = sqs.SimulatedSqs()

    def now(self) -> float:
        """Return the present in seconds since the epoch."""
        return self._clock().timestamp()

    def call(self, action: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Answer one request.

        Raises:
            ClientError: SQS refuses the request.
        """
        now = self.now()
        try:
            answer = self.service.call(action, parameters, now)
            if action == "ReceiveMessage" and not answer:
                ends_at = _ends_at.get()
                if ends_at is None:
                    ends_at = now + self.service.wait_seconds(parameters)
                if now < ends_at:
                    available_at = self.service.queue(parameters).next_available_at
                    raise _NothingYetError(available_at=available_at, ends_at=ends_at)
        except SqsError as error:
            raise botocore.exceptions.ClientError(
                {
                    "Error": {"Code": error.query_code, "Message": error.message},
                },
                action,
            ) from error
        self.wake()
        return answer

    def wake(self) -> None:
        """Let every long poll look again."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait(self, until: float) -> None:
        """Wait until something changed, or until a moment has come."""
        changed = self._changed
        try:
            async with asyncio.timeout(max(until - self.now(), _LEAST_WAIT_SECONDS)):
                await changed.wait()
        except TimeoutError:
            pass


class InProcessClient:
    """The part of boto3's SQS client that the program uses."""

    def __init__(self, sqs_: InProcessSqs) -> None:
        self._sqs = sqs_

    def __getattr__(self, name: str) -> Callable[..., dict[str, Any]]:
        action = "".join(word.title() for word in name.split("_"))
        return lambda **parameters: self._call(action, parameters)

    def _call(self, action: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        return self._sqs.call(action, parameters)


class LoopExecutor(concurrent.futures.Executor):
    """Runs the calls of an `InProcessClient` as tasks of the event loop, like a pool of threads."""

    def __init__(
        self,
        sqs_: InProcessSqs,
        threads: int,
        *,
        before: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Build the executor.

        Args:
            sqs_: Where the calls go.
            threads: How many calls run at a time.
            before: What each call waits for, such as the way to AWS.
        """
        self._sqs = sqs_
        self._free = asyncio.Semaphore(threads)
        self._before = before
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(
        self,
        fn: Callable[_Parameters, _Result],
        /,
        *args: _Parameters.args,
        **kwargs: _Parameters.kwargs,
    ) -> concurrent.futures.Future[_Result]:
        """Call a function soon."""
        future: concurrent.futures.Future[_Result] = concurrent.futures.Future()
        running = self._run(future, lambda: fn(*args, **kwargs))
        task = asyncio.get_running_loop().create_task(running)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return future

    async def _run(
        self, future: concurrent.futures.Future[_Result], call: Callable[[], _Result]
    ) -> None:
        async with self._free:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = await self._repeat(call)
            except Exception as error:  # noqa: BLE001 - it is raised where it is awaited
                future.set_exception(error)
            else:
                future.set_result(result)

    async def _repeat(self, call: Callable[[], _Result]) -> _Result:
        while True:
            if self._before is not None:
                await self._before()
            try:
                return call()
            except _NothingYetError as nothing:
                _ends_at.set(nothing.ends_at)
                await self._sqs.wait(min(nothing.available_at, nothing.ends_at))
