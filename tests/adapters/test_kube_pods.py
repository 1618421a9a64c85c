"""Answers of the API server about pods, and how the adapter reads them."""

import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Mapping

import orjson
import pytest

from queue_processor.adapters.kube.api import KubeApi
from queue_processor.adapters.kube.pods import KubePods
from queue_processor.adapters.kube.transport import Answer, JsonObject, Request
from queue_processor.domain import errors
from queue_processor.domain.identifiers import NodeName
from queue_processor.domain.pods import EvictionAnswer, PodRef

OTHER_NODE = NodeName("node-other")
NODE = NodeName("node-0")


class CannedTransport:
    """Gives one answer to every request, and one watch."""

    def __init__(
        self, status: int, body: JsonObject, *, events: tuple[JsonObject, ...] = ()
    ) -> None:
        self._answer = Answer(status, {}, orjson.dumps(body))
        self._events = events
        self.calls: list[str] = []

    async def send(self, request: Request) -> Answer:
        self.calls.append(f"{request.method} {request.path}")
        return self._answer

    @contextlib.asynccontextmanager
    async def stream(
        self, path: str, *, query: Mapping[str, str], server_timeout_seconds: int
    ) -> AsyncIterator[tuple[Answer, AsyncIterator[bytes]]]:
        self.calls.append(f"WATCH {path} {query} {server_timeout_seconds}")
        yield self._answer, self._lines()

    async def _lines(self) -> AsyncIterator[bytes]:
        for event in self._events:
            yield orjson.dumps(event)


def pod(name: str, *, version: str = "1", **spec: object) -> JsonObject:
    metadata = {"namespace": "default", "name": name, "uid": name, "resourceVersion": version}
    return {"metadata": metadata, "spec": {"nodeName": NODE, **spec}}


NOT_PODS = [
    pytest.param({"metadata": {"name": "nameless", "resourceVersion": "2"}}, id="no uid"),
    pytest.param(pod("odd", version="2", terminationGracePeriodSeconds="soon"), id="text"),
    pytest.param(pod("odd", version="2", volumes=[{"ephemeral": {}}]), id="volume without a name"),
]


@pytest.mark.parametrize(
    ("seconds", "grace"),
    [
        (2**63 - 1, dt.timedelta(days=365)),
        (-(2**63), dt.timedelta()),
        (45, dt.timedelta(seconds=45)),
    ],
)
async def test_a_grace_period_is_read_within_limits(seconds: int, grace: dt.timedelta) -> None:
    items = [pod("web", terminationGracePeriodSeconds=seconds)]
    listing = {"metadata": {"resourceVersion": "1"}, "items": items}

    listed = await KubePods(KubeApi(CannedTransport(200, listing))).on_node(NODE)

    assert [each.grace for each in listed.pods] == [grace]


@pytest.mark.parametrize("odd", NOT_PODS)
async def test_a_list_goes_on_behind_a_pod_that_cannot_be_read(odd: JsonObject) -> None:
    listing = {"metadata": {"resourceVersion": "3"}, "items": [odd, pod("web")]}

    listed = await KubePods(KubeApi(CannedTransport(200, listing))).on_node(NODE)

    assert [each.ref.name for each in listed.pods] == ["web"]


@pytest.mark.parametrize("odd", NOT_PODS)
async def test_a_list_of_many_nodes_goes_on_behind_a_pod_that_cannot_be_read(
    odd: JsonObject,
) -> None:
    listing = {"metadata": {"resourceVersion": "3"}, "items": [odd, pod("web", nodeName=NODE)]}

    lists = await KubePods(KubeApi(CannedTransport(200, listing))).on_nodes([NODE, OTHER_NODE])

    assert [each.ref.name for each in lists[NODE].pods][-1:] == ["web"]
    assert lists[OTHER_NODE].pods == ()


@pytest.mark.parametrize(
    "answer", [{}, {"items": []}, {"items": [], "metadata": {}}, {"items": 1, "metadata": {}}]
)
async def test_an_answer_that_is_no_list_is_a_temporary_error(answer: JsonObject) -> None:
    pods = KubePods(KubeApi(CannedTransport(200, answer)))

    with pytest.raises(errors.TemporaryError, match="no list"):
        await pods.on_node(NODE)
    with pytest.raises(errors.TemporaryError, match="no list"):
        await pods.on_nodes([NODE, OTHER_NODE])


@pytest.mark.parametrize("odd", NOT_PODS)
async def test_a_watch_goes_on_behind_a_pod_that_cannot_be_read(odd: JsonObject) -> None:
    events = (
        {"type": "ADDED", "object": odd},
        {"type": "ADDED", "object": pod("web", version="3")},
    )
    pods = KubePods(KubeApi(CannedTransport(200, {}, events=events)))

    async with pods.watch("1") as changes:
        seen = [(change.version, change.pod and change.pod.ref.name) async for change in changes]

    assert seen == [("2", None), ("3", "web")]


@pytest.mark.parametrize(
    ("code", "kind", "message", "answer"),
    [
        (404, "pods", 'pods "web" not found', EvictionAnswer.GONE),
        (404, "poddisruptionbudgets", '"web" not found', EvictionAnswer.BUSY),
        (409, "poddisruptionbudgets", '"web": the object has been modified', EvictionAnswer.BUSY),
        (409, "pods", '"web": the object has been modified', EvictionAnswer.BUSY),
        (409, "Pod", "the UID in the precondition (a) does not match", EvictionAnswer.GONE),
        (409, "pods", "Precondition failed: UID in precondition: a, UID", EvictionAnswer.GONE),
    ],
)
async def test_a_pod_is_gone_only_if_the_answer_is_about_that_pod(
    code: int, kind: str, message: str, answer: EvictionAnswer
) -> None:
    status = {"kind": "Status", "message": message, "details": {"name": "web", "kind": kind}}
    pods = KubePods(KubeApi(CannedTransport(code, status)))

    eviction = await pods.evict(PodRef(namespace="default", name="web", uid="web"))

    assert eviction.answer is answer
