"""All requests of the program to the API server, through its own adapters."""

import asyncio
import dataclasses
import datetime as dt
import functools
from typing import Protocol

from queue_processor import node_watch
from queue_processor.adapters.kube import connection as kube
from queue_processor.adapters.kube.api import KubeApi
from queue_processor.adapters.kube.event_recorder import KubeEventRecorder
from queue_processor.adapters.kube.leases import KubeLeases
from queue_processor.adapters.kube.nodes import KubeNodes, NodeReader
from queue_processor.adapters.kube.pods import KubePods
from queue_processor.adapters.kube.volumes import KubeVolumes
from queue_processor.controller import node_cordon, node_index, node_refresh
from queue_processor.domain import events, leases, nodes, selectors
from queue_processor.domain.deadlines import Deadline
from queue_processor.domain.holds import Hold
from queue_processor.domain.identifiers import InstanceId, NodeName
from queue_processor.domain.plan import Action
from queue_processor.observability import event_reasons
from queue_processor.retrying import retry_on_conflict
from queue_processor.settings import groups

NODE = NodeName("a")
DEAD_NODE = NodeName("b")
LATE_NODE = NodeName("c")
INSTANCE = InstanceId("i-0aaaaaaaaaaaaaaaa")
DEAD_INSTANCE = InstanceId("i-0bbbbbbbbbbbbbbbb")
LATE_INSTANCE = InstanceId("i-0cccccccccccccccc")
LEASE_NAMESPACE = "queue-processor"
# A watch that is not granted is waited for as long.
_LIMIT = dt.timedelta(seconds=15)


class Stage(Protocol):
    """A cluster with NODE, which has two pods and an attached volume, and with DEAD_NODE."""

    async def add_late_node(self) -> None:
        """Let LATE_NODE join."""

    async def detach(self) -> None:
        """Detach the volume of NODE once the program waits for it."""

    async def reasons(self) -> set[str]:
        """The reasons of all Events."""


async def exercise(connection: kube.Connection, stage: Stage) -> None:
    """Ask for everything once; it comes out as it should, or raises.

    Args:
        connection: As the program connects; it is closed afterwards.
        stage: What happens in the cluster meanwhile.
    """
    api = KubeApi(connection.transport)
    reader = NodeReader(selectors.LabelSelector())
    try:
        await _use_leases(api)
        await _use_nodes(api, reader)
        await _use_narrator(api, reader, stage)
        async with asyncio.TaskGroup() as group:
            # It sees the volume attached, and its end when the pods are gone.
            detached = KubeVolumes(api).await_detached(NODE, staying={("default", "other")})
            group.create_task(detached)
            group.create_task(_use_pods(api))
            group.create_task(stage.detach())
        await _use_index(connection, reader, stage)
    finally:
        await connection.close()


async def _use_leases(api: KubeApi) -> None:
    name = groups.LeaderElectionSettings().lease_name
    adapter = KubeLeases(api, namespace=LEASE_NAMESPACE, name=name)
    assert await adapter.read() is None
    lease = leases.Lease(
        holder="a",
        duration=dt.timedelta(seconds=15),
        acquired_at=_utc_now(),
        renewed_at=_utc_now(),
        transitions=0,
        resource_version=None,
    )
    created = await adapter.write(lease)
    await adapter.write(dataclasses.replace(created, holder=""))


async def _use_nodes(api: KubeApi, reader: NodeReader) -> None:
    adapter = KubeNodes(api, reader=reader, clock=_utc_now)
    assert {node.name async for node in adapter.all()} == {NODE, DEAD_NODE}
    node = await adapter.read(NODE)
    assert node is not None
    hold = Hold(
        id="1",
        event_id="1",
        kind=events.EventKind.SPOT_INTERRUPTION,
        action=Action.CORDON_AND_DRAIN,
        occurred_at=_utc_now(),
        since=_utc_now(),
        deadline=Deadline(at=_utc_now(), is_hard=True),
    )
    effect = nodes.TaintEffect.NO_SCHEDULE
    mark = nodes.Mark(holds=(hold,), ruling=hold, effect=effect)
    no_mark = nodes.Mark(holds=(), ruling=None, effect=effect)
    # The control plane writes to nodes at the same time.
    refresh = functools.partial(node_cordon.refresh, adapter)
    node = await retry_on_conflict(
        lambda current: adapter.mark(current, mark), node, refresh=refresh
    )
    await retry_on_conflict(lambda current: adapter.mark(current, no_mark), node, refresh=refresh)
    await adapter.report(node, nodes.DrainProgress.DRAINED, "0 of 2 pods left", since=_utc_now())
    dead = await adapter.read(DEAD_NODE)
    assert dead is not None
    await retry_on_conflict(adapter.declare_out_of_service, dead, refresh=refresh)


async def _use_narrator(api: KubeApi, reader: NodeReader, stage: Stage) -> None:
    event_recorder = KubeEventRecorder(api, identity="a", clock=_utc_now)
    node = await KubeNodes(api, reader=reader, clock=_utc_now).read(NODE)
    assert node is not None
    (pod, *_) = (await KubePods(api).on_node(NODE)).pods
    running = asyncio.create_task(event_recorder.run())
    event_recorder.node_event(node, event_reasons.DRAINED, "0 of 2 pods left")
    event_recorder.pod_event(pod.ref, event_reasons.DELETED_AT_DEADLINE, "its budget blocked it")
    await event_recorder.flush()
    running.cancel()
    await asyncio.wait((running,))
    assert await stage.reasons() >= {"Drained", "DeletedAtDeadline"}


async def _use_pods(api: KubeApi) -> None:
    adapter = KubePods(api)
    listed = await adapter.on_node(NODE)
    evicted, deleted = listed.pods
    gone = set()
    async with adapter.watch(listed.version) as changes:
        await adapter.evict(evicted.ref)
        await adapter.delete(deleted.ref, dt.timedelta(seconds=1))
        async for change in changes:
            if change.is_gone and change.pod is not None:
                gone.add(change.pod.ref)
            if len(gone) == len(listed.pods):
                break
    assert gone == {evicted.ref, deleted.ref}


async def _use_index(connection: kube.Connection, reader: NodeReader, stage: Stage) -> None:
    """Run kopf as the program does, until the index has the listed and the joined nodes."""
    index = node_index.NodeIndex()
    refresh = node_refresh.NodeRefresh(
        index, KubeNodes(KubeApi(connection.transport), reader=reader, clock=_utc_now).all
    )
    watch = node_watch.NodeWatch(
        connection, reader=reader, node_index=index, node_refresh=refresh, identity="uses"
    )
    starts: list[str] = []
    watching = watch.run(on_start=lambda: starts.append("a start"))
    # Without `refresh.run()`: a list would show what the watch has to.
    running = asyncio.create_task(watching)
    try:
        assert await index.until(INSTANCE, lambda found: found is not None, limit=_LIMIT)
        # The list is over, so this one comes by the watch.
        await stage.add_late_node()
        assert await index.until(LATE_INSTANCE, lambda found: found is not None, limit=_LIMIT)
        # Else it came by another list, since the watch was refused.
        assert len(starts) == 1
    finally:
        running.cancel()
        await asyncio.wait((running,), timeout=10)


def _utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
