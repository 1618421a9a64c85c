from collections.abc import AsyncIterator, Iterator

import looptime
import pytest

from queue_processor.simulator.aws import simulator
from tests.contracts import lifecycles, queues


@pytest.fixture(scope="module")
def running() -> Iterator[simulator.AwsSimulator]:
    with simulator.AwsSimulator() as aws:
        yield aws


@pytest.fixture
def aws(running: simulator.AwsSimulator) -> Iterator[simulator.AwsSimulator]:
    """AWS without anything in it."""
    yield running
    running.reset()


@pytest.fixture(
    params=[pytest.param("in-process", marks=pytest.mark.looptime), pytest.param("http")]
)
async def shell(request: pytest.FixtureRequest) -> AsyncIterator[queues.SqsShell]:
    """A queue with a dead-letter queue, in each shell of the simulated SQS."""
    if request.param == "in-process":
        with looptime.enabled(strict=True):
            shell = queues.InProcessShell()
            await shell.open()
        yield shell
        return
    http = queues.HttpShell(request.getfixturevalue("aws"))
    await http.open()
    yield http
    await http.close()


@pytest.fixture(
    params=[pytest.param("fake", marks=pytest.mark.looptime), pytest.param("autoscaling")]
)
async def group(request: pytest.FixtureRequest) -> AsyncIterator[lifecycles.Group]:
    """A group with a lifecycle hook, in each implementation."""
    if request.param == "fake":
        with looptime.enabled(strict=True):
            fake = lifecycles.FakeGroup()
        yield fake
        return
    real = lifecycles.SimulatedGroup(request.getfixturevalue("aws"))
    yield real
    real.close()
