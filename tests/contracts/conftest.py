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
    params=[pytest.param("fake", marks=pytest.mark.looptime), pytest.param("sqs", id="sqs")]
)
async def mail(request: pytest.FixtureRequest) -> AsyncIterator[queues.Mail]:
    """A queue with a dead-letter queue, in each implementation."""
    if request.param == "fake":
        with looptime.enabled(strict=True):
            fake = queues.FakeMail()
        yield fake
        return
    real = queues.SqsMail(request.getfixturevalue("aws"))
    await real.open()
    yield real
    await real.close()


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
