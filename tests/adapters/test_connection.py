"""The search for the API server, and the error when there is none."""

import asyncio
import json
import pathlib
import re
import ssl
from collections.abc import Callable
from typing import Any

import pytest
import structlog.testing
import trustme
from kubernetes.aio import client
from kubernetes.aio.config import incluster_config, kube_config

from queue_processor.adapters.kube import connection
from queue_processor.adapters.kube.api import KubeApi
from queue_processor.domain import errors
from tests.adapters.conftest import Listen
from tests.adapters.scripted import Server, http

Write = Callable[[str], None]


@pytest.fixture
def kubeconfig(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes the file that KUBECONFIG names, which is missing until then; we are in no pod."""
    path = tmp_path / "kubeconfig"
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    # The client reads the variable when it is imported.
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(path))

    def write(text: str) -> None:
        path.write_text(text, encoding="latin-1")

    return write


@pytest.fixture
def account(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The account of a pod, with an authority that is none."""
    token, authority = tmp_path / "token", tmp_path / "ca.crt"
    token.write_text("of the pod")
    authority.write_text("none")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "192.0.2.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(authority))


def written(server: str, **changes: Any) -> str:  # noqa: ANN401 - whatever a kubeconfig holds
    """A kubeconfig; JSON is YAML."""
    cluster = {"server": server, **changes.pop("cluster", {})}
    body = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "one",
        "clusters": [{"name": "one", "cluster": cluster}],
        "users": [{"name": "one", "user": {"token": "secret"}}],
        "contexts": [{"name": "one", "context": {"cluster": "one", "user": "one"}}],
        **changes,
    }
    return json.dumps(body)


BROKEN = {
    "empty": "",
    "no yaml": "clusters: [\n  - }{",
    "a list": "- one\n- two",
    "a word": "kubeconfig",
    "a number": "42",
    "no contexts": written("http://localhost", contexts=[]),
    "an unknown context": written("http://localhost", **{"current-context": "two"}),
    "no context": written("http://localhost", **{"current-context": ""}),
    "an unknown cluster": written("http://localhost", clusters=[]),
    "clusters that are none": written("http://localhost", clusters=3),
    "users without names": written("http://localhost", users=[{}, {}]),
    "a missing authority": written(
        "https://localhost", cluster={"certificate-authority": "/nowhere/ca.crt"}
    ),
    "an authority that is none": written(
        "https://localhost", cluster={"certificate-authority-data": "bm9uZQ=="}
    ),
    "an authority that is no base64": written(
        "https://localhost", cluster={"certificate-authority-data": "x"}
    ),
    "a broken oidc token": written(
        "http://localhost",
        users=[
            {
                "name": "one",
                "user": {"auth-provider": {"name": "oidc", "config": {"id-token": "x"}}},
            }
        ],
    ),
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
async def test_a_kubeconfig_that_cannot_be_used_is_told_in_one_line(
    kubeconfig: Write, text: str
) -> None:
    kubeconfig(text)
    with pytest.raises(errors.ConfigurationError, match="set KUBECONFIG") as raised:
        await connection.connect()

    assert "\n" not in str(raised.value)
    assert raised.value.__cause__ is not None


async def test_a_kubeconfig_that_is_no_text_is_a_configuration_fault(
    kubeconfig: Write,
) -> None:
    kubeconfig("\xff\xfe\x00")
    with pytest.raises(errors.ConfigurationError):
        await connection.connect()


async def test_a_credential_plugin_that_fails_is_no_cluster(kubeconfig: Write) -> None:
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "sh",
        "args": ["-c", "echo log in first >&2; exit 7"],
    }
    kubeconfig(written("http://localhost", users=[{"name": "one", "user": {"exec": plugin}}]))
    with pytest.raises(errors.ConfigurationError, match=r"exec: process returned 7.*log in first"):
        await connection.connect()


