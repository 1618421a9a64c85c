"""The roles grant the requests of the program to the API server, and nothing else."""

import asyncio
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import pytest
from kubernetes.aio import client

from queue_processor.adapters.kube import connection as kube
from queue_processor.simulator.kube import (
    api,
    clock,
    history,
    http,
    manifests,
    requests,
    resources,
)
from queue_processor.simulator.kube.cluster import SimulatedCluster
from tests.deploy import uses

Manifest: TypeAlias = Mapping[str, dict[str, Any]]

# The paths that the ClusterRole system:discovery allows every authenticated user to read.
# https://kubernetes.io/docs/reference/access-authn-authz/rbac/#discovery-roles
DISCOVERY = ("/api", "/apis", "/healthz", "/livez", "/openapi", "/readyz", "/version")


@dataclasses.dataclass(frozen=True, slots=True)
class Access:
    """A verb on a resource, requested or granted; an empty namespace or name means all."""

    verb: str
    group: str
    resource: str
    namespace: str = ""
    name: str = ""

    def covers(self, asked: "Access") -> bool:
        """Return True if this grant allows a request."""
        return (
            (self.verb, self.group, self.resource) == (asked.verb, asked.group, asked.resource)
            and self.namespace in {"", asked.namespace}
            and self.name in {"", asked.name}
        )


class RecordingServer(api.SimulatedApiServer):
    """Records requests, with the groups and names that access rules use."""

    def __init__(self, cluster: SimulatedCluster) -> None:
        super().__init__(cluster)
        self.asked: set[Access] = set()
        self.other_paths: set[str] = set()

    async def handle(self, request: requests.ApiRequest) -> api.ApiResponse:
        """Remember a request, then answer it."""
        info = requests.parse(request)
        if info is None:
            self.other_paths.add(request.path)
        else:
            self.asked.add(
                Access(
                    verb=info.verb,
                    group=info.resource.group,
                    resource=info.resource_name,
                    namespace=info.namespace,
                    name=info.name,
                )
            )
        return await super().handle(request)


class SimulatedStage:
    """The simulated cluster, which detaches unused volumes."""

    def __init__(self, cluster: SimulatedCluster) -> None:
        self._cluster = cluster
        cluster.add_namespace(uses.LEASE_NAMESPACE)
        cluster.add_node(uses.NODE, instance_id=uses.INSTANCE)
        cluster.add_node(uses.DEAD_NODE, instance_id=uses.DEAD_INSTANCE, ready=False)
        for name in ("x", "y"):
            cluster.add_pod(name, node=uses.NODE, spec=manifests.PodSpec(volumes=("data",)))

    async def add_late_node(self) -> None:
        self._cluster.add_node(uses.LATE_NODE, instance_id=uses.LATE_INSTANCE)

    async def detach(self) -> None:
        pass

    async def reasons(self) -> set[str]:
        return {event.body["reason"] for event in self._cluster.store.every(resources.EVENTS)}


async def exercise(server: RecordingServer) -> None:
    """Let the whole program talk to a server."""
    shell = http.HttpServer(server)
    configuration = client.Configuration(host=await shell.start())
    try:
        await uses.exercise(
            kube.Connection(configuration, origin="a test"), SimulatedStage(server.cluster)
        )
    finally:
        await shell.stop()


@pytest.fixture(scope="module")
def server() -> RecordingServer:
    """A server that the whole program has talked to."""
    quick = clock.Delays(exit_seconds=0.05, detach_seconds=0.5)
    recording = RecordingServer(SimulatedCluster(quick))
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


def test_every_request_is_granted(server: RecordingServer, granted: list[Access]) -> None:
    refused = {asked for asked in server.asked if not any(grant.covers(asked) for grant in granted)}
    assert refused == set()


def test_every_grant_is_requested(server: RecordingServer, granted: list[Access]) -> None:
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


def test_paths_without_resources_are_open_to_every_account(server: RecordingServer) -> None:
    assert server.other_paths
    for path in server.other_paths:
        assert any(path == open_path or path.startswith(f"{open_path}/") for open_path in DISCOVERY)


def test_the_role_is_in_the_namespace_of_the_lease(
    server: RecordingServer, granted: list[Access]
) -> None:
    asked = {access.namespace for access in server.asked if access.resource == "leases"}
    given = {access.namespace for access in granted if access.resource == "leases"}
    assert asked == given == {uses.LEASE_NAMESPACE}
