"""The request that writes notices, against an API server over TLS."""

import contextlib
import json
import pathlib
import socket

import pytest
import trustme

from queue_processor.domain import errors
from queue_processor.watcher.node_patcher import NodePatcher, ServiceAccount
from tests.watcher.servers import FakeApiServer

NOTICES = {"queue-processor/notice-spot-interruption": '{"said": "x"}'}


def patcher_of(
    api_server: FakeApiServer,
    folder: pathlib.Path,
    *,
    node: str = "node-1",
    host: str = "127.0.0.1",
) -> NodePatcher:
    account = ServiceAccount(host=host, port=api_server.server.port, folder=str(folder))
    return NodePatcher(account, node)


def error_of(patcher: NodePatcher) -> errors.QueueProcessorError:
    with pytest.raises(errors.QueueProcessorError) as caught:
        patcher.annotate(NOTICES)
    return caught.value


def test_annotations_are_added_to_those_of_the_node(
    api_server: FakeApiServer, service_account: pathlib.Path
) -> None:
    patcher_of(api_server, service_account).annotate(NOTICES)

    assert api_server.nodes["node-1"] == {"owner": "kubelet", **NOTICES}
    (request,) = api_server.requests
    assert json.loads(request.body) == {"metadata": {"annotations": NOTICES}}
    assert request.headers["authorization"] == "Bearer first-token"


def test_each_request_has_the_token_of_its_time(
    api_server: FakeApiServer, service_account: pathlib.Path
) -> None:
    patcher = patcher_of(api_server, service_account)
    patcher.annotate(NOTICES)
    (service_account / "token").write_text("second-token", encoding="ascii")
    patcher.annotate(NOTICES)

    tokens = [request.headers["authorization"] for request in api_server.requests]
    assert tokens == ["Bearer first-token", "Bearer second-token"]


def test_a_certificate_of_another_authority_is_not_trusted(
    api_server: FakeApiServer, service_account: pathlib.Path
) -> None:
    trustme.CA().cert_pem.write_to_path(str(service_account / "ca.crt"))

    error = error_of(patcher_of(api_server, service_account))
    assert isinstance(error, errors.TemporaryError)
    assert "CERTIFICATE_VERIFY_FAILED" in str(error)
    assert api_server.requests == []


def test_a_new_authority_is_read_without_a_restart(
    api_server: FakeApiServer, service_account: pathlib.Path, authority: trustme.CA
) -> None:
    patcher = patcher_of(api_server, service_account)
    trustme.CA().cert_pem.write_to_path(str(service_account / "ca.crt"))
    error_of(patcher)

    authority.cert_pem.write_to_path(str(service_account / "ca.crt"))
    patcher.annotate(NOTICES)
    assert NOTICES.items() <= api_server.nodes["node-1"].items()


@pytest.mark.parametrize(
    ("status", "message", "cure"),
    [
        (403, 'nodes "node-1" is forbidden: cannot patch resource "nodes"', "ClusterRole"),
        (404, 'nodes "node-1" not found', "spec.nodeName"),
        (422, "ValidatingAdmissionPolicy 'notices' denied request", "admission policies"),
    ],
)
def test_a_refusal_names_its_cause_and_its_cure(
    status: int,
    message: str,
    cure: str,
    api_server: FakeApiServer,
    service_account: pathlib.Path,
) -> None:
    api_server.refusal = (status, message)

    error = error_of(patcher_of(api_server, service_account))
    assert isinstance(error, errors.PermanentError)
    assert str(error).startswith(f"HTTP {status}: {message}")
    assert cure in str(error)


@pytest.mark.parametrize("status", [401, 409, 429, 500, 503])
def test_other_errors_are_temporary(
    status: int, api_server: FakeApiServer, service_account: pathlib.Path
) -> None:
    api_server.refusal = (status, "later")

    error = error_of(patcher_of(api_server, service_account))
    assert isinstance(error, errors.TemporaryError)
    assert str(error).startswith(f"HTTP {status}: later")


@pytest.mark.parametrize("name", ["token", "ca.crt"])
@pytest.mark.parametrize("content", [None, "", "…"])
def test_a_service_account_that_cannot_be_read_is_temporary(
    name: str, content: str | None, api_server: FakeApiServer, service_account: pathlib.Path
) -> None:
    path = service_account / name
    path.unlink() if content is None else path.write_text(content, encoding="utf-8")
    api_server.refusal = (401, "Unauthorized")

    assert isinstance(error_of(patcher_of(api_server, service_account)), errors.TemporaryError)


def test_a_name_cannot_lead_to_another_resource(
    api_server: FakeApiServer, service_account: pathlib.Path
) -> None:
    error_of(patcher_of(api_server, service_account, node="../namespaces/default?x"))

    (request,) = api_server.requests
    assert request.path == "/api/v1/nodes/..%2Fnamespaces%2Fdefault%3Fx"


def _has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6")
def test_an_ipv6_address_is_written_in_brackets(
    authority: trustme.CA, service_account: pathlib.Path
) -> None:
    api_server = FakeApiServer(authority, host="::1")
    api_server.nodes["node-1"] = {}
    with contextlib.closing(api_server.server):
        patcher_of(api_server, service_account, host="::1").annotate(NOTICES)

    assert api_server.nodes["node-1"] == NOTICES
    (request,) = api_server.requests
    assert request.headers["host"] == f"[::1]:{api_server.server.port}"
