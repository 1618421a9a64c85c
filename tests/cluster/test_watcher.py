"""The rights of the watcher on a real API server, with tokens like those that kubelets mount."""

import asyncio
import dataclasses
import datetime as dt
import json
import pathlib
import shutil
import urllib.parse
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import TypeAlias

import pytest

from queue_processor.adapters.kube.transport import Answer, HttpTransport, Request
from queue_processor.domain import errors, notices
from queue_processor.domain.events import EventKind
from queue_processor.watcher.node_patcher import NodePatcher, ServiceAccount
from tests import gobinaries
from tests.cluster import manifests, plane, world
from tests.cluster.manifests import JsonObject
from tests.deploy import chart, programs
from tests.deploy.choices import WATCHED

Annotations: TypeAlias = Mapping[str, str | None]

# Helm may have to be built first.
pytestmark = pytest.mark.timeout(gobinaries.BUILD_SECONDS)

NAMESPACE = "watchers"
ACCOUNT = f"{chart.RELEASE}-watcher"
DAEMON_SET = f"/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets/{ACCOUNT}"
POLICIES = "/apis/admissionregistration.k8s.io/v1"
OWN, OTHER, UNWATCHED = "spot-a", "spot-b", "on-demand"
NODES = {OWN: "i-0aaaaaaaaaaaaaaaa", OTHER: "i-0bbbbbbbbbbbbbbbb"}
# Among the annotations of the operator.
HOLDS = "queue-processor/holds"
SPOT = notices.annotation_name(EventKind.SPOT_INTERRUPTION)
MERGE = "application/merge-patch+json"


def notice_on(node: str) -> str:
    """A notice as the watcher writes it."""
    action = {"action": "terminate", "time": "2026-11-29T12:00:00Z"}
    return notices.Notice(
        annotation=SPOT,
        instance_id=NODES[node],
        seen_at=dt.datetime(2026, 11, 29, 11, 58, tzinfo=dt.UTC),
        body=json.dumps(action),
    ).to_json()


def annotated(annotations: Annotations) -> JsonObject:
    """A merge patch that sets annotations, or removes them (None)."""
    return {"metadata": {"annotations": dict(annotations)}}


@dataclasses.dataclass(frozen=True, slots=True)
class Watcher:
    """Requests with the token of the pod on one node."""

    transport: HttpTransport

    async def patch(
        self, node: str, body: JsonObject, *, subresource: str = "", dry: bool = False
    ) -> Answer:
        """Merge something into a Node."""
        query = {"dryRun": "All"} if dry else {}
        path = f"/api/v1/nodes/{node}{subresource}"
        request = Request("PATCH", path, query=query, body=body, content_type=MERGE)
        return await self.transport.send(request)

    async def send(self, method: str, path: str, body: JsonObject | None = None) -> Answer:
        """Send any other request."""
        return await self.transport.send(Request(method, path, body=body))


def message_of(answer: Answer) -> str:
    status: JsonObject = json.loads(answer.body)
    return str(status["message"])


def objects_of(helm: chart.Helm) -> list[JsonObject]:
    """The objects of the chart that are the watcher's."""
    documents = chart.documents(helm.template(WATCHED, namespace=NAMESPACE))
    return [each for each in documents if each["metadata"]["name"].endswith(ACCOUNT)]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> list[JsonObject]:
    """The account, the role, the policy and the DaemonSet."""
    tools = programs.built_or_skip()
    helm = chart.Helm(program=tools / "helm", folder=tmp_path_factory.mktemp("helm"))
    found = objects_of(helm)
    assert len(found) == 6
    return found


@pytest.fixture
async def cluster(
    control_plane: plane.ControlPlane, manifest: list[JsonObject]
) -> AsyncIterator[world.World]:
    """Two Spot nodes with a watcher each, and another node."""
    async with world.opened(control_plane) as opened:
        await opened.make_namespace(NAMESPACE)
        linux = {"kubernetes.io/os": "linux"}
        await opened.make_nodes(NODES.items(), lifecycle="Ec2Spot", **linux)
        await opened.make_nodes([(UNWATCHED, "i-0cccccccccccccccc")], **linux)
        await opened.apply(manifest)
        yield opened
        await removed(opened, manifest)
        await opened.clear((manifests.NAMESPACE, NAMESPACE, "default"))


