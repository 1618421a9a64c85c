"""The HTTP endpoints for probes and metrics."""

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


async def test_a_port_that_is_taken_is_a_configuration_error() -> None:
    liveness = health.Liveness()
    async with health.serving("127.0.0.1", 0, liveness=liveness) as port:
        with pytest.raises(errors.ConfigurationError, match=rf"^http\.bind: .*127\.0\.0\.1:{port}"):
            async with health.serving("127.0.0.1", port, liveness=liveness):
                pass
