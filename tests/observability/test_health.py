"""The HTTP endpoints for probes and metrics."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import aiohttp
import pytest

from queue_processor.domain import errors
from queue_processor.observability import health, metrics


async def _get(
    port: int, path: str, *, host: str = "127.0.0.1", **headers: str
) -> tuple[int, str, str]:
    async with (
        aiohttp.ClientSession(f"http://{host}:{port}", headers=headers) as session,
        session.get(path) as response,
    ):
        return response.status, response.content_type, await response.text()


async def test_without_news_about_nodes_for_minutes_the_process_is_alive_but_not_ready() -> None:
    now = 1000.0
    liveness = health.Liveness(clock=lambda: now)
    async with health.serving("127.0.0.1", 0, liveness=liveness) as port:
        before = await _get(port, "/readyz")
        liveness.node_news()
        now += 299
        quiet = await _get(port, "/readyz")
        now += 2
        silent = await _get(port, "/readyz")
        alive = await _get(port, "/healthz")
        liveness.node_news()
        again = await _get(port, "/readyz")

    assert before == (503, "text/plain", "the node index is not complete\n")
    assert silent == (503, "text/plain", "nothing was learnt about nodes for 301 s\n")
    assert quiet == alive == again == (200, "text/plain", "ok\n")


async def test_a_stalled_loop_fails_the_liveness_probe_until_it_pauses() -> None:
    liveness = health.Liveness()
    liveness.heartbeat("receive", limit_seconds=0)
    liveness.heartbeat("lease")

    async with health.serving("127.0.0.1", 0, liveness=liveness) as port:
        stalled = await _get(port, "/healthz")
        liveness.pause("receive")
        paused = await _get(port, "/healthz")

    assert stalled == (503, "text/plain", "no progress: receive\n")
    assert paused == (200, "text/plain", "ok\n")


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [("*/*", "text/plain"), ("application/openmetrics-text", "application/openmetrics-text")],
)
async def test_metrics_are_served_in_the_format_that_the_scraper_accepts(
    accept: str, content_type: str
) -> None:
    async with health.serving("127.0.0.1", 0, liveness=health.Liveness()) as port:
        status, served, text = await _get(port, "/metrics", Accept=accept)

    assert (status, served) == (200, content_type)
    for entry in metrics.CATALOGUE.entries:
        assert f"# HELP {entry.name.removesuffix('_total').removesuffix('_info')}" in text


@pytest.mark.parametrize("bind", ["", "::"])
async def test_without_a_host_probes_of_both_address_families_are_served(bind: str) -> None:
    async with health.serving(bind, 0, liveness=health.Liveness()) as port:
        answers = [await _get(port, "/healthz", host=host) for host in ("127.0.0.1", "[::1]")]

    assert answers == [(200, "text/plain", "ok\n")] * 2


@contextlib.asynccontextmanager
async def _half_open(port: int, count: int) -> AsyncIterator[list[asyncio.StreamReader]]:
    """Open connections whose requests never end."""
    async with contextlib.AsyncExitStack() as stack:
        readers = []
        for _ in range(count):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            stack.callback(writer.close)
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: half")
            readers.append(reader)
        yield readers


async def _until_closed(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(ConnectionResetError):
        await reader.read()


async def test_requests_whose_headers_never_end_are_closed() -> None:
    async with (
        asyncio.timeout(20),
        health.serving(
            "127.0.0.1", 0, liveness=health.Liveness(), connection_limit_seconds=0.5
        ) as port,
        _half_open(port, 60) as readers,
    ):
        await asyncio.gather(*(_until_closed(reader) for reader in readers))


async def test_however_many_connections_are_opened_few_stay_and_a_probe_is_served() -> None:
    async with (
        asyncio.timeout(8),
        health.serving("127.0.0.1", 0, liveness=health.Liveness()) as port,
        _half_open(port, 300) as readers,
    ):
        answer = await _get(port, "/healthz")
        await asyncio.gather(*(_until_closed(reader) for reader in readers[:200]))

    assert answer == (200, "text/plain", "ok\n")


async def test_a_port_that_is_taken_is_a_configuration_error() -> None:
    liveness = health.Liveness()
    async with health.serving("127.0.0.1", 0, liveness=liveness) as port:
        with pytest.raises(errors.ConfigurationError, match=rf"^http\.bind: .*127\.0\.0\.1:{port}"):
            async with health.serving("127.0.0.1", port, liveness=liveness):
                pass