async def removed(cluster: world.World, objects: Iterable[JsonObject]) -> None:
    """Take objects of the watcher away."""
    for each in objects:
        await cluster.delete(f"{world.path_of(each)}/{each['metadata']['name']}")


async def pods_by_node(cluster: world.World) -> dict[str, JsonObject]:
    """The pods of the DaemonSet, once all that it asks for are ready."""

    async def complete() -> bool:
        found = await cluster.get(DAEMON_SET)
        assert found is not None
        status = found["status"]
        return bool(0 < status["desiredNumberScheduled"] == status.get("numberReady"))

    await cluster.until(complete)
    pods = await cluster.items(f"/api/v1/namespaces/{NAMESPACE}/pods")
    return {pod["spec"]["nodeName"]: pod for pod in pods}


async def token_for(cluster: world.World, pod: JsonObject | None) -> str:
    """A token of the account as the kubelet asks for, bound to a pod; or bound to nothing."""
    spec: JsonObject = {}
    if pod is not None:
        metadata = pod["metadata"]
        bound = {"apiVersion": "v1", "kind": "Pod"}
        spec["boundObjectRef"] = {**bound, "name": metadata["name"], "uid": metadata["uid"]}
    answer = await cluster.api.post(
        f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{ACCOUNT}/token",
        {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec},
    )
    return str(answer["status"]["token"])


@pytest.fixture
async def watcher(cluster: world.World) -> AsyncIterator[Watcher]:
    """The watcher on one of the nodes, whose limits are in force."""
    pods = await pods_by_node(cluster)
    access = cluster.plane.access(await token_for(cluster, pods[OWN]))
    transport = world.transport_for(access)
    made = Watcher(transport)
    await until_it_answers(cluster, made, OWN, annotated({SPOT: "1"}), 200)
    await until_it_answers(cluster, made, OWN, {"spec": {"unschedulable": True}}, 422)
    yield made
    await transport.close()


async def until_it_answers(
    cluster: world.World, watcher: Watcher, node: str, body: JsonObject, status: int
) -> None:
    """Wait until the API server has read roles and policies as they are now."""

    async def has_read() -> bool:
        return (await watcher.patch(node, body, dry=True)).status == status

    await cluster.until(has_read)


async def written_on(cluster: world.World, node: str) -> JsonObject:
    """A Node without what kubelets, controllers and the server itself change."""
    found = await cluster.node(node)
    assert found is not None
    for field in ("resourceVersion", "managedFields"):
        found["metadata"].pop(field, None)
    found.pop("status")
    return found


async def test_each_spot_node_has_a_watcher_and_no_other_node(cluster: world.World) -> None:
    assert (await pods_by_node(cluster)).keys() == NODES.keys()


async def test_a_watcher_writes_and_removes_notices_on_its_own_node(
    cluster: world.World, watcher: Watcher
) -> None:
    before = await written_on(cluster, OWN)

    wrote = await watcher.patch(OWN, annotated({SPOT: notice_on(OWN)}))
    node = await written_on(cluster, OWN)
    assert wrote.status == 200
    assert node["metadata"]["annotations"][SPOT] == notice_on(OWN)

    removed = await watcher.patch(OWN, annotated({SPOT: None}))
    assert removed.status == 200
    assert await written_on(cluster, OWN) == before


async def test_a_notice_can_be_the_first_annotation_of_a_node(
    cluster: world.World, watcher: Watcher
) -> None:
    await cluster.api.patch(
        f"/api/v1/nodes/{OWN}", {"metadata": {"annotations": None}}, content_type=MERGE
    )

    assert (await watcher.patch(OWN, annotated({SPOT: notice_on(OWN)}))).status == 200


