"""Liveness, and the HTTP server for /healthz, /readyz and /metrics."""

import contextlib
import dataclasses
import errno
import socket
import time
from collections.abc import AsyncIterator

import structlog
from aiohttp import web
from prometheus_client.aiohttp import make_aiohttp_handler

from queue_processor.domain import errors

_log = structlog.get_logger(__name__)


@dataclasses.dataclass(slots=True)
class _Progress:
    at: float
    limit_seconds: float


class Liveness:
    """Collects the progress that loops report, for /healthz and /readyz.

    A loop that runs reports progress within its limit, or it is stalled. A paused loop has no
    limit: a standby that waits for the Lease is healthy.

    Attributes:
        is_ready: True once the node index is complete.
    """

    def __init__(self) -> None:
        self._loops: dict[str, _Progress] = {}
        self.is_ready = False

    def heartbeat(self, loop: str, *, limit_seconds: float = 60.0) -> None:
        """Record progress of a loop; the next heartbeat is due within the limit."""
        self._loops[loop] = _Progress(time.monotonic(), limit_seconds)

    def pause(self, loop: str) -> None:
        """Expect no heartbeat of a loop until its next one."""
        self._loops.pop(loop, None)

    def stalled(self) -> list[str]:
        """Return the loops whose heartbeat is overdue."""
        now = time.monotonic()
        return sorted(
            name
            for name, progress in self._loops.items()
            if now - progress.at > progress.limit_seconds
        )


_EVERY_ADDRESS = frozenset({"", "::"})
_NO_IPV6 = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
_LIVENESS = web.AppKey("liveness", Liveness)


@contextlib.asynccontextmanager
async def serving(host: str, port: int, *, liveness: Liveness) -> AsyncIterator[int]:
    """Serve probes and metrics while the block runs; yield the port.

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
    await runner.setup()
    try:
        try:
            await _site(runner, host, port).start()
        except OSError as cause:
            raise errors.ConfigurationError(
                f"http.bind: cannot listen on {host}:{port}: {cause.strerror or cause}"
            ) from cause
        bound = int(runner.addresses[0][1])
        _log.info("http_listening", host=host, port=bound)
        yield bound
    finally:
        await runner.cleanup()


def _site(runner: web.AppRunner, host: str, port: int) -> web.BaseSite:
    if host not in _EVERY_ADDRESS:
        return web.TCPSite(runner, host, port)
    return web.SockSite(runner, _listen_on_every_address(port))


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
    if not request.app[_LIVENESS].is_ready:
        return web.Response(status=503, text="the node index is not complete\n")
    return web.Response(text="ok\n")
