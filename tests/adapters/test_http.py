"""Nothing of HTTP, aiohttp or the official client gets out of the Kubernetes adapters."""

import asyncio
import contextlib
import datetime as dt
import pathlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest
from kubernetes.aio import client, config

from queue_processor.adapters.kube.api import KubeApi
from queue_processor.adapters.kube.transport import HttpTransport
from queue_processor.domain import errors
from tests.adapters.conftest import Listen
from tests.adapters.scripted import Ending, chunked, http

Connect = Callable[[str], KubeApi]
PATH = "/api/v1/nodes"
LINE = b'{"type":"ADDED","object":{"metadata":{"resourceVersion":"1"}}}\n'


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Makes the API of a server; connections end with the test."""
    transports = []

    def make(url: str) -> KubeApi:
        transports.append(HttpTransport(client.Configuration(host=url)))
        return KubeApi(transports[-1])

    yield make
    for transport in transports:
        await transport.close()


def closed_port() -> str:
    """The URL of a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


async def follow(api: KubeApi) -> list[dict[str, object]]:
    """Watch until the watch ends."""
    async with api.watch(PATH, query={}) as events:
        return [event async for event in events]


async def fault_of(request: Awaitable[object]) -> errors.QueueProcessorError:
    """The error of a request, which has to be our own."""
    with pytest.raises(errors.QueueProcessorError) as raised:
        await request
    return raised.value


BROKEN = {
    "no answer": (b"", Ending.CLOSE),
    "reset before the answer": (b"", Ending.RESET),
    "closed in the middle": (http(200, b'{"metadata"', length=100), Ending.CLOSE),
    "reset in the middle": (http(200, b'{"metadata"', length=100), Ending.RESET),
    "reset in the head": (b"HTTP/1.1 200 OK\r\nContent-", Ending.RESET),
    "another protocol": (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", Ending.CLOSE),
    "an impossible length": (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", Ending.CLOSE),
}


@pytest.mark.parametrize(("answer", "ending"), BROKEN.values(), ids=BROKEN)
async def test_a_broken_connection_is_a_temporary_fault_with_its_cause(
    connect: Connect, listen: Listen, answer: bytes, ending: Ending
) -> None:
    api = connect((await listen(answer, ending)).url)
    for request in (api.get(PATH), api.ask(PATH, {}, limit_seconds=5), follow(api)):
        fault = await fault_of(request)

        assert type(fault) is errors.TemporaryError
        assert PATH in str(fault)
        assert isinstance(fault.__cause__, aiohttp.ClientError | OSError)


async def test_a_refused_connection_is_a_temporary_fault(connect: Connect) -> None:
    api = connect(closed_port())
    for request in (api.get(PATH), api.ask(PATH, {}, limit_seconds=5), follow(api)):
        fault = await fault_of(request)

        assert type(fault) is errors.TemporaryError
        assert isinstance(fault.__cause__, aiohttp.ClientConnectionError)


@pytest.mark.looptime
async def test_an_answer_that_does_not_come_is_a_temporary_fault(
    connect: Connect, listen: Listen
) -> None:
    api = connect((await listen(b"", Ending.HANG)).url)
    for request, limit in (
        (api.get(PATH), 10),
        (api.ask(PATH, {}, limit_seconds=20), 20),
        (follow(api), 35),
    ):
        began = asyncio.get_running_loop().time()
        fault = await fault_of(request)

        assert type(fault) is errors.TemporaryError
        assert isinstance(fault.__cause__, TimeoutError)
        # aiohttp rounds up to whole seconds.
        assert asyncio.get_running_loop().time() - began <= limit + 1


@pytest.mark.looptime
async def test_a_watch_that_falls_silent_is_a_temporary_fault(
    connect: Connect, listen: Listen
) -> None:
    api = connect((await listen(chunked(LINE, is_whole=False), Ending.HANG)).url)

    assert type(await fault_of(follow(api))) is errors.TemporaryError


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b'{"metadata":', b"[]", b"null", b'"text"', b"\xff"]
)
async def test_an_answer_that_is_no_json_object_is_a_temporary_fault(
    connect: Connect, listen: Listen, body: bytes
) -> None:
    api = connect((await listen(http(200, body))).url)
    with pytest.raises(errors.TemporaryError, match=PATH):
        await api.get(PATH)
    with pytest.raises(errors.TemporaryError, match=PATH):
        _ = [page async for page in api.pages(PATH)]


