import asyncio
from collections.abc import AsyncIterator

import pytest

from queue_processor.simulator.kube import objects
from queue_processor.simulator.kube.cluster import SimulatedCluster
from tests.fakes.kube_client import DirectClient

pytestmark = pytest.mark.looptime

NODES = "/api/v1/nodes"
PODS = "/api/v1/namespaces/default/pods"


def names(body: objects.JsonObject) -> list[str]:
    return [item["metadata"]["name"] for item in body["items"]]


async def take(events: AsyncIterator[objects.JsonObject], count: int) -> list[tuple[str, str]]:
    """The next events as (type, name)."""
    found = []
    for _ in range(count):
        event = await asyncio.wait_for(anext(events), 1000)
        found.append((event["type"], event["object"]["metadata"].get("name", "")))
    return found


async def test_a_list_is_ordered_has_a_version_and_items_without_kind(
    client: DirectClient,
) -> None:
    answer = await client.get(NODES)
    assert answer.status == 200
    assert answer.body["kind"] == "NodeList"
    assert names(answer.body) == ["a", "b", "c"]
    assert "kind" not in answer.body["items"][0]
    assert int(answer.body["metadata"]["resourceVersion"]) > 0


async def test_pages_show_the_state_of_the_first_page(
    client: DirectClient, cluster: SimulatedCluster
) -> None:
    first = await client.get(NODES, limit="2")
    assert names(first.body) == ["a", "b"]
    assert first.body["metadata"]["remainingItemCount"] == 1
    cluster.add_node("d", instance_id="i-0d")
    cluster.remove_node("c")
    token = first.body["metadata"]["continue"]
    second = await client.get(NODES, limit="2", **{"continue": token})
    assert names(second.body) == ["c"]
    assert "continue" not in second.body["metadata"]
    assert second.body["metadata"]["resourceVersion"] == first.body["metadata"]["resourceVersion"]


async def test_a_page_after_compaction_is_expired_and_offers_the_rest_as_it_is(
    client: DirectClient, cluster: SimulatedCluster
) -> None:
    first = await client.get(NODES, limit="1")
    cluster.set_ready("b", ready=False)
    cluster.compact()
    token = first.body["metadata"]["continue"]
    refused = await client.get(NODES, limit="1", **{"continue": token})
    assert (refused.status, refused.body["reason"]) == (410, "Expired")
    rest = await client.get(NODES, **{"continue": refused.body["metadata"]["continue"]})
    assert names(rest.body) == ["b", "c"]


async def test_a_token_that_is_none_is_a_bad_request(client: DirectClient) -> None:
    answer = await client.get(NODES, **{"continue": "nonsense"})
    assert (answer.status, answer.body["reason"]) == (400, "BadRequest")


async def test_a_list_from_the_cache_ignores_the_limit(client: DirectClient) -> None:
    answer = await client.get(NODES, limit="1", resourceVersion="0")
    assert names(answer.body) == ["a", "b", "c"]
    assert "continue" not in answer.body["metadata"]


async def test_a_version_that_is_still_to_come_times_out(client: DirectClient) -> None:
    answer = await client.get(NODES, resourceVersion="999999")
    assert (answer.status, answer.body["reason"]) == (504, "Timeout")
    assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"fieldSelector": "spec.podCIDR=x"}, 400),
        ({"labelSelector": "a in b"}, 400),
        ({"resourceVersion": "new"}, 400),
        ({"limit": "many"}, 400),
        ({"resourceVersionMatch": "Exact"}, 400),
        ({"sendInitialEvents": "true"}, 400),
        ({"resourceVersion": "0", "resourceVersionMatch": "Exact"}, 400),
    ],
)
async def test_a_query_that_makes_no_sense_is_refused(
    client: DirectClient, query: dict[str, str], code: int
) -> None:
    assert (await client.get(NODES, **query)).status == code


async def test_selectors_choose_what_is_listed(
    client: DirectClient, cluster: SimulatedCluster
) -> None:
    cluster.add_pod("x", node="a")
    cluster.add_pod("y", node="b")
    cluster.add_pod("z", node="a", phase="Succeeded")
    both = await client.get("/api/v1/pods", fieldSelector="spec.nodeName=a")
    running = await client.get(
        "/api/v1/pods", fieldSelector="spec.nodeName=a,status.phase!=Succeeded"
    )
    assert names(both.body) == ["x", "z"]
    assert names(running.body) == ["x"]
    found = await client.get(NODES, labelSelector="kubernetes.io/hostname in (a,c)")
    assert names(found.body) == ["a", "c"]


async def test_a_watch_from_a_version_replays_and_follows(
    client: DirectClient, cluster: SimulatedCluster
) -> None:
    version = str(cluster.store.version)
    cluster.add_pod("x", node="a")
    events = await client.watch(PODS, resourceVersion=version)
    cluster.add_pod("y", node="a")
    assert await take(events, 2) == [("ADDED", "x"), ("ADDED", "y")]
    await client.delete(f"{PODS}/x", {"gracePeriodSeconds": 0})
    assert await take(events, 1) == [("DELETED", "x")]


