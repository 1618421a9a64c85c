"""The watch of nodes as a process: whatever ends it, it begins again, and the work goes on."""

import asyncio
import urllib.request
from collections.abc import Callable

import pytest
from kubernetes.aio.config import kube_config

from queue_processor.adapters.kube import connection as kube
from queue_processor.adapters.kube.api import KubeApi
from queue_processor.adapters.kube.nodes import KubeNodes, NodeReader
from queue_processor.controller.node_index import NodeIndex
from queue_processor.controller.node_refresh import NodeRefresh
from queue_processor.domain import aws_events
from queue_processor.domain.identifiers import InstanceId
from queue_processor.domain.selectors import LabelSelector
from queue_processor.node_watch import NodeWatch
from queue_processor.simulator.aws import events
from queue_processor.simulator.kube import clock, faults, manifests, statuses
from tests.operators import OperatorProcess
from tests.wiring.conftest import Site

NODES = "/api/v1/nodes"
_INDEXED = "queue_processor_nodes_indexed "


def _instance(number: int) -> str:
    return f"i-{number:017x}"


def _send_spot(site: Site, number: int) -> None:
    event = aws_events.spot_interruption(_instance(number), origin=events.new_origin())
    site.aws.put_event(event)


def _answer(status: int) -> Callable[[Site], None]:
    def fail(site: Site) -> None:
        refusal = faults.ErrorResponse(status)
        site.server.faults.add(faults.Fault(refusal, method="GET", path=NODES, times=1))
        site.cluster.drop_watches()

    return fail


def _stream(status: int) -> Callable[[Site], None]:
    def fail(site: Site) -> None:
        site.cluster.fail_watches("nodes", statuses.ApiError(status, "InternalError", "broken"))

    return fail


def _expire(site: Site) -> None:
    site.cluster.drop_watches()
    site.cluster.compact()


FAILURES = {
    "401": _answer(401),
    "400": _answer(400),
    "410": _answer(410),
    "ERROR 500": _stream(500),
    "ERROR 410": _expire,
}


def _outcomes(operator: OperatorProcess) -> list[str]:
    return [line["outcome"] for line in operator.lines() if line["event"] == "outcome"]


def _nodes_indexed(operator: OperatorProcess) -> str:
    """How many nodes the operator has in its index."""
    url = f"http://127.0.0.1:{operator.logged('http_listening')['port']}/metrics"
    with urllib.request.urlopen(url, timeout=5) as answer:
        text: str = answer.read().decode()
    return next(line for line in text.splitlines() if line.startswith(_INDEXED)).split()[1]


@pytest.mark.parametrize("fail", FAILURES.values(), ids=FAILURES)
async def test_a_watch_that_fails_begins_again_and_the_drain_goes_on(
    site: Site, fail: Callable[[Site], None]
) -> None:
    for number in range(4):
        site.cluster.add_node(f"node-{number}", instance_id=_instance(number))
    site.cluster.add_pod("slow", node="node-0", spec=manifests.PodSpec(exit_seconds=3))
    operator = await site.start()
    await site.until(lambda: bool(operator.logged("leadership_acquired")))
    await site.until(lambda: site.cluster.hub.count > 0)

    _send_spot(site, 0)
    await site.until(lambda: bool(site.cluster.history.evictions))
    fail(site)
    site.cluster.remove_node("node-1")
    site.cluster.remove_node("node-2")
    site.cluster.add_node("joined", instance_id=_instance(9))
    _send_spot(site, 9)
    await site.until(lambda: site.is_cordoned("joined"))
    await site.until(lambda: _nodes_indexed(operator) == "3.0")
    await site.until(lambda: _outcomes(operator) == ["done", "done"])

    assert len(site.cluster.history.evictions) == 1
    assert not site.cluster.store.pods_on("node-0")
    assert site.is_settled()


async def test_what_ended_the_watch_is_in_the_log_without_a_traceback(site: Site) -> None:
    operator = await site.start()
    await site.until(lambda: site.cluster.hub.count > 0)
    _stream(500)(site)
    await site.until(lambda: bool(operator.logged("node_watch_restarted")))

    assert "broken" in operator.logged("node_watch_restarted")["cause"]
    assert not [line for line in operator.lines() if "exception" in line]


async def test_a_watch_that_begins_again_leaves_no_tasks_behind(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.cluster.add_node("node-0", instance_id=_instance(0))
    monkeypatch.setattr(
        kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", site.environment()["KUBECONFIG"]
    )
    reader, index = NodeReader(LabelSelector()), NodeIndex()
    connection = await kube.connect()
    nodes = KubeNodes(KubeApi(connection.transport), reader=reader, clock=clock.utc_now)
    refresh = NodeRefresh(index, nodes.all)
    watch = NodeWatch(
        connection, reader=reader, node_index=index, node_refresh=refresh, identity="test"
    )
    starts: list[int] = []
    running = [
        asyncio.create_task(refresh.run()),
        asyncio.create_task(watch.run(on_start=lambda: starts.append(1))),
    ]
    counts = []
    for number in range(1, 4):
        name = f"late-{number}"
        site.cluster.add_node(name, instance_id=_instance(number))
        await index.until(InstanceId(_instance(number)), lambda node: node is not None)
        await asyncio.sleep(0.3)
        counts.append(len(asyncio.all_tasks()))
        _stream(500)(site)
        await site.until(lambda: site.cluster.hub.count == 0)
        await site.until(lambda: site.cluster.hub.count == 1)
    for task in running:
        task.cancel()
    await asyncio.wait(running)
    await connection.close()

    assert len(starts) >= 3
    assert max(counts) - min(counts) <= 2
