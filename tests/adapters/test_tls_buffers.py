"""The memory that TLS connections take."""

import asyncio
import contextlib
import pathlib
import ssl
import tracemalloc
from asyncio import sslproto
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from queue_processor.adapters.kube import tls_buffers
from tests.adapters.test_trust import Authority

_CONNECTIONS = 20
_SENT = 4 * 1024 * 1024

# That of asyncio; another test of this process may have started an operator, which limits it.
_DEFAULT_BYTES = 256 * 1024


class _Sender(asyncio.Protocol):
    """Sends megabytes to each client."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(bytes(_SENT))


class _Receiver(asyncio.Protocol):
    """Notes how much each turn of the event loop brings."""

    def __init__(self, *, is_stream: bool) -> None:
        self._is_stream = is_stream
        self.sizes: list[int] = []
        self.is_full = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self._is_stream:
            tls_buffers.enlarge(transport)

    def data_received(self, data: bytes) -> None:
        self.sizes.append(len(data))
        if sum(self.sizes) == _SENT:
            self.is_full.set()


@contextlib.asynccontextmanager
async def _serving(
    folder: pathlib.Path, protocol: type[asyncio.Protocol]
) -> AsyncIterator[Callable[[Callable[[], asyncio.Protocol]], Awaitable[None]]]:
    """Serve by TLS, and yield what opens a connection to it, for as long as this lasts."""
    authority = Authority(folder)
    trust = ssl.create_default_context(cafile=str(authority.path))
    trust.verify_flags &= ~ssl.VERIFY_X509_STRICT
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        protocol, "127.0.0.1", 0, ssl=authority.server_context("127.0.0.1")
    )
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(server)
        host, port = server.sockets[0].getsockname()

        async def connect(client: Callable[[], asyncio.Protocol]) -> None:
            connection, _ = await loop.create_connection(client, host, port, ssl=trust)
            stack.callback(connection.abort)

        yield connect


async def _bytes_of_a_connection(folder: pathlib.Path) -> float:
    """Return what one more TLS connection takes, with both of its ends in this process."""
    async with _serving(folder, asyncio.Protocol) as connect:
        tracemalloc.start()
        try:
            for _ in range(_CONNECTIONS):
                await connect(asyncio.Protocol)
            return tracemalloc.get_traced_memory()[0] / _CONNECTIONS
        finally:
            tracemalloc.stop()


async def test_the_buffers_of_tls_connections_are_small(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sslproto.SSLProtocol, "max_size", _DEFAULT_BYTES)
    before = await _bytes_of_a_connection(tmp_path)

    tls_buffers.limit()

    after = await _bytes_of_a_connection(tmp_path)
    assert after < 2 * tls_buffers.BUFFER_BYTES + 32 * 1024 < before


@pytest.mark.parametrize("is_stream", [False, True], ids=["an answer", "a stream"])
async def test_a_turn_of_the_loop_brings_more_of_a_stream(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, *, is_stream: bool
) -> None:
    monkeypatch.setattr(sslproto.SSLProtocol, "max_size", tls_buffers.BUFFER_BYTES)
    receiver = _Receiver(is_stream=is_stream)

    async with _serving(tmp_path, _Sender) as connect:
        await connect(lambda: receiver)
        await receiver.is_full.wait()

    if is_stream:
        assert max(receiver.sizes) > tls_buffers.BUFFER_BYTES
    else:
        assert max(receiver.sizes) <= tls_buffers.BUFFER_BYTES
