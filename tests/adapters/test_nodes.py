"""Reading Node objects, odd ones included."""

import copy
import datetime as dt
from typing import Any

import pytest
import structlog.testing
from hypothesis import given
from hypothesis import strategies as st
from kubernetes.aio import client

from queue_processor.adapters.kube.api import KubeApi
from queue_processor.adapters.kube.nodes import NodeReader, listed
from queue_processor.adapters.kube.transport import HttpTransport
from queue_processor.domain import errors, selectors
from queue_processor.domain.nodes import UnmappedNode
from tests.adapters.conftest import Listen
from tests.adapters.scripted import http

INSTANCE = "i-0123456789abcdef0"
NODE: dict[str, Any] = {
    "metadata": {
        "name": "node-0",
        "uid": "uid",
        "resourceVersion": "7",
        "creationTimestamp": "2026-05-01T10:00:00Z",
        "labels": {"team": "ours"},
        "annotations": {"queue-processor/kind": "spot_interruption"},
    },
    "spec": {
        "providerID": f"aws:///eu-west-1a/{INSTANCE}",
        "taints": [{"key": "a", "effect": "NoSchedule"}],
    },
    "status": {
        "conditions": [
            {"type": "DiskPressure", "status": "False"},
            {
                "type": "Ready",
                "status": "True",
                "lastHeartbeatTime": "2026-05-01T12:00:00Z",
                "lastTransitionTime": "2026-05-01T11:00:00Z",
            },
        ]
    },
}


def _reader() -> NodeReader:
    return NodeReader(selectors.parse(""))


def _changed(path: str, value: object) -> dict[str, Any]:
    """The Node with another value at a path like `status.conditions.1.status`."""
    node = copy.deepcopy(NODE)
    *parents, last = path.split(".")
    target: Any = node
    for step in parents:
        target = target[int(step)] if isinstance(target, list) else target[step]
    target[int(last) if isinstance(target, list) else last] = value
    return node


def _moment(hour: int) -> dt.datetime:
    return dt.datetime(2026, 5, 1, hour, tzinfo=dt.UTC)


def test_the_life_of_a_node_is_read() -> None:
    view = _reader().view_of(NODE)

    assert view is not None
    assert (view.created_at, view.ready_since, view.last_heartbeat_at) == (
        _moment(10),
        _moment(11),
        _moment(12),
    )
    assert not view.is_deleted
    assert not view.is_shut_down


@pytest.mark.parametrize("status", ["False", "Unknown"])
def test_a_node_that_is_not_ready_has_a_heartbeat_and_is_ready_since_never(status: str) -> None:
    view = _reader().view_of(_changed("status.conditions.1.status", status))

    assert view is not None
    assert not view.is_ready
    assert (view.ready_since, view.last_heartbeat_at) == (None, _moment(12))


def test_a_node_whose_deletion_was_requested_is_deleted() -> None:
    view = _reader().view_of(_changed("metadata.deletionTimestamp", "2026-05-01T12:00:00Z"))

    assert view is not None
    assert view.is_deleted


def test_a_node_that_the_cloud_provider_calls_shut_down_is_shut_down() -> None:
    taint = {"key": "node.cloudprovider.kubernetes.io/shutdown", "effect": "NoSchedule"}
    view = _reader().view_of(_changed("spec.taints.0", taint))

    assert view is not None
    assert view.is_shut_down


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "soon",
        7,
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59-12:00",
        "2026-05-01T12:00:00",
        ["2026-05-01T12:00:00Z"],
    ],
    ids=str,
)
def test_a_timestamp_that_is_no_moment_is_none_and_the_node_is_read(text: object) -> None:
    view = _reader().view_of(_changed("status.conditions.1.lastHeartbeatTime", text))

    assert view is not None
    assert view.last_heartbeat_at is None


def test_a_moment_elsewhere_is_read_in_utc() -> None:
    text = "2026-05-01T14:00:00.123456+02:00"
    view = _reader().view_of(_changed("status.conditions.1.lastHeartbeatTime", text))

    assert view is not None
    assert view.last_heartbeat_at == dt.datetime(2026, 5, 1, 12, 0, 0, 123456, tzinfo=dt.UTC)