@pytest.mark.usefixtures("kubeconfig")
async def test_no_kubeconfig_at_all_is_a_configuration_fault(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(
        errors.ConfigurationError, match=r"neither in a pod.*: Config not found: .*; Invalid"
    ):
        await connection.connect()
    # On a terminal it would be a second line.
    assert caplog.messages == []


async def test_the_token_of_a_kubeconfig_is_sent(kubeconfig: Write, listen: Listen) -> None:
    server = await listen(http(200, b"{}"))
    kubeconfig(written(server.url))
    made = await connection.connect()
    await KubeApi(made.transport).get("/api/v1/nodes")
    await made.close()

    (head,) = server.heads
    assert "authorization: bearer secret" in head.lower()


async def test_without_a_user_there_is_no_token_to_send(kubeconfig: Write, listen: Listen) -> None:
    server = await listen(http(401, b"{}"))
    contexts = [{"name": "one", "context": {"cluster": "one"}}]
    kubeconfig(written(server.url, contexts=contexts))
    made = await connection.connect()
    with pytest.raises(errors.TemporaryError):
        await KubeApi(made.transport).get("/api/v1/nodes")
    await made.close()

    (head,) = server.heads
    assert "authorization" not in head.lower()


def _tokens(server: Server) -> list[str]:
    """The token of each request."""
    found = [re.search(r"(?im)^authorization: bearer (.*?)\r?$", head) for head in server.heads]
    return [match[1].strip() for match in found if match is not None]


async def test_after_a_refusal_the_token_is_read_again_from_the_kubeconfig(
    kubeconfig: Write, listen: Listen
) -> None:
    server = await listen(http(401, b"{}"))
    kubeconfig(written(server.url))
    made = await connection.connect()
    kubeconfig(written(server.url, users=[{"name": "one", "user": {"token": "rotated"}}]))
    with pytest.raises(errors.TemporaryError):
        # The server reads the body of both requests.
        await KubeApi(made.transport).patch("/api/v1/nodes/node-0", {"spec": {}})
    await made.close()

    assert _tokens(server) == ["secret", "rotated"]


async def test_after_a_refusal_the_token_is_read_again_from_the_file_that_a_kubeconfig_names(
    kubeconfig: Write, listen: Listen, tmp_path: pathlib.Path
) -> None:
    token = tmp_path / "token"
    token.write_text("first")
    server = await listen(http(401, b"{}"))
    kubeconfig(written(server.url, users=[{"name": "one", "user": {"tokenFile": str(token)}}]))
    made = await connection.connect()
    token.write_text("second")
    with pytest.raises(errors.TemporaryError):
        await KubeApi(made.transport).get("/api/v1/nodes")
    await made.close()

    assert _tokens(server) == ["first", "second"]


async def test_after_a_refusal_the_token_of_the_pod_is_read_again(
    listen: Listen, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, authority = tmp_path / "token", tmp_path / "ca.crt"
    token.write_text("first")
    authority.write_text(trustme.CA().cert_pem.bytes().decode())
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "192.0.2.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(authority))
    server = await listen(http(401, b"{}"))
    made = await connection.connect()
    made.configuration.host = server.url
    token.write_text("second")
    with pytest.raises(errors.TemporaryError):
        await KubeApi(made.transport).get("/api/v1/nodes")
    await made.close()

    assert _tokens(server) == ["first", "second"]


async def test_requests_that_are_refused_together_read_the_token_once(listen: Listen) -> None:
    server = await listen(http(401, b"{}"))
    reads: list[client.Configuration] = []

    async def reload(configuration: client.Configuration) -> None:
        reads.append(configuration)

    made = connection.Connection(
        client.Configuration(host=server.url), origin="a test", reload=reload
    )
    api = KubeApi(made.transport)
    await asyncio.gather(*(api.get("/api/v1/nodes") for _ in range(5)), return_exceptions=True)
    await made.close()

    assert len(reads) == 1


async def test_a_kubeconfig_that_is_in_the_making_when_a_token_is_refused_costs_a_warning(
    kubeconfig: Write, listen: Listen
) -> None:
    server = await listen(http(401, b"{}"))
    kubeconfig(written(server.url))
    made = await connection.connect()
    kubeconfig("")
    with structlog.testing.capture_logs() as lines, pytest.raises(errors.TemporaryError):
        await KubeApi(made.transport).get("/api/v1/nodes")
    await made.close()

    assert [line["event"] for line in lines] == ["credentials_not_renewed"]


@pytest.mark.usefixtures("kubeconfig", "account")
async def test_in_a_pod_its_own_account_counts(kubeconfig: Write) -> None:
    kubeconfig(written("http://localhost"))

    # Its authority is none: so it was tried, and the file was not.
    with pytest.raises(errors.ConfigurationError) as raised:
        await connection.connect()
    assert isinstance(raised.value.__cause__, ssl.SSLError)


@pytest.mark.parametrize(
    ("text", "expected"), [("kube-system", "kube-system"), (" a \n", "a"), ("\n", None)]
)
def test_the_own_namespace_is_that_of_the_pod(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: str | None
) -> None:
    path = tmp_path / "namespace"
    path.write_text(text)
    monkeypatch.setattr(connection, "_NAMESPACE_FILE", path)

    assert connection.own_namespace() == expected


def test_outside_of_a_pod_there_is_no_own_namespace(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_NAMESPACE_FILE", tmp_path / "missing")

    assert connection.own_namespace() is None