def patcher_of(watcher: Watcher, folder: pathlib.Path, node: str) -> NodePatcher:
    """The program's own writer, with the files that the kubelet mounts into its pod."""
    configuration = watcher.transport.configuration
    assert configuration.ssl_ca_cert is not None
    (folder / "token").write_text(configuration.api_key["BearerToken"].removeprefix("Bearer "))
    shutil.copy(configuration.ssl_ca_cert, folder / "ca.crt")
    server = urllib.parse.urlsplit(configuration.host)
    assert server.hostname is not None
    assert server.port is not None
    account = ServiceAccount(host=server.hostname, port=server.port, folder=str(folder))
    return NodePatcher(account, node)


async def test_the_program_writes_on_its_own_node_and_reports_a_refusal_elsewhere(
    cluster: world.World, watcher: Watcher, tmp_path: pathlib.Path
) -> None:
    own, other = (patcher_of(watcher, tmp_path, node) for node in (OWN, OTHER))

    await asyncio.to_thread(own.annotate, {SPOT: notice_on(OWN)})
    with pytest.raises(errors.PermanentError, match=rf"HTTP 422: .* of a pod on {OWN}, and this"):
        await asyncio.to_thread(other.annotate, {SPOT: notice_on(OTHER)})

    assert (await written_on(cluster, OWN))["metadata"]["annotations"][SPOT] == notice_on(OWN)
    assert SPOT not in (await written_on(cluster, OTHER))["metadata"].get("annotations", {})


@pytest.mark.parametrize(
    ("node", "body", "words"),
    [
        (OTHER, annotated({SPOT: "a notice"}), f"a pod on {OWN}, and this is {OTHER}: use"),
        (OWN, {"spec": {"unschedulable": True}}, "annotations only, not the spec"),
        (
            OWN,
            {"spec": {"taints": [{"key": "a", "effect": "NoExecute"}]}},
            "annotations only, not the spec",
        ),
        (OWN, {"metadata": {"labels": {"a": "b"}}}, "annotations only, not the spec"),
        (OWN, {"metadata": {"labels": {"lifecycle": None}}}, "annotations only, not the spec"),
        (OWN, {"metadata": {"finalizers": ["a.example/b"]}}, "annotations only, not the spec"),
        (
            OWN,
            {
                "metadata": {
                    "ownerReferences": [
                        {"apiVersion": "v1", "kind": "Pod", "name": "a", "uid": "b"}
                    ]
                }
            },
            "annotations only, not the spec",
        ),
        (OWN, annotated({"example.com/a": "b"}), "not example.com/a: another program needs"),
        (OWN, annotated({HOLDS: "[]"}), f"not {HOLDS}: another program needs"),
        (OWN, annotated({HOLDS: None}), f"not {HOLDS}: another program needs"),
        (OWN, annotated({SPOT: "a notice", HOLDS: None}), f"not {HOLDS}: another program needs"),
        (OWN, annotated({SPOT: "x" * 4097}), "4096 characters each: remove"),
        (
            OWN,
            annotated({f"{SPOT}-{number}": "x" for number in range(33)}),
            "32 notices of queue-processor",
        ),
    ],
    ids=[
        *("another node", "cordon", "taint", "label", "removed label", "finalizer", "owner"),
        *("another annotation", "changed hold", "removed hold", "notice and hold"),
        *("long notice", "many notices"),
    ],
)
async def test_the_policy_denies_everything_else_with_422_and_says_why(
    cluster: world.World, watcher: Watcher, node: str, body: JsonObject, words: str
) -> None:
    await cluster.api.patch(f"/api/v1/nodes/{OWN}", annotated({HOLDS: "[1]"}), content_type=MERGE)
    before = await written_on(cluster, node)

    answer = await watcher.patch(node, body)

    assert answer.status == 422
    assert words in message_of(answer)
    assert await written_on(cluster, node) == before


async def test_as_many_notices_as_the_operator_reads_are_allowed(
    cluster: world.World, watcher: Watcher
) -> None:
    values: Annotations = {f"{SPOT}-{number}": "x" * 4096 for number in range(32)}

    answer = await watcher.patch(OWN, annotated(values))

    assert answer.status == 200
    annotations = (await written_on(cluster, OWN))["metadata"]["annotations"]
    assert values.items() <= annotations.items()