def _cause(node: dict[str, Any]) -> str | None:
    """Reasons for which a Node is unmapped."""
    read = _reader().read(node)
    assert isinstance(read, UnmappedNode)
    assert (read.name, read.uid) == ("node-0", "uid")
    return read.cause


ODD = {
    "a spec that is a text": {**NODE, "spec": "none"},
    "a provider id that is a number": _changed("spec.providerID", 7),
    "taints that are a number": _changed("spec.taints", 7),
    "a taint without a key": _changed("spec.taints.0", {"effect": "NoSchedule"}),
    "conditions that are a text": _changed("status.conditions", "Ready"),
}


@pytest.mark.parametrize("node", ODD.values(), ids=ODD)
def test_a_node_of_another_shape_costs_itself(node: dict[str, Any]) -> None:
    assert "the Node object cannot be read" in (_cause(node) or "")


@pytest.mark.parametrize(
    "node",
    [
        {"spec": NODE["spec"]},
        {**NODE, "metadata": []},
        {**NODE, "metadata": {"name": "node-0"}},
        _changed("metadata.name", 7),
    ],
    ids=["no metadata", "metadata that are a list", "no uid", "a name that is a number"],
)
def test_what_cannot_even_be_identified_is_no_node_and_logged(node: dict[str, Any]) -> None:
    with structlog.testing.capture_logs() as lines:
        assert _reader().read(node) is None

    assert [line["event"] for line in lines] == ["node_not_understood"]


@pytest.mark.parametrize(
    ("provider_id", "cause"),
    [("k3s://worker", "spec.providerID is 'k3s://worker'"), (None, "no spec.providerID")],
)
def test_a_node_that_names_no_instance_is_unmapped(provider_id: str | None, cause: str) -> None:
    assert _cause(_changed("spec.providerID", provider_id)) == cause


def test_a_node_that_its_cloud_provider_has_not_initialized_is_unmapped_without_a_cause() -> None:
    node = _changed("spec.providerID", None)
    key = "node.cloudprovider.kubernetes.io/uninitialized"
    node["spec"]["taints"] = [{"key": key, "effect": "NoSchedule"}]

    assert _cause(node) is None


def test_a_node_that_is_not_on_ec2_or_not_selected_is_none() -> None:
    assert _reader().read(_changed("spec.providerID", "aws:///a/b/fargate-ip-10-0-0-1")) is None
    unselected = NodeReader(selectors.parse("team=theirs"))
    assert unselected.read(_changed("spec.providerID", "k3s://worker")) is None


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "type", "status", "key", "effect", "conditions"]), inner
        )
    ),
    max_leaves=8,
)
_PATHS = [
    "metadata",
    "metadata.name",
    "metadata.labels",
    "metadata.annotations",
    "metadata.creationTimestamp",
    "spec",
    "spec.providerID",
    "spec.taints",
    "spec.taints.0",
    "status",
    "status.conditions",
    "status.conditions.0",
    "status.conditions.1",
]


@given(path=st.sampled_from(_PATHS), value=_JSON)
def test_no_node_whatever_its_shape_raises(path: str, value: object) -> None:
    _reader().read(_changed(path, value))


@pytest.mark.parametrize("body", [b"{}", b'{"kind": "Status", "metadata": {}}'])
async def test_an_answer_that_is_no_list_does_not_show_that_there_are_no_nodes(
    listen: Listen, body: bytes
) -> None:
    server = await listen(http(200, body))
    transport = HttpTransport(client.Configuration(host=server.url))
    with pytest.raises(errors.TemporaryError, match="no list"):
        _ = [node async for node in listed(KubeApi(transport))]
    await transport.close()


async def test_a_list_of_no_nodes_is_empty(listen: Listen) -> None:
    server = await listen(http(200, b'{"kind": "NodeList", "metadata": {}, "items": null}'))
    transport = HttpTransport(client.Configuration(host=server.url))
    assert [node async for node in listed(KubeApi(transport))] == []
    await transport.close()
