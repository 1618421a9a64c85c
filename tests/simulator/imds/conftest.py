"""A server of instance metadata on a port of this machine, in a thread of its own."""

import asyncio
import contextlib
import datetime as dt
import threading
from collections.abc import Iterator

import pytest

from queue_processor.domain.identifiers import InstanceId, NodeName
from queue_processor.simulator.imds.control import ControlApi
from queue_processor.simulator.imds.fleet import MetadataFleet
from queue_processor.simulator.imds.http import MetadataServer
from queue_processor.simulator.imds.instances import SimulatedInstance
from queue_processor.simulator.imds.service import MetadataService, TokenPolicy

NODE = NodeName("ip-10-0-1-7.ec2.internal")
INSTANCE = InstanceId("i-00000000000000007")


class RunningSimulator:
    """Attributes: the URL of the server, and the lines that it prints."""

    def __init__(
        self, fleet: MetadataFleet, *, policy: TokenPolicy, hop_limit: int | None = None
    ) -> None:
        self.lines: list[str] = []
        self.fleet = fleet
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.server = MetadataServer(
            MetadataService(fleet, token_policy=policy),
            ControlApi(fleet, now=lambda: dt.datetime.now(dt.UTC), on_announced=self.lines.append),
            hop_limit=hop_limit,
        )
        self.url = ""

    @property
    def node_url(self) -> str:
        """Return the URL that a handler on the node is pointed at."""
        return f"{self.url}/nodes/{NODE}"

    def start(self) -> None:
        self._thread.start()
        starting = self.server.start("127.0.0.1", 0)
        port = asyncio.run_coroutine_threadsafe(starting, self._loop).result(timeout=60)
        self.url = f"http://127.0.0.1:{port}"

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self.server.stop(), self._loop).result(timeout=60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def fleet_of_one() -> MetadataFleet:
    return MetadataFleet(
        [
            SimulatedInstance(
                node=NODE,
                instance_id=INSTANCE,
                private_ip="10.0.1.7",
                hostname=NODE,
                region="eu-west-1",
                zone="eu-west-1b",
            )
        ]
    )


@contextlib.contextmanager
def running(
    fleet: MetadataFleet | None = None,
    *,
    policy: TokenPolicy = TokenPolicy.OPTIONAL,
    hop_limit: int | None = None,
) -> Iterator[RunningSimulator]:
    made = RunningSimulator(fleet or fleet_of_one(), policy=policy, hop_limit=hop_limit)
    made.start()
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def imds() -> Iterator[RunningSimulator]:
    with running() as made:
        yield made
