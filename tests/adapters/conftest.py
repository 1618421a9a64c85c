import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TypeAlias

import pytest

from queue_processor.simulator.aws import simulator
from tests.adapters import scripted
from tests.contracts import queues

Listen: TypeAlias = Callable[..., Awaitable[scripted.Server]]


@pytest.fixture
async def listen() -> AsyncIterator[Listen]:
    """Starts scripted servers; they end with the test."""
    async with contextlib.AsyncExitStack() as servers:

        async def start(
            answer: bytes, ending: scripted.Ending = scripted.Ending.CLOSE
        ) -> scripted.Server:
            return await servers.enter_async_context(scripted.Server(answer, ending).listening())

        yield start


@pytest.fixture(scope="module")
def running() -> Iterator[simulator.AwsSimulator]:
    with simulator.AwsSimulator() as aws:
        yield aws


@pytest.fixture
async def shell(running: simulator.AwsSimulator) -> AsyncIterator[queues.HttpShell]:
    """A queue on the simulated AWS, not opened yet."""
    made = queues.HttpShell(running)
    yield made
    await made.close()
    running.reset()
