import pathlib
from collections.abc import Iterator

import pytest

from queue_processor.simulator.aws import simulator
from tests import pyenvironments
from tests.infra import ministack


@pytest.fixture(scope="module")
def aws() -> Iterator[simulator.AwsSimulator]:
    with simulator.AwsSimulator() as running:
        yield running


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ministack.Ministack]:
    """One ministack for all tests; each test names its own stacks."""
    python = pyenvironments.python_of(pathlib.Path(__file__).with_name("ministack.lock"))
    with ministack.running(python, tmp_path_factory.mktemp("ministack")) as started:
        yield started
