"""The program without a queue and without AWS: all that it handles is on the Nodes."""

import datetime as dt
import pathlib
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping

import pytest

from queue_processor.domain import imds_bodies, notices
from queue_processor.domain.events import EventKind
from queue_processor.domain.imds_bodies import InterruptionAction
from queue_processor.domain.notices import Notice
from queue_processor.simulator.kube import api, clock, http, manifests
from queue_processor.simulator.kube.cluster import SimulatedCluster
from tests import operators

INSTANCE = f"i-{7:017x}"


class ClusterSite(operators.Operators):
    """A cluster behind HTTP, and operators as processes that know no queue."""

    def __init__(self, folder: pathlib.Path) -> None:
        super().__init__(folder)
        self.cluster = SimulatedCluster(clock.Delays(exit_seconds=0.5))
        self.http = http.HttpServer(api.SimulatedApiServer(self.cluster))

    def environment(self) -> Mapping[str, str]:
        kubeconfig = self.http.write_kubeconfig(self.folder / "kubeconfig")
        return {
            "KUBECONFIG": str(kubeconfig),
            "QUEUE_PROCESSOR_SOURCES__NOTICES__ENABLED": "true",
        }

    def announce(self) -> None:
        """Write on the node what its watcher would write."""
        ends_at = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=2)
        notice = Notice(
            annotation=notices.annotation_name(EventKind.SPOT_INTERRUPTION),
            instance_id=INSTANCE,
            seen_at=dt.datetime.now(dt.UTC),
            body=imds_bodies.instance_action(InterruptionAction.TERMINATE, ends_at),
        )
        node = self.cluster.store.node("node-7")
        assert node is not None
        annotations = {**node.metadata.get("annotations", {}), notice.annotation: notice.to_json()}
        metadata = {**node.metadata, "annotations": annotations}
        self.cluster.store.update(node, {**node.body, "metadata": metadata})

    def is_settled(self) -> bool:
        node = self.cluster.store.node("node-7")
        assert node is not None
        annotations = node.metadata.get("annotations", {})
        return not any(name.startswith(notices.ANNOTATION_PREFIX) for name in annotations)

    async def close(self) -> None:
        await super().close()
        await self.http.stop()


@pytest.fixture
async def cluster_site(tmp_path: pathlib.Path) -> AsyncIterator[ClusterSite]:
    made = ClusterSite(tmp_path)
    await made.http.start()
    made.cluster.add_node("node-7", instance_id=INSTANCE)
    made.cluster.add_pod("web", node="node-7", spec=manifests.PodSpec())
    yield made
    await made.close()


async def test_a_notice_drains_its_node_without_a_queue_and_without_credentials(
    cluster_site: ClusterSite,
) -> None:
    operator = await cluster_site.start()

    cluster_site.announce()
    await cluster_site.until(cluster_site.is_settled)
    operator.send(signal.SIGTERM)

    assert await operator.ended() == 0
    assert not cluster_site.cluster.store.pods_on("node-7")
    assert operator.logged("outcome")["outcome"] == "done"
    assert operator.logged("stopped")


async def test_a_kill_loses_no_notice(cluster_site: ClusterSite) -> None:
    cluster_site.cluster.add_pod("slow", node="node-7", spec=manifests.PodSpec(exit_seconds=4))
    first = await cluster_site.start()

    cluster_site.announce()
    await cluster_site.until(lambda: len(cluster_site.cluster.history.evictions) == 2)
    await first.kill()
    assert not cluster_site.is_settled()
    await cluster_site.start()
    await cluster_site.until(cluster_site.is_settled)

    assert not cluster_site.cluster.store.pods_on("node-7")
    assert len(cluster_site.cluster.history.evictions) == 2


def test_an_operator_without_a_queue_does_not_import_the_sdk_of_aws() -> None:
    imported = (
        "import sys; from queue_processor.cli import run;"
        " print([name for name in ('boto3', 'botocore') if name in sys.modules])"
    )
    finished = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", imported], capture_output=True, check=True, text=True
    )

    assert finished.stdout == "[]\n"
