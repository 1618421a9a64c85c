"""Traces of OpenTelemetry: one for each message, from its queue to its end.

The standard environment variables switch them on and say where they go; nothing else does. Without
them each span costs one comparison, and the SDK, which is an extra of the package, is not imported.
Spans are sent in the background, in batches, and dropped rather than waited for.

A message's spans nest by the context of its tasks. A drain belongs to all events of its node, so
its spans are made at the end, for each event that waited for it.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

import asyncio
import contextlib
import datetime as dt
import importlib.metadata
import os
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, TypeAlias

import structlog

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import Tracer

_log = structlog.get_logger(__name__)

Attributes: TypeAlias = Mapping[str, str | int | float | bool]

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL = "http/protobuf"
_NAME = "queue-processor"
# Of the time that a pod has to stop.
_LAST_EXPORT_SECONDS = 2.0
_NOTHING: AbstractContextManager[None] = contextlib.nullcontext()


class _State:
    """The tracer of the process; None: nobody wants traces."""

    tracer: "Tracer | None" = None


def span(
    name: str, *, since: dt.datetime | None = None, attributes: Attributes | None = None
) -> AbstractContextManager[object]:
    """Return a context that is a span, the child of the one around it.

    Args:
        name: What is done.
        since: When it began; None: now.
        attributes: What it is about.
    """
    if _State.tracer is None:
        return _NOTHING
    return _State.tracer.start_as_current_span(
        name, attributes=attributes, start_time=None if since is None else _nanoseconds(since)
    )


def past_span(
    name: str,
    *,
    since: dt.datetime,
    until: dt.datetime | None = None,
    attributes: Attributes | None = None,
) -> None:
    """Record a span that is over; by default it is now."""
    if _State.tracer is not None:
        span = _State.tracer.start_span(name, attributes=attributes, start_time=_nanoseconds(since))
        span.end(end_time=None if until is None else _nanoseconds(until))


def describe(attributes: Attributes) -> None:
    """Add attributes to the span around."""
    if _State.tracer is not None:
        from opentelemetry import trace  # noqa: PLC0415 - an extra

        trace.get_current_span().set_attributes(attributes)


@contextlib.asynccontextmanager
async def exporting() -> AsyncIterator[None]:
    """Send traces while this lasts, if the environment asks for them."""
    processor = _processor()
    if processor is None:
        yield
        return
    with _recording(processor):
        try:
            yield
        finally:
            await _end(processor)


@contextlib.contextmanager
def _recording(processor: "SpanProcessor") -> Iterator[None]:
    """Give all spans to a processor while this lasts."""
    from opentelemetry.sdk import resources  # noqa: PLC0415 - an extra
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415

    version = importlib.metadata.version(_NAME)
    named = resources.Resource({"service.name": _NAME, "service.version": version})
    # Variables of the environment, such as OTEL_SERVICE_NAME, have precedence.
    resource = named.merge(resources.OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(processor)
    _State.tracer = provider.get_tracer(_NAME, version)
    try:
        yield
    finally:
        _State.tracer = None


def _processor() -> "SpanProcessor | None":
    """Return what sends spans as the environment says; None if it asks for none."""
    endpoint = next((name for name in _ENDPOINTS if os.environ.get(name)), None)
    is_disabled = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if endpoint is None or is_disabled or os.environ.get("OTEL_TRACES_EXPORTER") == "none":
        return None
    protocol = next((os.environ[name] for name in _PROTOCOLS if os.environ.get(name)), _PROTOCOL)
    if protocol != _PROTOCOL:
        _log.warning("traces_unavailable", error=f"{protocol}: only {_PROTOCOL} is supported")
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError:
        _log.warning(
            "traces_unavailable",
            error=f"{endpoint} is set, and OpenTelemetry is not installed:"
            " pip install 'queue-processor[tracing]'",
        )
        return None
    return BatchSpanProcessor(OTLPSpanExporter())


async def _end(processor: "SpanProcessor") -> None:
    """Send what is left, but do not wait long for a collector that does not answer."""
    # The interpreter does not wait for this thread.
    thread = threading.Thread(target=processor.shutdown, name="last traces", daemon=True)
    thread.start()
    await asyncio.to_thread(thread.join, _LAST_EXPORT_SECONDS)


def _nanoseconds(moment: dt.datetime) -> int:
    """Return a time as OpenTelemetry has it, without the rounding of a float."""
    since_epoch = moment - dt.datetime.fromtimestamp(0, dt.UTC)
    return since_epoch // dt.timedelta(microseconds=1) * 1000
