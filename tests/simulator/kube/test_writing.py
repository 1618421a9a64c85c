import json
from typing import Any

import pytest

from queue_processor.simulator.kube import api, patches, requests
from queue_processor.simulator.kube.cluster import SimulatedCluster
from tests.fakes.kube_client import DirectClient

pytestmark = pytest.mark.looptime

A = "/api/v1/nodes/a"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"


def lease(**spec: object) -> dict[str, Any]:
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "leader"},
        "spec": {"holderIdentity": "one", "leaseDurationSeconds": 15} | spec,
    }


async def test_a_created_object_gets_identity_time_and_version(
    client: DirectClient,
) -> None:
    made = await client.post(LEASES, lease())
    assert made.status == 201
    metadata = made.body["metadata"]
    assert metadata["namespace"] == "default"
    assert metadata["creationTimestamp"] == "2026-05-01T12:00:00Z"
    assert metadata["uid"]
    assert (await client.get(f"{LEASES}/leader")).body == made.body


async def test_a_taken_name_is_a_conflict_and_a_missing_one_not_found(
    client: DirectClient,
) -> None:
    await client.post(LEASES, lease())
    again = await client.post(LEASES, lease())
    assert (again.status, again.body["reason"]) == (409, "AlreadyExists")
    missing = await client.get(f"{LEASES}/nobody")
    assert missing.body["message"] == 'leases.coordination.k8s.io "nobody" not found'
    assert missing.body["details"] == {
        "name": "nobody",
        "group": "coordination.k8s.io",
        "kind": "leases",
    }


async def test_generated_names_differ(client: DirectClient) -> None:
    unnamed = lease() | {"metadata": {"generateName": "e-"}}
    names = {(await client.post(LEASES, unnamed)).body["metadata"]["name"] for _ in range(20)}
    assert len(names) == 20
    assert all(name.startswith("e-") and len(name) == 7 for name in names)


async def test_an_update_of_an_old_version_is_a_conflict(client: DirectClient) -> None:
    old = (await client.post(LEASES, lease())).body
    new = old | {"spec": old["spec"] | {"holderIdentity": "two"}}
    assert (await client.put(f"{LEASES}/leader", new)).status == 200
    refused = await client.put(f"{LEASES}/leader", new)
    assert (refused.status, refused.body["reason"]) == (409, "Conflict")
    assert refused.body["message"] == (
        'Operation cannot be fulfilled on leases.coordination.k8s.io "leader": the object has been'
        " modified; please apply your changes to the latest version and try again"
    )


async def test_a_lease_cannot_be_replaced_blindly_but_a_node_can(
    client: DirectClient,
) -> None:
    await client.post(LEASES, lease())
    assert (await client.put(f"{LEASES}/leader", lease(holderIdentity="x"))).status == 422
    node = (await client.get(A)).body
    del node["metadata"]["resourceVersion"]
    node["metadata"]["labels"]["new"] = "yes"
    assert (await client.put(A, node)).body["metadata"]["labels"]["new"] == "yes"


async def test_a_put_creates_leases_but_not_nodes(client: DirectClient) -> None:
    assert (await client.put(f"{LEASES}/leader", lease())).status == 201
    assert (await client.put("/api/v1/nodes/z", {"metadata": {"name": "z"}})).status == 404


async def test_a_write_that_changes_nothing_keeps_the_version(
    client: DirectClient,
) -> None:
    await client.patch(A, {"spec": {"unschedulable": True}})
    before = (await client.get(A)).body
    same = await client.patch(A, {"spec": {"unschedulable": True}})
    put = await client.put(A, same.body)
    assert same.body == before
    assert put.body == before


async def test_what_is_empty_is_left_out_of_a_node(client: DirectClient) -> None:
    await client.patch(A, {"spec": {"unschedulable": True, "taints": []}})
    node = (await client.patch(A, {"spec": {"unschedulable": False}})).body
    assert "unschedulable" not in node["spec"]
    assert "taints" not in node["spec"]


async def test_a_patch_may_be_fenced_by_version_and_uid(
    client: DirectClient, cluster: SimulatedCluster
) -> None:
    version = (await client.get(A)).body["metadata"]["resourceVersion"]
    patch = {"metadata": {"resourceVersion": version, "labels": {"x": "1"}}}
    assert (await client.patch(A, patch)).status == 200
    patch["metadata"] |= {"labels": {"x": "2"}}
    assert (await client.patch(A, patch)).body["reason"] == "Conflict"
    assert (await client.patch(A, {"metadata": {"uid": "other"}})).status == 422
    node = cluster.store.node("a")
    assert node is not None
    body = node.body | {"metadata": node.metadata | {"uid": "other"}}
    refused = await client.put(A, body)
    assert refused.status == 409
    assert "Precondition failed: UID in precondition: other" in refused.body["message"]


async def test_spec_and_status_are_written_apart(client: DirectClient) -> None:
    both = {"spec": {"unschedulable": True}, "status": {"phase": "x"}}
    main = (await client.patch(A, both)).body
    assert main["spec"]["unschedulable"]
    assert "phase" not in main["status"]
    both = {"spec": {"unschedulable": None}, "status": {"phase": "y"}}
    status = (await client.patch(f"{A}/status", both)).body
    assert status["spec"]["unschedulable"]
    assert status["status"]["phase"] == "y"


