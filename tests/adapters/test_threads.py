"""DaemonExecutor: results and faults come back, and nobody waits for its threads at exit."""

import asyncio
import subprocess
import sys
import threading
import time

import pytest

from queue_processor.adapters.aws.clients import DaemonExecutor

PROGRAM = """
import threading, time
from queue_processor.adapters.aws.clients import DaemonExecutor

began = threading.Event()

def wait():
    began.set()
    time.sleep(60)

DaemonExecutor(1, name="poll").submit(wait)
began.wait()
print("the end")
"""


def test_a_call_that_lasts_does_not_keep_the_interpreter_alive() -> None:
    began = time.monotonic()
    ended = subprocess.run(  # noqa: S603 - the program is above
        [sys.executable, "-c", PROGRAM], capture_output=True, timeout=30, check=True
    )

    assert ended.stdout == b"the end\n"
    assert time.monotonic() - began < 20


async def test_results_and_faults_come_back_to_the_loop() -> None:
    executor, loop = DaemonExecutor(2, name="work"), asyncio.get_running_loop()
    assert await loop.run_in_executor(executor, max, 1, 2) == 2
    with pytest.raises(ZeroDivisionError):
        await loop.run_in_executor(executor, divmod, 1, 0)

    assert await loop.run_in_executor(executor, threading.current_thread) in threading.enumerate()


async def test_calls_run_in_as_many_threads_as_there_are_and_in_turn() -> None:
    executor, loop = DaemonExecutor(2, name="work"), asyncio.get_running_loop()
    together = threading.Barrier(2)

    def meet() -> str:
        together.wait(5)
        return threading.current_thread().name

    names = await asyncio.gather(*(loop.run_in_executor(executor, meet) for _ in range(4)))

    assert set(names) == {"work-0", "work-1"}


def test_a_call_that_is_cancelled_before_its_turn_is_not_made() -> None:
    executor = DaemonExecutor(1, name="work")
    release, made = threading.Event(), threading.Event()
    first = executor.submit(release.wait, 5)
    second = executor.submit(made.set)
    assert second.cancel()
    release.set()

    assert first.result(5)
    assert executor.submit(made.is_set).result(5) is False