@pytest.mark.parametrize("line", [b'{"type":"ADDED","obj', b"[]\n", b"<html>\n", b"\xff\n"])
async def test_a_watch_line_that_is_cut_off_or_garbage_is_a_temporary_fault(
    connect: Connect, listen: Listen, line: bytes
) -> None:
    api = connect((await listen(chunked(LINE + line, is_whole=True))).url)

    async with api.watch(PATH, query={}) as events:
        assert (await anext(events))["type"] == "ADDED"
        with pytest.raises(errors.TemporaryError, match=PATH):
            await anext(events)


@pytest.mark.parametrize("ending", [Ending.CLOSE, Ending.RESET])
async def test_a_watch_whose_stream_breaks_off_is_a_temporary_fault(
    connect: Connect, listen: Listen, ending: Ending
) -> None:
    api = connect((await listen(chunked(LINE, is_whole=False), ending)).url)

    fault = await fault_of(follow(api))
    assert type(fault) is errors.TemporaryError
    assert fault.__cause__ is not None


@pytest.mark.parametrize(
    ("code", "expected"), [(410, errors.WatchExpired), (500, errors.TemporaryError)]
)
async def test_an_error_in_a_watch_is_told_by_its_code(
    connect: Connect, listen: Listen, code: int, expected: type[Exception]
) -> None:
    text = b'{"type":"ERROR","object":{"kind":"Status","code":%d,"message":"why"}}\n' % code
    api = connect((await listen(chunked(text, is_whole=True))).url)

    with pytest.raises(expected, match="why"):
        await follow(api)


STATUSES = [
    (400, errors.PermanentError),
    (401, errors.TemporaryError),
    (403, errors.Forbidden),
    (404, errors.NotFound),
    (405, errors.PermanentError),
    (408, errors.TemporaryError),
    (409, errors.Conflict),
    (410, errors.WatchExpired),
    (422, errors.PermanentError),
    (429, errors.TemporaryError),
    (500, errors.TemporaryError),
    (502, errors.TemporaryError),
    (503, errors.TemporaryError),
    (504, errors.TemporaryError),
]


@pytest.mark.parametrize("body", [b'{"kind":"Status","message":"why"}', b"why <html>", b'["why"]'])
@pytest.mark.parametrize(("status", "expected"), STATUSES)
async def test_a_refusal_is_told_by_its_status_in_the_servers_own_words(
    connect: Connect, listen: Listen, status: int, expected: type[Exception], body: bytes
) -> None:
    api = connect((await listen(http(status, body))).url)
    requests = (
        api.get(PATH),
        api.post(PATH, {}),
        api.put(PATH, {}),
        api.patch(PATH, {}),
        api.delete(PATH, {}),
        follow(api),
    )
    for request in requests:
        fault = await fault_of(request)

        assert type(fault) is expected
        assert str(status) in str(fault)
        assert "why" in str(fault)


@pytest.mark.parametrize(
    ("header", "expected"),
    [("7", dt.timedelta(seconds=7)), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("-1", None)],
)
async def test_a_server_that_asks_for_patience_is_heard(
    connect: Connect, listen: Listen, header: str, expected: dt.timedelta | None
) -> None:
    api = connect((await listen(http(429, b"{}", Retry_After=header))).url)
    with pytest.raises(errors.TemporaryError) as raised:
        await api.get(PATH)

    assert raised.value.retry_after == expected


