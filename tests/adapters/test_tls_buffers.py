"""The memory that TLS connections take."""

import asyncio
import contextlib
import pathlib
import ssl
import tracemalloc
from asyncio import sslproto

import pytest
from aiohttp import client_proto

from queue_processor.adapters.kube import tls_buffers
from queue_processor.adapters.kube.transport import Request
from tests.adapters.test_trust import Authority, serving, transport_to

_CONNECTIONS = 20
_LONG = b" " * (4 * 1024 * 1024)

# That of asyncio; another test of this process may have started an operator, which limits it.
_DEFAULT_BYTES = 256 * 1024


async def _bytes_of_a_connection(folder: pathlib.Path) -> float:
    """Return what one more TLS connection takes, with both of its ends in this process."""
    authority = Authority(folder)
    trust = ssl.create_default_context(cafile=str(authority.path))
    trust.verify_flags &= ~ssl.VERIFY_X509_STRICT
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        asyncio.Protocol, "127.0.0.1", 0, ssl=authority.server_context("127.0.0.1")
    )
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(server)
        host, port = server.sockets[0].getsockname()
        tracemalloc.start()
        stack.callback(tracemalloc.stop)
        for _ in range(_CONNECTIONS):
            connection, _ = await loop.create_connection(asyncio.Protocol, host, port, ssl=trust)
            stack.callback(connection.abort)
        return tracemalloc.get_traced_memory()[0] / _CONNECTIONS


async def test_the_buffers_of_tls_connections_are_small(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sslproto.SSLProtocol, "max_size", _DEFAULT_BYTES)
    before = await _bytes_of_a_connection(tmp_path)

    tls_buffers.limit()

    after = await _bytes_of_a_connection(tmp_path)
    assert after < 2 * tls_buffers.BUFFER_BYTES + 32 * 1024 < before


@pytest.mark.parametrize(
    ("query", "is_large"), [(None, False), ({"limit": "200"}, True)], ids=["one object", "a list"]
)
async def test_a_turn_of_the_loop_brings_more_of_a_list(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    query: dict[str, str] | None,
    *,
    is_large: bool,
) -> None:
    monkeypatch.setattr(sslproto.SSLProtocol, "max_size", tls_buffers.BUFFER_BYTES)
    receive, sizes = client_proto.ResponseHandler.data_received, []

    def data_received(handler: client_proto.ResponseHandler, data: bytes) -> None:
        sizes.append(len(data))
        receive(handler, data)

    monkeypatch.setattr(client_proto.ResponseHandler, "data_received", data_received)
    authority = Authority(tmp_path)
    async with serving(authority.server_context("127.0.0.1"), _LONG) as url:
        transport = transport_to(url, authority)
        answer = await transport.send(Request("GET", "/api/v1/pods", query=query))
        await transport.close()

    assert answer.body == _LONG
    assert (max(sizes) > tls_buffers.BUFFER_BYTES) == is_large
