"""The API requests that the adapters rely on, and those that kopf sends."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from queue_processor.adapters.kube.transport import JsonObject, Request
from tests.cluster.manifests import PodShape
from tests.contracts.kubernetes.cluster import Cluster
from tests.contracts.kubernetes.targets import over_http

pytestmark = over_http

STRATEGIC = "application/strategic-merge-patch+json"
MERGE = "application/merge-patch+json"
NODES = "/api/v1/nodes"
KOPF_SECONDS = 120


async def patch(
    cluster: Cluster, path: str, body: JsonObject, content_type: str
) -> tuple[int, JsonObject]:
    answer = await cluster.wire.send(Request("PATCH", path, body=body, content_type=content_type))
    return answer.status, json.loads(answer.body)


def taint(key: str) -> dict[str, str]:
    return {"key": key, "value": "x", "effect": "PreferNoSchedule"}


# Patches.


@pytest.mark.parametrize("content_type", [STRATEGIC, MERGE])
async def test_a_patch_replaces_the_whole_list_of_taints(
    cluster: Cluster, content_type: str
) -> None:
    path = f"{NODES}/{await cluster.add_node()}"
    await patch(cluster, path, {"spec": {"taints": [taint("one"), taint("two")]}}, content_type)
    status, node = await patch(cluster, path, {"spec": {"taints": [taint("two")]}}, content_type)

    assert (status, node["spec"]["taints"]) == (200, [taint("two")])


ODD_EFFECT = (
    'metadata.taints[0].effect: Unsupported value: "Odd":'
    ' supported values: "NoSchedule", "PreferNoSchedule", "NoExecute"'
)
TWIN = (
    'metadata.taints[1]: Duplicate value: {"Key":"x","Value":"2","Effect":"NoExecute",'
    '"TimeAdded":null}: taints must be unique by key and effect pair'
)


@pytest.mark.parametrize(
    ("taints", "fault"),
    [
        pytest.param([{"key": "x", "effect": "Odd"}], ODD_EFFECT, id="odd effect"),
        pytest.param(
            [{"key": "x", "effect": "NoExecute", "value": value} for value in ("1", "2")],
            TWIN,
            id="twins",
        ),
    ],
)
async def test_taints_that_break_the_rules_are_refused(
    cluster: Cluster, taints: list[JsonObject], fault: str
) -> None:
    name = await cluster.add_node()
    await patch(cluster, f"{NODES}/{name}", {"spec": {"taints": taints}}, STRATEGIC)

    code, reason, _ = cluster.wire.last.refusal
    assert (code, reason) == (422, "Invalid")
    assert cluster.wire.last.json["message"] == f'Node "{name}" is invalid: {fault}'


@pytest.mark.parametrize("content_type", [STRATEGIC, MERGE])
async def test_a_patch_from_an_old_version_is_refused_and_one_without_a_version_is_not(
    cluster: Cluster, content_type: str
) -> None:
    name = await cluster.add_node()
    path, cordon = f"{NODES}/{name}", {"spec": {"unschedulable": True}}
    version = (await cluster.admin.node(name))["metadata"]["resourceVersion"]
    await cluster.admin.touch(name)
    fenced = {"metadata": {"resourceVersion": version}, **cordon}
    refused, _ = await patch(cluster, path, fenced, content_type)
    assert cluster.wire.last.refusal == (409, "Conflict", ())
    granted, node = await patch(cluster, path, cordon, content_type)

    assert (refused, granted) == (409, 200)
    assert node["spec"]["unschedulable"]


@pytest.mark.parametrize("content_type", [STRATEGIC, MERGE])
async def test_a_patch_takes_away_what_it_names_as_null(
    cluster: Cluster, content_type: str
) -> None:
    path = f"{NODES}/{await cluster.add_node()}"
    marks: JsonObject = {"annotations": {"a": "1", "b": "2"}, "labels": {"c": "3"}}
    await patch(cluster, path, {"metadata": marks, "spec": {"unschedulable": True}}, content_type)
    marks = {"annotations": {"a": None}, "labels": {"c": None, "never": None}}
    _, node = await patch(
        cluster,
        path,
        {"metadata": marks, "spec": {"unschedulable": None, "taints": []}},
        content_type,
    )

    annotations = node["metadata"]["annotations"]
    assert (annotations.get("a"), annotations.get("b")) == (None, "2")
    assert "c" not in node["metadata"]["labels"]
    assert "unschedulable" not in node["spec"]


@pytest.mark.parametrize(
    ("content_type", "kept"), [(STRATEGIC, {"Ready", "One", "Two"}), (MERGE, {"Two"})]
)
async def test_conditions_merge_by_type_in_a_strategic_patch_only(
    cluster: Cluster, content_type: str, kept: set[str]
) -> None:
    path = f"{NODES}/{await cluster.add_node()}/status"

    async def write(kind: str) -> JsonObject:
        condition = {"type": kind, "status": "True", "reason": "Test", "message": "m"}
        body = {"status": {"conditions": [condition]}}
        status, node = await patch(cluster, path, body, content_type)
        assert status == 200
        return node

    await write("One")
    node = await write("Two")
    kinds = {each["type"] for each in node["status"]["conditions"]}
    assert kinds - {"MemoryPressure", "DiskPressure", "PIDPressure"} == kept


async def test_a_status_patch_leaves_the_spec_alone(cluster: Cluster) -> None:
    name = await cluster.add_node()
    body = {"spec": {"unschedulable": True}, "status": {"conditions": []}}
    status, node = await patch(cluster, f"{NODES}/{name}/status", body, STRATEGIC)

    assert status == 200
    assert "unschedulable" not in node["spec"]


# Taints.


async def test_a_no_execute_taint_deletes_the_pods_that_do_not_tolerate_it(
    cluster: Cluster,
) -> None:
    admin, node = cluster.admin, await cluster.add_node()
    pod = await admin.add_pod(node)
    body = admin.pod_body("guest", PodShape(), node=node)
    body["spec"]["tolerations"] = [{"key": "one", "operator": "Exists"}]
    guest = await admin.add(body)
    taints = [{"key": "one", "effect": "NoExecute"}]
    await admin.api.patch(f"{NODES}/{node}", {"spec": {"taints": taints}})

    await admin.until(lambda: admin.is_terminating_or_gone(pod))
    assert not await admin.is_terminating_or_gone(guest)


# Requests of kopf.


class Events:
    """A watch as kopf reads it: lines with `type` and `object`."""

    def __init__(self, lines: AsyncIterator[bytes]) -> None:
        self._lines = lines

    async def of(self, name: str) -> tuple[str, JsonObject]:
        """Return the next event of an object with this name."""
        async with asyncio.timeout(5):
            async for line in self._lines:
                event: dict[str, Any] = json.loads(line)
                if event["object"]["metadata"]["name"] == name:
                    return event["type"], event["object"]
        raise AssertionError("the watch has ended")


@contextlib.asynccontextmanager
async def kopf_watching(cluster: Cluster, version: str) -> AsyncIterator[Events]:
    query = {"watch": "true", "allowWatchBookmarks": "true", "resourceVersion": version}
    opening = cluster.wire.stream(NODES, query=query, server_timeout_seconds=KOPF_SECONDS)
    async with opening as (head, lines):
        assert head.status == 200
        yield Events(lines)


async def test_kopf_finds_the_nodes_among_the_resources(cluster: Cluster) -> None:
    versions = await cluster.api.get("/api")
    found = await cluster.api.get("/api/v1")

    assert versions["versions"] == ["v1"]
    resources = {each["name"]: each for each in found["resources"]}
    nodes = resources["nodes"]
    assert (nodes["kind"], nodes["singularName"], nodes["shortNames"]) == ("Node", "node", ["no"])
    assert not nodes["namespaced"]
    assert {"get", "list", "patch", "watch"} <= set(nodes["verbs"])
    assert "nodes/status" in resources


async def test_kopf_lists_the_nodes_and_watches_their_changes(cluster: Cluster) -> None:
    first = await cluster.add_node(labels={"team": "ours"})
    listed = await cluster.api.list(NODES, query={"limit": "500"})
    (node,) = [item for item in listed["items"] if item["metadata"]["name"] == first]
    assert listed["kind"] == "NodeList"
    assert node["metadata"]["labels"]["team"] == "ours"
    second = await cluster.add_node()
    async with kopf_watching(cluster, listed["metadata"]["resourceVersion"]) as events:
        added, _ = await events.of(second)
        await cluster.admin.touch(first)
        changed, touched = await events.of(first)
        await cluster.admin.remove(f"{NODES}/{first}")
        gone, last = await events.of(first)

    assert (added, changed, gone) == ("ADDED", "MODIFIED", "DELETED")
    assert "somebody.example/else" in touched["metadata"]["annotations"]
    assert (last["kind"], last["apiVersion"]) == ("Node", "v1")
    assert int(last["metadata"]["resourceVersion"]) > int(touched["metadata"]["resourceVersion"])
    assert last["metadata"]["uid"] == node["metadata"]["uid"]


async def test_a_version_that_is_too_old_is_an_error_event_in_the_watch(
    cluster: Cluster,
) -> None:
    await cluster.add_node()
    query = {"watch": "true", "resourceVersion": await cluster.expired_version()}
    opening = cluster.wire.stream(NODES, query=query, server_timeout_seconds=KOPF_SECONDS)
    async with opening as (head, lines):
        event = json.loads(await anext(lines))

    assert head.status == 200
    assert event["type"] == "ERROR"
    assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")
