"""The memory that TLS connections take."""

import asyncio
import contextlib
import pathlib
import ssl
import tracemalloc
from asyncio import sslproto

import pytest

from queue_processor.adapters.kube import tls_buffers
from tests.adapters.test_trust import Authority

_CONNECTIONS = 20

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