async def test_a_condition_is_merged_into_the_status_of_a_node(
    client: DirectClient,
) -> None:
    patch = {"status": {"conditions": [{"type": "DrainInProgress", "status": "True"}]}}
    node = (await client.patch(f"{A}/status", patch, patches.PatchType.STRATEGIC)).body
    kinds = [condition["type"] for condition in node["status"]["conditions"]]
    assert kinds[-1] == "DrainInProgress"
    assert "Ready" in kinds


async def test_generation_counts_changes_of_the_spec_only(
    client: DirectClient, cluster: SimulatedCluster
) -> None:
    cluster.add_budget("web", match_labels={"app": "web"}, min_available=1)
    path = "/apis/policy/v1/namespaces/default/poddisruptionbudgets/web"
    await client.patch(path, {"metadata": {"labels": {"x": "1"}}})
    assert (await client.get(path)).body["metadata"]["generation"] == 1
    await client.patch(path, {"spec": {"minAvailable": 2}})
    assert (await client.get(path)).body["metadata"]["generation"] == 2


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        (LEASES, lease(leaseDurationSeconds=0), 422),
        (LEASES, lease(leaseTransitions=-1), 422),
        (LEASES, {"metadata": {}}, 422),
        (LEASES, {"metadata": {"name": "x", "namespace": "other"}}, 400),
        (LEASES, {"kind": "Pod", "metadata": {"name": "x"}}, 400),
        (LEASES, {"metadata": {"name": "x", "resourceVersion": "1"}}, 500),
        (LEASES.replace("default", "nowhere"), lease(), 404),
        (
            "/apis/events.k8s.io/v1/namespaces/default/events",
            {"metadata": {"name": "x"}, "type": "Odd"},
            422,
        ),
    ],
)
async def test_what_breaks_the_rules_is_refused(
    client: DirectClient, path: str, body: object, code: int
) -> None:
    assert (await client.post(path, body)).status == code


async def test_a_taint_needs_a_key_a_known_effect_and_no_twin(
    client: DirectClient,
) -> None:
    taints = [
        {"key": "x", "effect": "NoSchedule"},
        {"key": "x", "effect": "NoExecute"},
        {"key": "x", "effect": "NoSchedule"},
        {"key": "", "effect": "Sometimes"},
    ]
    answer = await client.patch(A, {"spec": {"taints": taints}})
    assert answer.status == 422
    fields = [cause["field"] for cause in answer.body["details"]["causes"]]
    assert fields == ["metadata.taints[2]", "metadata.taints[3].key", "metadata.taints[3].effect"]


async def test_a_bound_pod_cannot_be_bound_again(
    client: DirectClient, cluster: SimulatedCluster
) -> None:
    cluster.add_pod("x", node="a")
    path = "/api/v1/namespaces/default/pods/x"
    binding = {"target": {"kind": "Node", "name": "b"}}
    assert (await client.post(f"{path}/binding", binding)).status == 409


@pytest.mark.parametrize(
    ("method", "content_type", "body", "code"),
    [
        ("PATCH", "application/json", b"{}", 415),
        ("PATCH", "application/apply-patch+yaml", b"{}", 415),
        ("PATCH", "application/json-patch+json", b"{}", 400),
        ("PATCH", "application/json-patch+json", b'[{"op": "add", "path": "/a"}]', 400),
        ("PATCH", "application/merge-patch+json", b"{", 400),
        ("PUT", "application/json", b"[]", 400),
        ("PUT", "text/plain", b"{}", 415),
        ("POST", "application/json", b"{}", 405),
    ],
)
async def test_a_body_that_the_server_cannot_take_is_refused(
    server: api.SimulatedApiServer, method: str, content_type: str, body: bytes, code: int
) -> None:
    request = requests.ApiRequest(method, A, {}, {"content-type": content_type}, body)
    answer = await server.handle(request)
    assert answer.status == code
    assert json.loads(answer.body)["kind"] == "Status"


async def test_permissions_that_were_taken_away_are_reported_and_enforced(
    client: DirectClient, server: api.SimulatedApiServer
) -> None:
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    asked = {"verb": "create", "resource": "pods", "subresource": "eviction"}
    review = {"spec": {"resourceAttributes": asked}}
    assert (await client.post(path, review)).body["status"] == {"allowed": True}
    server.denials.append(api.Denial("create", "pods/eviction"))
    assert (await client.post(path, review)).body["status"] == {"allowed": False}
    assert (await client.evict("x")).body["reason"] == "Forbidden"


async def test_what_is_not_simulated_is_refused_and_changes_nothing(
    client: DirectClient, cluster: SimulatedCluster
) -> None:
    cluster.add_pod("x", node="a")
    nodes, pods = "/api/v1/nodes", "/api/v1/namespaces/default/pods"
    dry = {"dryRun": ["All"]}
    refused = [
        await client.patch(A, {"spec": {"unschedulable": True}}, dryRun="All"),
        await client.post(LEASES, lease(), dryRun="All"),
        await client.delete(f"{pods}/x", dry),
        await client.evict("x", options=dry),
    ]
    collection = await client.delete(pods, labelSelector="")

    assert [answer.status for answer in refused] == [400] * 4
    assert collection.status == 405
    assert len((await client.get(nodes)).body["items"]) == 3
    assert not any(pod.is_terminating for pod in cluster.store.pods_on("a"))
    assert (await client.get(f"{LEASES}/leader")).status == 404
