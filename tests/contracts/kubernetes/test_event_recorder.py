"""Contract of `EventRecorder`."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from queue_processor.adapters.kube.event_recorder import KubeEventRecorder
from queue_processor.adapters.kube.transport import JsonObject, Request
from queue_processor.controller import ports
from queue_processor.domain.identifiers import InstanceId, NodeName
from queue_processor.domain.nodes import NodeView
from queue_processor.domain.pods import PodRef
from queue_processor.observability import event_reasons
from tests.contracts.kubernetes.cluster import Cluster

FIRST, SECOND = event_reasons.EVICTION_BLOCKED, event_reasons.DELETED_AT_DEADLINE
EVENTS = "/apis/events.k8s.io/v1/namespaces"


@pytest.fixture
async def event_recorder(cluster: Cluster) -> AsyncIterator[KubeEventRecorder]:
    made = KubeEventRecorder(cluster.api, identity="process", clock=cluster.clock)
    running = asyncio.create_task(made.run())
    yield made
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


@pytest.fixture
def port(event_recorder: KubeEventRecorder) -> ports.EventRecorder:
    return event_recorder


@pytest.fixture
def pod(cluster: Cluster) -> PodRef:
    return PodRef(namespace=cluster.admin.namespace, name="web", uid="uid of web")


def node_called(name: str) -> NodeView:
    return NodeView(
        name=NodeName(name),
        uid="uid of it",
        resource_version="1",
        instance_id=InstanceId("i-0123456789abcdef0"),
        is_ready=True,
        is_unschedulable=False,
        taints=(),
    )


async def written(cluster: Cluster, namespace: str, name: str) -> list[JsonObject]:
    """Return the events about an object with this name."""
    found = await cluster.admin.items(f"{EVENTS}/{namespace}/events")
    return [
        event
        for event in found
        if event["regarding"]["name"] == name
        and event.get("reportingController") == "queue-processor"
    ]


async def test_an_event_about_a_node_is_in_the_default_namespace(
    cluster: Cluster, port: ports.EventRecorder, event_recorder: KubeEventRecorder
) -> None:
    name = await cluster.add_node()
    port.node_event(node_called(name), event_reasons.DRAINED, "all pods are gone")
    await event_recorder.flush()

    assert cluster.wire.last.answer.status == 201
    (event,) = await written(cluster, "default", name)
    assert event["regarding"]["kind"] == "Node"
    assert event["regarding"]["uid"] == name
    assert (event["type"], event["reason"]) == ("Normal", "Drained")
    assert event["note"] == "all pods are gone"


async def test_events_that_are_held_back_are_one_for_each_node_and_keep_warnings(
    cluster: Cluster, port: ports.EventRecorder, event_recorder: KubeEventRecorder
) -> None:
    name, other = await cluster.add_node(), await cluster.add_node()
    node = node_called(name)
    port.hold_back(is_busy=True)
    port.node_event(node, event_reasons.HOLDS_REBUILT, "2 holds are left")
    port.node_event(node, event_reasons.UNCORDONED, "nothing holds it")
    port.node_event(node_called(other), event_reasons.UNCORDONED, "nothing holds it")
    port.node_event(node, event_reasons.DRAINED, "all pods are gone")
    # The writers have had their turn.
    await asyncio.sleep(0)
    assert not await written(cluster, "default", name)
    port.hold_back(is_busy=False)
    await event_recorder.flush()

    notes = {event["reason"]: event["note"] for event in await written(cluster, "default", name)}
    assert notes == {
        "HoldsRebuilt": "2 holds are left",
        "Drained": "all pods are gone; before: Uncordoned, nothing holds it",
    }
    assert len(await written(cluster, "default", other)) == 1


async def test_an_event_about_a_pod_is_a_warning_in_its_namespace(
    cluster: Cluster, port: ports.EventRecorder, event_recorder: KubeEventRecorder, pod: PodRef
) -> None:
    port.pod_event(pod, event_reasons.EVICTION_BLOCKED, "a budget does not allow it")
    await event_recorder.flush()

    (event,) = await written(cluster, pod.namespace, pod.name)
    assert (event["regarding"]["kind"], event["regarding"]["uid"]) == ("Pod", pod.uid)
    assert (event["type"], event["reason"]) == ("Warning", "EvictionBlocked")


async def test_events_longer_than_the_api_takes_are_cut(
    cluster: Cluster, port: ports.EventRecorder, event_recorder: KubeEventRecorder
) -> None:
    name = await cluster.add_node()
    note = "x" + "ü" * 5000
    port.node_event(node_called(name), event_reasons.DRAINED, note)
    await event_recorder.flush()

    (event,) = await written(cluster, "default", name)
    assert 1022 < len(event["note"].encode()) <= 1024


async def test_an_event_that_the_api_refuses_is_dropped_and_the_next_is_not(
    cluster: Cluster, port: ports.EventRecorder, event_recorder: KubeEventRecorder, pod: PodRef
) -> None:
    port.pod_event(PodRef(namespace="nowhere", name="web", uid="x"), FIRST, "is lost")
    await event_recorder.flush()
    assert cluster.wire.last.refusal == (404, "NotFound", ())
    port.pod_event(pod, SECOND, "is not")
    await event_recorder.flush()

    assert [event["reason"] for event in await written(cluster, pod.namespace, "web")] == [
        SECOND.name
    ]


NAME_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.',"
    " and must start and end with an alphanumeric character (e.g. 'example.com', regex used for"
    " validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)


LONG_NOTE = 'message: Invalid value: "": can have at most 1024 characters'
LONG_REASON = 'reason: Invalid value: "": can have at most 128 characters'
LONG_INSTANCE = 'reportingInstance: Invalid value: "": can have at most 128 characters'
ODD_TYPE = 'type: Invalid value: "": has invalid value: Odd'
ODD_NAME = f'metadata.name: Invalid value: "x.": {NAME_RULE}'


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        pytest.param({"note": "x" * 1025}, LONG_NOTE, id="long note"),
        pytest.param({"note": "ü" * 513}, LONG_NOTE, id="note of many bytes"),
        pytest.param({"reason": "x" * 129}, LONG_REASON, id="long reason"),
        pytest.param({"reportingInstance": "x" * 129}, LONG_INSTANCE, id="long instance"),
        pytest.param({"action": ""}, "action: Required value", id="no action"),
        pytest.param({"eventTime": None}, "eventTime: Required value", id="no time"),
        pytest.param({"type": "Odd"}, ODD_TYPE, id="odd type"),
        pytest.param({"metadata": {"name": "x."}}, ODD_NAME, id="odd name"),
    ],
)
async def test_the_api_refuses_an_event_that_breaks_its_rules(
    cluster: Cluster, event_recorder: KubeEventRecorder, change: JsonObject, fault: str
) -> None:
    event_recorder.node_event(node_called("node-z"), event_reasons.DRAINED, "all pods are gone")
    await event_recorder.flush()
    body = {**cluster.wire.last.sent, "metadata": {"name": "x"}, **change}
    await cluster.wire.send(Request("POST", f"{EVENTS}/default/events", body=body))

    code, reason, _ = cluster.wire.last.refusal
    assert (code, reason) == (422, "Invalid")
    name = body["metadata"]["name"]
    assert cluster.wire.last.json["message"] == f'Event "{name}" is invalid: {fault}'


@pytest.mark.parametrize(("regarding", "expected"), [("elsewhere", 201), ("", 422)])
async def test_an_event_needs_a_namespace_of_its_object_but_it_may_be_another_one(
    cluster: Cluster, event_recorder: KubeEventRecorder, pod: PodRef, regarding: str, expected: int
) -> None:
    event_recorder.pod_event(pod, event_reasons.EVICTION_BLOCKED, "a budget does not allow it")
    await event_recorder.flush()
    body = dict(cluster.wire.last.sent)
    body |= {"metadata": {"name": "x"}, "regarding": {"kind": "Pod", "namespace": regarding}}
    answer = await cluster.wire.send(Request("POST", f"{EVENTS}/{pod.namespace}/events", body=body))

    assert answer.status == expected