async def test_a_token_file_that_is_empty_for_a_moment_is_a_temporary_fault(
    listen: Listen, tmp_path: pathlib.Path
) -> None:
    server = await listen(http(200, b"{}"))
    configuration = client.Configuration(host=server.url, api_key={"BearerToken": ""})
    token = tmp_path / "token"
    token.write_text("first")

    def refresh(refreshed: client.Configuration) -> None:
        text = token.read_text()
        if not text:
            raise config.ConfigException("Token file exists but empty.")
        refreshed.api_key["BearerToken"] = f"bearer {text}"

    configuration.refresh_api_key_hook = refresh  # type: ignore[assignment] # declared as None
    async with contextlib.AsyncExitStack() as ends:
        transport = HttpTransport(configuration)
        ends.push_async_callback(transport.close)
        api = KubeApi(transport)
        await api.get(PATH)
        token.write_text("")
        with pytest.raises(errors.TemporaryError, match="empty"):
            await api.get(PATH)
        token.write_text("second")
        await api.get(PATH)

    sent = [head.lower() for head in server.heads]
    assert "authorization: bearer first" in sent[0]
    assert "authorization: bearer second" in sent[1]


async def test_requests_say_who_sends_them(connect: Connect, listen: Listen) -> None:
    server = await listen(http(200, b"{}"))
    await connect(server.url).patch(PATH, {}, content_type="application/merge-patch+json")

    (head,) = server.heads
    assert head.startswith(f"PATCH {PATH} ")
    assert "user-agent: queue-processor" in head.lower()
    assert "content-type: application/merge-patch+json" in head.lower()


async def test_the_proxy_of_the_environment_is_asked_but_for_servers_that_it_excludes(
    connect: Connect, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = await listen(http(200, b'{"via": "proxy"}'))
    monkeypatch.setenv("http_proxy", proxy.url)
    monkeypatch.setenv("no_proxy", "excluded.test")

    assert await connect("http://cluster.test").get(PATH) == {"via": "proxy"}
    assert proxy.heads[0].startswith(f"GET http://cluster.test{PATH} ")
    with pytest.raises(errors.TemporaryError):
        await connect("http://excluded.test").get(PATH)
    assert len(proxy.heads) == 1


async def test_an_api_server_in_an_excluded_network_is_not_asked_through_the_proxy(
    connect: Connect, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = await listen(http(200, b"{}"))
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.setenv("NO_PROXY", "192.0.2.0/24")
    with pytest.raises(errors.TemporaryError):
        await connect("http://192.0.2.1").get(PATH)

    assert not proxy.heads


async def test_an_error_on_the_way_through_a_proxy_names_it_without_its_credentials(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = closed_port().removeprefix("http://")
    monkeypatch.setenv("http_proxy", f"http://user:secret@{proxy}")
    error = await fault_of(connect("http://cluster.test").get(PATH))

    assert f"through the proxy http://{proxy}" in str(error)
    assert "secret" not in str(error)


async def test_a_proxy_gets_its_credentials(
    connect: Connect, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = await listen(http(200, b"{}"))
    address = proxy.url.removeprefix("http://")
    monkeypatch.setenv("http_proxy", f"http://user:s%40cret@{address}")
    await connect("http://cluster.test").get(PATH)

    expected = aiohttp.encode_basic_auth("user", "s@cret")
    assert f"proxy-authorization: {expected}".lower() in proxy.heads[0].lower()


async def test_a_proxy_that_refuses_a_tunnel_is_named_without_its_credentials(
    connect: Connect, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = await listen(http(403, b""))
    address = proxy.url.removeprefix("http://")
    monkeypatch.setenv("https_proxy", f"http://user:secret@{address}")
    error = await fault_of(connect("https://cluster.test").get(PATH))

    assert "403" in str(error)
    assert f"through the proxy http://{address}" in str(error)
    assert "secret" not in str(error)
    assert "proxy-authorization: basic" in proxy.heads[0].lower()
