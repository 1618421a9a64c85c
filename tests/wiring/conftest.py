import pathlib
from collections.abc import AsyncIterator, Iterator, Mapping

import pytest

from queue_processor.simulator.aws import simulator, stacks
from queue_processor.simulator.kube import api, clock, http, resources
from queue_processor.simulator.kube.cluster import SimulatedCluster
from tests import operators


class Site(operators.Operators):
    """A cluster behind HTTP, AWS behind HTTP, and operators as processes."""

    def __init__(
        self, aws: simulator.AwsSimulator, stack: stacks.Stack, folder: pathlib.Path
    ) -> None:
        super().__init__(folder)
        self.aws = aws
        self.stack = stack
        self.cluster = SimulatedCluster(clock.Delays(exit_seconds=0.5))
        self.server = api.SimulatedApiServer(self.cluster)
        self.http = http.HttpServer(self.server)

    def environment(self) -> Mapping[str, str]:
        """The variables of an operator that works here."""
        kubeconfig = self.http.write_kubeconfig(self.folder / "kubeconfig")
        return {
            **self.aws.environment(),
            "KUBECONFIG": str(kubeconfig),
            "QUEUE_PROCESSOR_QUEUE_URL": self.stack.queue_url,
        }

    def holder(self) -> str:
        """The holder of the Lease."""
        leases = list(self.cluster.store.every(resources.LEASES))
        return next((lease.spec.get("holderIdentity") or "" for lease in leases), "")

    def is_cordoned(self, name: str) -> bool:
        """True if a node is unschedulable."""
        node = self.cluster.store.node(name)
        return node is not None and bool(node.spec.get("unschedulable"))

    def is_settled(self) -> bool:
        """True if the queue is empty."""
        return self.aws.queue_state(self.stack.queue_url).total == 0

    async def close(self) -> None:
        """End everything."""
        await super().close()
        await self.http.stop()


@pytest.fixture(scope="module")
def aws() -> Iterator[simulator.AwsSimulator]:
    with simulator.AwsSimulator() as started:
        yield started


@pytest.fixture
async def site(aws: simulator.AwsSimulator, tmp_path: pathlib.Path) -> AsyncIterator[Site]:
    """A fresh cluster and a fresh queue."""
    aws.reset()
    made = Site(aws, aws.deploy(), tmp_path)
    await made.http.start()
    yield made
    await made.close()
