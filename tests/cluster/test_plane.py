import asyncio
import datetime as dt
from collections.abc import Callable

import pytest

from queue_processor.adapters.kube.api import KubeApi
from queue_processor.domain import errors
from tests import parts
from tests.cluster import audit, manifests, plane, world


async def test_pods_run_on_nodes_and_end_when_they_are_told_to(
    started: plane.Started,
    cluster: world.World,
    record_property: Callable[[str, object], None],
) -> None:
    record_property(parts.READY_PROPERTY, f"{started.seconds:.2f}")
    await cluster.make_nodes([("node-a", "i-0a")])
    await cluster.create(manifests.owned("Deployment", "web", manifests.PodShape(), replicas=3))

    async def three_run() -> bool:
        return len(await cluster.running(app="web")) == 3

    await cluster.until(three_run)
    await cluster.delete(f"/apis/apps/v1/namespaces/{manifests.NAMESPACE}/deployments/web")

    async def none_left() -> bool:
        return not await cluster.pods_on("node-a")

    await cluster.until(none_left)


async def test_a_pod_that_ignores_its_sigterm_stays(cluster: world.World) -> None:
    await cluster.make_nodes([("node-a", "i-0a")])
    shape = manifests.PodShape(exits_after=manifests.NEVER)
    pod = await cluster.create(manifests.pod("stuck", shape, node_name="node-a"))
    path = f"/api/v1/namespaces/{manifests.NAMESPACE}/pods/stuck"
    await cluster.api.delete(path, {"gracePeriodSeconds": 1})

    found = await cluster.get(path)
    assert found is not None
    assert found["metadata"]["uid"] == pod["metadata"]["uid"]
    assert "deletionTimestamp" in found["metadata"]


async def _say_not_ready(cluster: world.World, pod: str) -> None:
    """Write what the node controller writes for a pod whose node it takes for NotReady."""
    path = f"/api/v1/namespaces/{manifests.NAMESPACE}/pods/{pod}/status"
    not_ready = {"type": "Ready", "status": "False"}
    await cluster.api.patch(path, {"status": {"conditions": [not_ready]}})


async def test_a_kubelet_writes_again_that_its_pods_are_ready(cluster: world.World) -> None:
    """The node controller may have a Node of the same name in mind, from an earlier test."""
    await cluster.make_nodes([("node-a", "i-0a")])
    pod = manifests.pod("web", manifests.PodShape(labels={"app": "web"}), node_name="node-a")
    await cluster.create(pod)
    await cluster.until_running("web", 1)

    await _say_not_ready(cluster, "web")
    await cluster.until_running("web", 1)


async def test_a_kubelet_that_stopped_writes_nothing_about_its_pods(cluster: world.World) -> None:
    await cluster.make_nodes([("node-a", "i-0a"), ("node-b", "i-0b")])
    for app, node in (("dead", "node-a"), ("alive", "node-b")):
        shape = manifests.PodShape(labels={"app": app})
        await cluster.create(manifests.pod(app, shape, node_name=node))
        await cluster.until_running(app, 1)

    await cluster.stop_kubelet("node-a")
    await _say_not_ready(cluster, "dead")
    await _say_not_ready(cluster, "alive")
    await cluster.until_running("alive", 1)

    assert await cluster.running(app="dead") == []


async def test_the_operator_may_do_what_its_role_says_and_no_more(cluster: world.World) -> None:
    await cluster.make_nodes([("node-a", "i-0a")])
    log = audit.AuditLog(cluster.plane.audit_log, world.OPERATOR_USER)
    transport = world.transport_for(await cluster.operator_access())
    api = KubeApi(transport)
    node = await api.get("/api/v1/nodes/node-a")
    assert node["spec"]["providerID"].endswith("/i-0a")
    with pytest.raises(errors.PermanentError, match="403"):
        await api.delete("/api/v1/nodes/node-a", {})
    await transport.close()

    assert [str(request.access) for request in log.requests()] == ["get nodes", "delete nodes"]
    assert [request.name for request in log.refused()] == ["node-a"]
    log.excuse()
    assert log.refused() == []


async def test_the_audit_log_has_the_moment_when_a_pod_is_gone(cluster: world.World) -> None:
    await cluster.make_nodes([("node-a", "i-0a")])
    shape = manifests.PodShape(labels={"app": "web"}, exits_after="300ms")
    made = await cluster.create(manifests.pod("web", shape, node_name="node-a"))
    await cluster.until_running("web", 1)
    log = audit.AuditLog(cluster.plane.audit_log, plane.KUBELETS)
    asked_at = dt.datetime.now(dt.UTC)
    await cluster.delete(f"{world.path_of(made)}/web", gracePeriodSeconds=30)

    async def gone() -> list[audit.Request]:
        return log.made("delete", "pods")

    (request,) = await cluster.until(gone)
    assert (request.name, request.code) == ("web", 200)
    assert request.answered_at - asked_at >= dt.timedelta(milliseconds=300)
    assert await cluster.pods_on("node-a") == []


async def test_an_api_server_that_was_killed_comes_back_with_all_it_had(
    cluster: world.World,
) -> None:
    await cluster.make_nodes([("node-a", "i-0a")])
    cluster.plane.kill("kube-apiserver")
    with pytest.raises(errors.TemporaryError):
        await cluster.node("node-a")
    cluster.plane.launch("kube-apiserver")
    await asyncio.to_thread(cluster.plane.await_ready)
    assert await cluster.node("node-a") is not None
