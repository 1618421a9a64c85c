"""The roles grant what the program asks of the API server, and nothing else."""

import asyncio
import contextlib
import dataclasses
import datetime as dt
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, TypeAlias

import kopf
import pytest
from kubernetes.aio import client

from queue_processor import handlers, settings
from queue_processor.adapters.kube import connection as kube
from queue_processor.adapters.kube.api import KubeApi
from queue_processor.adapters.kube.leases import KubeLeases
from queue_processor.adapters.kube.narrator import KubeNarrator
from queue_processor.adapters.kube.nodes import KubeNodes, NodeReader
from queue_processor.adapters.kube.pods import KubePods
from queue_processor.adapters.kube.volumes import KubeVolumes
from queue_processor.controller import directory, ports
from queue_processor.domain import events, leases, nodes, selectors
from queue_processor.domain.identifiers import InstanceId, NodeName
from queue_processor.simulator.kube import (
    api,
    history,
    http,
    listing,
    manifests,
    routing,
    world,
)
from queue_processor.simulator.kube import settings as simulation

Manifest: TypeAlias = Mapping[str, dict[str, Any]]

NODE = NodeName("a")
DEAD_NODE = NodeName("b")
INSTANCE = InstanceId("i-0aaaaaaaaaaaaaaaa")
DEAD_INSTANCE = InstanceId("i-0bbbbbbbbbbbbbbbb")
NAMESPACE = "queue-processor"

# What the ClusterRole system:discovery lets every authenticated account read.
# https://kubernetes.io/docs/reference/access-authn-authz/rbac/#discovery-roles
DISCOVERY = ("/api", "/apis", "/healthz", "/livez", "/openapi", "/readyz", "/version")


@dataclasses.dataclass(frozen=True, slots=True)
class Access:
    """A verb on a resource, asked or granted; an empty namespace or name stands for all."""

    verb: str
    group: str
    resource: str
    namespace: str = ""
    name: str = ""

    def covers(self, asked: "Access") -> bool:
        """Whether this grant lets a request through."""
        return (
            (self.verb, self.group, self.resource) == (asked.verb, asked.group, asked.resource)
            and self.namespace in {"", asked.namespace}
            and self.name in {"", asked.name}
        )


class RecordingServer(api.ApiServer):
    """Remembers what it was asked, with the groups and names that access rules go by."""

    def __init__(self, cluster: world.Cluster) -> None:
        super().__init__(cluster)
        self.asked: set[Access] = set()
        self.other_paths: set[str] = set()

    async def handle(self, request: api.ApiRequest) -> api.ApiResponse:
        """Remember a request, then answer it."""
        target = routing.parse_path(request.path)
        if target is None:
            self.other_paths.add(request.path)
        else:
            watching = listing.is_watch(request.query)
            steps = (target.resource.plural, target.subresource)
            self.asked.add(
                Access(
                    verb=routing.verb_of(request.method, target, watching=watching),
                    group=target.resource.group,
                    resource="/".join(step for step in steps if step),
                    namespace=target.namespace,
                    name=target.name,
                )
            )
        return await super().handle(request)


def utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


@contextlib.asynccontextmanager
async def kopf_running(
    connection: kube.Connection, reader: NodeReader, index: directory.NodeDirectory
) -> AsyncIterator[None]:
    """Run kopf just as the program does."""
    stop = asyncio.Event()
    running = asyncio.create_task(
        kopf.operator(
            registry=handlers.registry(connection, reader=reader, directory=index),
            settings=handlers.settings(),
            memo=handlers.Shared(),
            clusterwide=True,
            standalone=True,
            stop_flag=stop,
        )
    )
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(running, 10)


async def use_nodes(kube_api: KubeApi, reader: NodeReader) -> None:
    adapter = KubeNodes(kube_api, reader=reader, clock=utc_now)
    assert {node.name async for node in adapter.all()} == {NODE, DEAD_NODE}
    node = await adapter.read(NODE)
    assert node is not None
    kind = events.EventKind.SPOT_INTERRUPTION
    mark = nodes.Mark(
        taint=kind, event_id="1", kind=kind, deadline_at=utc_now(), effect="NoSchedule"
    )
    await adapter.mark(node, mark)
    # The control plane adds a taint of its own to what is cordoned.
    node = await adapter.read(NODE)
    assert node is not None
    await adapter.unmark(node)
    await adapter.report(node, ports.DrainProgress.DRAINED, "0 of 2 pods left", since=utc_now())
    dead = await adapter.read(DEAD_NODE)
    assert dead is not None
    await adapter.declare_out_of_service(dead)


async def use_pods(kube_api: KubeApi) -> None:
    adapter = KubePods(kube_api)
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


async def use_leases(kube_api: KubeApi) -> None:
    name = settings.LeaderElectionSettings().lease_name
    adapter = KubeLeases(kube_api, namespace=NAMESPACE, name=name)
    assert await adapter.read() is None
    lease = leases.Lease(
        holder="a",
        duration=dt.timedelta(seconds=15),
        acquired_at=utc_now(),
        renewed_at=utc_now(),
        transitions=0,
        resource_version=None,
    )
    created = await adapter.write(lease)
    await adapter.write(dataclasses.replace(created, holder=""))