async def test_a_status_in_the_patch_of_a_notice_changes_nothing(
    cluster: world.World, watcher: Watcher
) -> None:
    """The API server drops it before the policy sees it."""
    pressure = [{"type": "DiskPressure", "status": "True"}]
    body = {**annotated({SPOT: notice_on(OWN)}), "status": {"conditions": pressure}}

    assert (await watcher.patch(OWN, body)).status == 200
    node = await cluster.node(OWN)
    assert node is not None
    assert [each["type"] for each in node["status"]["conditions"]] == ["Ready"]


async def test_the_role_grants_nothing_else(cluster: world.World, watcher: Watcher) -> None:
    pod = manifests.pod("web", manifests.PodShape(), node_name=OWN)
    await cluster.make_namespace()
    await cluster.create(pod)
    pods = f"/api/v1/namespaces/{manifests.NAMESPACE}/pods"
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": "web", "namespace": manifests.NAMESPACE},
    }
    answers = {
        "read": await watcher.send("GET", f"/api/v1/nodes/{OWN}"),
        "list": await watcher.send("GET", "/api/v1/nodes"),
        "delete": await watcher.send("DELETE", f"/api/v1/nodes/{OWN}", {}),
        "status": await watcher.patch(OWN, {"status": {}}, subresource="/status"),
        "pods": await watcher.send("GET", pods),
        "evict": await watcher.send("POST", f"{pods}/web/eviction", eviction),
        "delete pod": await watcher.send("DELETE", f"{pods}/web", {}),
        "secrets": await watcher.send("GET", f"/api/v1/namespaces/{NAMESPACE}/secrets"),
        "policy": await watcher.send(
            "DELETE", f"{POLICIES}/validatingadmissionpolicies/{NAMESPACE}-{ACCOUNT}", {}
        ),
    }

    assert {name: answer.status for name, answer in answers.items()} == dict.fromkeys(answers, 403)
    assert await cluster.get(f"{pods}/web") is not None


async def test_a_node_is_not_created_by_a_patch(cluster: world.World, watcher: Watcher) -> None:
    """Server-side apply creates what it does not find: https://kubernetes.io/docs/reference/using-api/server-side-apply/."""
    answer = await watcher.transport.send(
        Request(
            "PATCH",
            "/api/v1/nodes/made-up",
            query={"fieldManager": "watcher"},
            body={"apiVersion": "v1", "kind": "Node", "metadata": {"name": "made-up"}},
            content_type="application/apply-patch+yaml",
        )
    )

    assert answer.status == 403
    assert await cluster.node("made-up") is None


async def test_a_token_that_is_not_bound_to_a_pod_is_of_no_use(
    cluster: world.World, watcher: Watcher
) -> None:
    del watcher  # the policy is in force
    transport = world.transport_for(cluster.plane.access(await token_for(cluster, None)))
    answer = await Watcher(transport).patch(OWN, annotated({SPOT: notice_on(OWN)}))
    await transport.close()

    assert answer.status == 422
    assert "its token names no node" in message_of(answer)


async def test_others_change_nodes_as_before(cluster: world.World, watcher: Watcher) -> None:
    del watcher  # the policy is in force
    changed = await cluster.api.patch(f"/api/v1/nodes/{OWN}", {"spec": {"unschedulable": True}})

    assert changed["spec"]["unschedulable"] is True


async def test_without_the_role_a_watcher_writes_nothing(
    cluster: world.World, watcher: Watcher, manifest: list[JsonObject]
) -> None:
    (role,) = (each for each in manifest if each["kind"] == "ClusterRole")
    await cluster.apply([{**role, "rules": []}])

    await until_it_answers(cluster, watcher, OWN, annotated({SPOT: notice_on(OWN)}), 403)


async def test_without_the_policy_a_watcher_can_cordon_any_node(
    cluster: world.World, watcher: Watcher, manifest: list[JsonObject]
) -> None:
    await removed(cluster, [each for each in manifest if each["kind"].startswith("Validating")])

    await until_it_answers(cluster, watcher, OTHER, {"spec": {"unschedulable": True}}, 200)
