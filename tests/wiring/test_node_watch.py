"""The watch of nodes as a process: whatever ends it, it begins again, and the work goes on."""

import asyncio
import urllib.request
from collections.abc import AsyncIterator, Callable

import pytest
from kubernetes.aio.config import kube_config

from queue_processor import handlers
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
    "410": _answer(410),
    "ERROR 500": _stream(500),
    "ERROR 410": _expire,
}


def _outcomes(operator: OperatorProcess) -> list[str]:
    return [line["outcome"] for line in operator.lines() if line["event"] == "outcome"]


def _nodes_indexed(operator: OperatorProcess) -> str:
    """The number of nodes in the operator's index."""
    url = f"http://127.0.0.1:{operator.logged('http_listening')['port']}/metrics"
    with urllib.request.urlopen(url, timeout=60) as answer:
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


class Watching:
    """A watch of nodes in this process, and the index that it feeds."""

    def __init__(self, site: Site, connection: kube.Connection) -> None:
        self._site = site
        self._connection = connection
        reader = NodeReader(LabelSelector())
        nodes = KubeNodes(KubeApi(connection.transport), reader=reader, clock=clock.utc_now)
        self.index = NodeIndex()
        self.refresh = NodeRefresh(self.index, nodes.all)
        self.starts = 0
        self._watch = NodeWatch(
            connection,
            reader=reader,
            node_index=self.index,
            node_refresh=self.refresh,
            identity="test",
        )
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self.refresh.run()),
            asyncio.create_task(self._watch.run(on_start=self._count)),
        ]

    def _count(self) -> None:
        self.starts += 1

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        await self._connection.close()

    async def see(self, number: int) -> None:
        """Add a node, and wait until it is in the index."""
        self._site.cluster.add_node(f"late-{number}", instance_id=_instance(number))
        async with asyncio.timeout(15):
            await self.index.until(InstanceId(_instance(number)), lambda node: node is not None)


@pytest.fixture
async def watching(site: Site, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watching]:
    path = site.environment()["KUBECONFIG"]
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", path)
    made = Watching(site, await kube.connect())
    yield made
    await made.close()


async def _until_watched(site: Site) -> None:
    await site.until(lambda: site.cluster.hub.count == 1)


async def test_a_watch_that_begins_again_leaves_no_tasks_behind(
    site: Site, watching: Watching
) -> None:
    watching.start()
    counts = []
    for number in range(3):
        await watching.see(number)
        await asyncio.sleep(0.3)
        counts.append(len(asyncio.all_tasks()))
        _stream(500)(site)
        await site.until(lambda: site.cluster.hub.count == 0)
        await _until_watched(site)

    assert watching.starts >= 3
    assert max(counts) - min(counts) <= 2


async def test_a_task_that_began_after_the_watch_outlives_it(
    site: Site, watching: Watching
) -> None:
    watching.start()
    await _until_watched(site)
    working = asyncio.create_task(asyncio.Event().wait())
    _stream(500)(site)
    await site.until(lambda: watching.starts == 2)
    await _until_watched(site)

    assert not working.done()
    working.cancel()


async def test_a_watch_on_a_connection_that_is_silently_dead_is_opened_anew(
    site: Site, watching: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = handlers.settings()
    assert settings.watching.server_timeout is not None
    # Else we would cut each watch of a quiet cluster.
    assert settings.watching.inactivity_timeout > settings.watching.server_timeout
    settings.watching.inactivity_timeout = 1.5
    monkeypatch.setattr(handlers, "settings", lambda: settings)
    watching.start()
    await watching.see(0)
    site.server.faults.add(faults.Fault(faults.Hang(), method="GET", path=NODES, seconds=1))
    site.cluster.drop_watches()
    await asyncio.sleep(1)
    assert site.cluster.hub.count == 0

    await watching.see(1)
    assert watching.starts == 1


async def test_a_server_that_keeps_refusing_the_token_is_not_flooded(
    site: Site, watching: Watching
) -> None:
    refusal = faults.ErrorResponse(401)
    site.server.faults.add(faults.Fault(refusal, method="GET", path="/api.*", seconds=4))
    watching.start()
    await asyncio.sleep(4)
    requests = sum(site.cluster.history.requests.values())
    await watching.see(0)

    assert requests < 20
    assert watching.starts == 1


async def test_a_server_that_asks_for_a_pause_of_a_day_does_not_end_the_watch_for_so_long(
    site: Site, watching: Watching
) -> None:
    busy = faults.ErrorResponse(429, "TooManyRequests", "busy", retry_after=86_400)
    site.server.faults.add(faults.Fault(busy, method="GET", path=NODES, seconds=1))
    watching.start()
    await asyncio.sleep(1)

    await watching.see(0)