async def use_narrator(kube_api: KubeApi, node: nodes.NodeView) -> None:
    narrator = KubeNarrator(kube_api, identity="a", clock=utc_now)
    running = asyncio.create_task(narrator.run())
    (pod, *_) = (await KubePods(kube_api).on_node(NODE)).pods
    narrator.about_node(node, "SpotInterruption", "Draining 2 pods", is_warning=False)
    narrator.about_pod(pod.ref, "DeletedAtDeadline", "its budget blocked it")
    await narrator.flush()
    running.cancel()
    await asyncio.wait((running,))


async def exercise(server: RecordingServer) -> None:
    """Make every kind of request that the program can make."""
    reader = NodeReader(selectors.LabelSelector())
    index = directory.NodeDirectory()
    limit = dt.timedelta(seconds=10)
    async with contextlib.AsyncExitStack() as stack:
        shell = http.HttpServer(server)
        stack.push_async_callback(shell.stop)
        connection = kube.Connection(client.Configuration(host=await shell.start()))
        await stack.enter_async_context(kopf_running(connection, reader, index))
        # Before kopf stops: it waits for every task of the loop, those behind a connection too.
        stack.push_async_callback(connection.close)
        kube_api = KubeApi(connection.transport)

        node = await index.until(INSTANCE, lambda found: found is not None, limit=limit)
        assert node is not None
        # The list is over, so this one comes by the watch.
        server.cluster.add_node(DEAD_NODE, instance_id=DEAD_INSTANCE, ready=False)
        assert await index.until(DEAD_INSTANCE, lambda found: found is not None, limit=limit)
        await use_leases(kube_api)
        await use_narrator(kube_api, node)
        await use_nodes(kube_api, reader)
        # It sees the volume attached, and its end when the pods are gone.
        await asyncio.gather(
            KubeVolumes(kube_api).await_detached(NODE, staying={("default", "other")}),
            use_pods(kube_api),
        )


@pytest.fixture(scope="module")
def server() -> RecordingServer:
    """A server that the whole program has talked to."""
    quick = simulation.Settings(exit_seconds=0.05, detach_seconds=0.5)
    cluster = world.Cluster(quick)
    cluster.add_namespace(NAMESPACE)
    cluster.add_node(NODE, instance_id=INSTANCE)
    for name in ("x", "y"):
        cluster.add_pod(name, node=NODE, spec=manifests.PodSpec(volumes=("data",)))
    recording = RecordingServer(cluster)
    asyncio.run(exercise(recording))
    return recording


@pytest.fixture(scope="module")
def granted(manifest: Manifest) -> list[Access]:
    return [
        *grants_of(manifest["ClusterRole"]),
        *grants_of(manifest["Role"], namespace=manifest["Role"]["metadata"]["namespace"]),
    ]


def grants_of(role: dict[str, Any], *, namespace: str = "") -> Iterator[Access]:
    for rule in role["rules"]:
        assert rule.keys() <= {"apiGroups", "resources", "resourceNames", "verbs"}
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for name in rule.get("resourceNames", [""]):
                    for verb in rule["verbs"]:
                        yield Access(verb, group, resource, namespace, name)


def test_nothing_is_asked_that_is_not_granted(
    server: RecordingServer, granted: list[Access]
) -> None:
    refused = {asked for asked in server.asked if not any(grant.covers(asked) for grant in granted)}
    assert refused == set()


def test_nothing_is_granted_that_is_not_asked(
    server: RecordingServer, granted: list[Access]
) -> None:
    spare = [grant for grant in granted if not any(grant.covers(asked) for asked in server.asked)]
    assert spare == []


def test_nothing_is_granted_twice(granted: list[Access]) -> None:
    assert len(granted) == len(set(granted))


def test_no_rule_has_a_wildcard(granted: list[Access]) -> None:
    assert not any("*" in dataclasses.astuple(grant) for grant in granted)


def test_the_record_agrees_with_the_history_of_the_cluster(server: RecordingServer) -> None:
    requests: Mapping[history.RequestKind, int] = server.cluster.history.requests
    assert {(kind.verb, kind.resource) for kind in requests} == {
        (asked.verb, asked.resource) for asked in server.asked
    }


def test_what_is_read_besides_resources_is_open_to_every_account(server: RecordingServer) -> None:
    assert server.other_paths
    for path in server.other_paths:
        assert any(path == open_path or path.startswith(f"{open_path}/") for open_path in DISCOVERY)


def test_the_role_lies_where_the_program_looks_for_its_lease(
    server: RecordingServer, granted: list[Access]
) -> None:
    asked = {access.namespace for access in server.asked if access.resource == "leases"}
    given = {access.namespace for access in granted if access.resource == "leases"}
    assert asked == given == {NAMESPACE}