@pytest.mark.parametrize("query", [{}, {"resourceVersion": "0"}])
async def test_a_watch_without_a_version_starts_with_what_there_is(
    client: DirectClient, query: dict[str, str]
) -> None:
    events = await client.watch(NODES, **query)
    assert await take(events, 3) == [("ADDED", "a"), ("ADDED", "b"), ("ADDED", "c")]


async def test_a_deletion_carries_its_own_version(
    client: DirectClient, cluster: SimulatedCluster
) -> None:
    events = await client.watch(NODES, resourceVersion=str(cluster.store.version))
    cluster.remove_node("b")
    event = await anext(events)
    assert event["type"] == "DELETED"
    assert event["object"]["metadata"]["resourceVersion"] == str(cluster.store.version)


async def test_entering_a_selection_is_added_and_leaving_it_is_deleted(
    client: DirectClient,
) -> None:
    version = (await client.get(NODES)).body["metadata"]["resourceVersion"]
    events = await client.watch(NODES, labelSelector="ours=yes", resourceVersion=version)
    await client.patch(f"{NODES}/a", {"metadata": {"labels": {"ours": "yes"}}})
    await client.patch(f"{NODES}/a", {"metadata": {"labels": {"ours": "no"}}})
    assert await take(events, 1) == [("ADDED", "a")]
    left = await anext(events)
    assert left["type"] == "DELETED"
    assert left["object"]["metadata"]["labels"]["ours"] == "yes"


async def test_a_watch_of_one_node_sees_a_pod_arrive(
    client: DirectClient, cluster: SimulatedCluster
) -> None:
    version = str(cluster.store.version)
    events = await client.watch(
        "/api/v1/pods", fieldSelector="spec.nodeName=a", resourceVersion=version
    )
    for other in ("b", "c"):
        await client.patch(f"{NODES}/{other}", {"spec": {"unschedulable": True}})
    cluster.add_pod("late")
    assert await take(events, 2) == [("ADDED", "late"), ("MODIFIED", "late")]


async def test_a_watch_from_before_the_history_gets_one_error_event(
    client: DirectClient, cluster: SimulatedCluster
) -> None:
    version = str(cluster.store.version)
    cluster.set_ready("a", ready=False)
    cluster.compact()
    events = [event async for event in await client.watch(NODES, resourceVersion=version)]
    assert [event["type"] for event in events] == ["ERROR"]
    assert (events[0]["object"]["code"], events[0]["object"]["reason"]) == (410, "Expired")


async def test_bookmarks_come_each_minute_and_before_the_end(
    client: DirectClient, cluster: SimulatedCluster
) -> None:
    events = await client.watch(
        NODES,
        resourceVersion=str(cluster.store.version),
        allowWatchBookmarks="true",
        timeoutSeconds="150",
    )
    began = asyncio.get_running_loop().time()
    cluster.set_ready("a", ready=False)
    found = [
        (event["type"], asyncio.get_running_loop().time() - began)
        async for event in events
        if event["type"] != "MODIFIED"
    ]
    assert [kind for kind, _ in found] == ["BOOKMARK"] * 3
    assert [seconds for _, seconds in found] == pytest.approx([60, 120, 148])
    assert cluster.hub.count == 0


async def test_a_watch_in_which_nothing_happens_has_no_bookmarks(
    client: DirectClient, cluster: SimulatedCluster
) -> None:
    events = await client.watch(
        NODES,
        resourceVersion=str(cluster.store.version),
        allowWatchBookmarks="true",
        timeoutSeconds="150",
    )
    cluster.add_namespace("other")
    assert [event async for event in events] == []


async def test_dropped_watches_end(client: DirectClient, cluster: SimulatedCluster) -> None:
    events = await client.watch(NODES, resourceVersion=str(cluster.store.version))
    cluster.drop_watches()
    assert [event async for event in events] == []


async def test_discovery_names_the_resources_and_their_subresources(
    client: DirectClient,
) -> None:
    assert (await client.get("/version")).body["minor"] == "37"
    assert (await client.get("/api")).body["versions"] == ["v1"]
    groups = {group["name"] for group in (await client.get("/apis")).body["groups"]}
    assert {"apps", "policy", "coordination.k8s.io", "storage.k8s.io"} <= groups
    listed = (await client.get("/api/v1")).body["resources"]
    assert {"nodes", "nodes/status", "pods", "pods/eviction"} <= {
        resource["name"] for resource in listed
    }
    assert (await client.get("/apis/policy")).body["name"] == "policy"
    assert (await client.get("/apis/policy/v1")).body["groupVersion"] == "policy/v1"


@pytest.mark.parametrize(
    "path", ["/apis/nobody/v1", "/api/v1/services", "/nowhere", "/api/v1/nodes/a/scale"]
)
async def test_what_is_unknown_is_not_found(client: DirectClient, path: str) -> None:
    answer = await client.get(path)
    assert (answer.status, answer.body["reason"]) == (404, "NotFound")
