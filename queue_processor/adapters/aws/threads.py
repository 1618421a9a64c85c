"""The one door for blocking calls: daemon threads, which the end of the process ends."""

import concurrent.futures
import queue
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


class DaemonExecutor(concurrent.futures.Executor):
    """A thread pool that the interpreter does not wait for when it exits.

    The standard pool joins its threads at exit, so a long poll would hold a stopping
    process for as long as it lasts.
    """

    def __init__(self, threads: int, *, name: str) -> None:
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        for number in range(threads):
            threading.Thread(target=self._run, name=f"{name}-{number}", daemon=True).start()

    def submit(
        self,
        fn: Callable[_Parameters, _Result],
        /,
        *args: _Parameters.args,
        **kwargs: _Parameters.kwargs,
    ) -> concurrent.futures.Future[_Result]:
        """Call a function in one of the threads."""
        future: concurrent.futures.Future[_Result] = concurrent.futures.Future()

        def call() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - it is raised where it is awaited
                future.set_exception(error)
            else:
                future.set_result(result)

        self._work.put(call)
        return future

    def _run(self) -> None:
        while True:
            self._work.get()()
