"""/healthz, /readyz and /metrics."""

import contextlib
from collections.abc import AsyncIterator

import prometheus_client
import structlog
from aiohttp import web

from queue_processor.domain import errors
from queue_processor.observability.health import Liveness

_log = structlog.get_logger(__name__)

_VITALS = web.AppKey("liveness", Liveness)


@contextlib.asynccontextmanager
async def serving(host: str, port: int, *, liveness: Liveness) -> AsyncIterator[int]:
    """Answer probes and scrapes while the block runs; the value is the port.

    Raises:
        ConfigurationError: The address is taken, or is not ours.
    """
    app = web.Application()
    app[_VITALS] = liveness
    app.add_routes(
        [
            web.get("/healthz", _healthz),
            web.get("/readyz", _readyz),
            web.get("/metrics", _metrics),
        ]
    )
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as cause:
            raise errors.ConfigurationError(
                f"http.bind: cannot listen on {host}:{port}: {cause.strerror or cause}"
            ) from cause
        bound = int(runner.addresses[0][1])
        _log.info("http_listening", host=host, port=bound)
        yield bound
    finally:
        await runner.cleanup()


async def _healthz(request: web.Request) -> web.Response:
    stuck = request.app[_VITALS].stalled()
    if stuck:
        return web.Response(status=503, text=f"no progress: {', '.join(stuck)}\n")
    return web.Response(text="ok\n")


async def _readyz(request: web.Request) -> web.Response:
    if not request.app[_VITALS].is_ready:
        return web.Response(status=503, text="the node index is not complete\n")
    return web.Response(text="ok\n")


async def _metrics(_: web.Request) -> web.Response:
    return web.Response(
        body=prometheus_client.generate_latest(),
        headers={"Content-Type": prometheus_client.CONTENT_TYPE_LATEST},
    )
