"""Liveness, and the HTTP server for /healthz, /readyz and /metrics."""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import errno
import socket
from collections.abc import AsyncIterator, Callable

import structlog
from aiohttp import web
from prometheus_client.aiohttp import make_aiohttp_handler

from queue_processor.domain import errors

_log = structlog.get_logger(__name__)

_LONGEST_NODE_SILENCE = dt.timedelta(minutes=5)


DEFAULT_LIMIT_SECONDS = 60.0


@dataclasses.dataclass(slots=True)
class _Progress:
    at: float
    limit_seconds: float


class Liveness:
    """Collects the progress that loops report, for /healthz and /readyz.

    A loop that runs reports progress within its limit, or it is stalled. A paused loop has no
    limit: a standby that waits for the Lease is healthy.

    The process is ready once the node index is complete, and for as long as there is news about
    nodes. Without news it goes on with what it has begun, so that is no matter of liveness.
    """

    def __init__(self, *, clock: Callable[[], float] | None = None) -> None:
        self._clock = clock or asyncio.get_running_loop().time
        self._loops: dict[str, _Progress] = {}
        self._node_news_at: float | None = None

    def heartbeat(self, loop: str, *, limit_seconds: float = DEFAULT_LIMIT_SECONDS) -> None:
        """Record progress of a loop; the next heartbeat is due within the limit."""
        self._loops[loop] = _Progress(self._clock(), limit_seconds)

    def pause(self, loop: str) -> None:
        """Expect no heartbeat of a loop until its next one."""
        self._loops.pop(loop, None)

    def node_news(self) -> None:
        """Record that something about nodes was learnt: a list, or a change."""
        self._node_news_at = self._clock()

    @property
    def node_silence(self) -> dt.timedelta | None:
        """The time since the last news about nodes; None before the first."""
        if self._node_news_at is None:
            return None
        return dt.timedelta(seconds=self._clock() - self._node_news_at)

    def stalled(self) -> list[str]:
        """Return the loops whose heartbeat is overdue."""
        now = self._clock()
        return sorted(
            name
            for name, progress in self._loops.items()
            if now - progress.at > progress.limit_seconds
        )


_EVERY_ADDRESS = frozenset({"", "::"})
_NO_IPV6 = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
_MOST_CONNECTIONS = 64
# asyncio accepts so many before it counts them.
_BACKLOG = 32
_LIVENESS = web.AppKey("liveness", Liveness)


class _BoundedConnections:
    """Makes the protocols of connections, few at a time and each for a short time.

    aiohttp waits for ever for the rest of a request. A client that opens connections and sends
    nothing would use up the process's files, which the connections to AWS and the API server need.
    At the limit the oldest connection is closed and not the new one, which may be a probe.
    """

    def __init__(self, server: web.Server, *, limit_seconds: float) -> None:
        self._server = server
        self._limit_seconds = limit_seconds

    def __call__(self) -> asyncio.Protocol:
        """Return the protocol of a new connection."""
        surplus = len(self._server.connections) + 1 - _MOST_CONNECTIONS
        for oldest in self._server.connections[: max(surplus, 0)]:
            _abort(oldest)
        protocol = self._server()
        asyncio.get_running_loop().call_later(self._limit_seconds, _abort, protocol)
        return protocol


def _abort(protocol: web.RequestHandler) -> None:
    if protocol.transport is not None:
        protocol.transport.abort()


async def _close_connection(_: web.Request, response: web.StreamResponse) -> None:
    response.force_close()


@contextlib.asynccontextmanager
async def serving(
    host: str, port: int, *, liveness: Liveness, connection_limit_seconds: float = 10.0
) -> AsyncIterator[int]:
    """Serve probes and metrics while the block runs; yield the port.

    Args:
        host: The address to listen on; empty or `::` for every address of both families.
        port: The port; 0 for a free one.
        liveness: What the probes ask.
        connection_limit_seconds: How long a connection may last, with its one request.

    Raises:
        ConfigurationError: The server cannot listen on this address.
    """
    app = web.Application()
    app[_LIVENESS] = liveness
    app.add_routes(
        [
            web.get("/healthz", _healthz),
            web.get("/readyz", _readyz),
            web.get("/metrics", make_aiohttp_handler()),
        ]
    )
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    app.on_response_prepare.append(_close_connection)
    await runner.setup()
    assert runner.server is not None  # noqa: S101 - it is set up
    connections = _BoundedConnections(runner.server, limit_seconds=connection_limit_seconds)
    listening: asyncio.Server | None = None
    try:
        try:
            listening = await _listen(connections, host, port)
        except OSError as cause:
            raise errors.ConfigurationError(
                f"http.bind: cannot listen on {host}:{port}: {cause.strerror or cause}"
            ) from cause
        bound = int(listening.sockets[0].getsockname()[1])
        _log.info("http_listening", host=host, port=bound)
        yield bound
    finally:
        if listening is not None:
            listening.close()
        await runner.cleanup()


async def _listen(connections: _BoundedConnections, host: str, port: int) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    if host not in _EVERY_ADDRESS:
        return await loop.create_server(connections, host, port, backlog=_BACKLOG)
    return await loop.create_server(
        connections, sock=_listen_on_every_address(port), backlog=_BACKLOG
    )


def _listen_on_every_address(port: int) -> socket.socket:
    """Return a socket for IPv6 and IPv4; asyncio would make it one for IPv6 only."""
    if socket.has_dualstack_ipv6():
        try:
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        except OSError as error:
            if error.errno not in _NO_IPV6:
                raise
    return socket.create_server(("", port))


async def _healthz(request: web.Request) -> web.Response:
    stalled = request.app[_LIVENESS].stalled()
    if stalled:
        return web.Response(status=503, text=f"no progress: {', '.join(stalled)}\n")
    return web.Response(text="ok\n")


async def _readyz(request: web.Request) -> web.Response:
    silence = request.app[_LIVENESS].node_silence
    if silence is None:
        return web.Response(status=503, text="the node index is not complete\n")
    if silence > _LONGEST_NODE_SILENCE:
        text = f"nothing was learnt about nodes for {silence.total_seconds():.0f} s\n"
        return web.Response(status=503, text=text)
    return web.Response(text="ok\n")
