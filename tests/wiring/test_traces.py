"""Traces of OpenTelemetry, as a collector receives them from the program."""

import contextlib
import datetime as dt
import gzip
import signal
import time
from collections.abc import AsyncIterator, Mapping, Sequence

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from queue_processor.domain import aws_events
from queue_processor.domain.events import LifecycleTransition
from queue_processor.simulator.aws import events, lifecycle
from tests.fakes import receiver
from tests.wiring.conftest import Site

NODE = "node-a"


class Collector:
    """Takes spans by OTLP over HTTP.

    Attributes:
        url: Where it listens.
        spans: What it received.
        resource: What sent the spans.
    """

    def __init__(self) -> None:
        self.url = ""
        self.spans: list[Span] = []
        self.resource: Mapping[str, str] = {}

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator["Collector"]:
        """Receive for as long as this lasts."""
        async with receiver.serving(self._take) as self.url:
            yield self

    async def _take(self, request: web.BaseRequest) -> web.Response:
        assert (request.method, request.path) == ("POST", "/v1/traces")
        body = await request.read()
        if request.headers.get("Content-Encoding") == "gzip" and body[:2] == b"\x1f\x8b":
            body = gzip.decompress(body)
        for sent in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resource = {each.key: each.value.string_value for each in sent.resource.attributes}
            self.spans += [span for scope in sent.scope_spans for span in scope.spans]
        return web.Response(content_type="application/x-protobuf")

    def named(self, name: str) -> Span:
        """The only span with a name."""
        (span,) = (span for span in self.spans if span.name == name)
        return span

    def names(self) -> Sequence[str]:
        """The names of all spans, by when they began."""
        return [
            span.name for span in sorted(self.spans, key=lambda each: each.start_time_unix_nano)
        ]


def attributes_of(span: Span) -> Mapping[str, str | int]:
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with Collector().listening() as made:
        yield made


async def test_a_message_is_a_trace_from_its_queue_to_its_end(
    site: Site, collector: Collector
) -> None:
    (instance_id,) = site.aws.launch(1)
    hook = lifecycle.SimulatedLifecycleHook(
        "web", "drain", LifecycleTransition.TERMINATING, heartbeat_timeout=dt.timedelta(minutes=1)
    )
    site.aws.create_auto_scaling_group("web", [instance_id], [hook])
    site.cluster.add_node(NODE, instance_id=instance_id)
    site.cluster.add_pod("web", node=NODE)
    operator = await site.start(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)

    site.aws.terminate_in_group(instance_id)
    await site.until(site.is_settled)
    operator.send(signal.SIGTERM)
    assert await operator.ended() == 0

    root = collector.named("message")
    assert collector.resource["service.name"] == "queue-processor"
    assert {span.trace_id for span in collector.spans} == {root.trace_id}
    steps = ("receive", "plan", "mark", "evict", "wait", "complete", "acknowledge")
    assert sorted(collector.names()) == sorted(("message", *steps))
    assert {collector.named(step).parent_span_id for step in steps} == {root.span_id}
    ends = [collector.named(step).end_time_unix_nano for step in steps]
    assert ends == sorted(ends)
    shown = attributes_of(root)
    assert shown["queue_processor.kind"] == "autoscaling_termination"
    assert shown["queue_processor.outcome"] == "done"
    assert shown["messaging.message.id"] == operator.logged("outcome")["message_id"]
    evict, wait = collector.named("evict"), collector.named("wait")
    assert attributes_of(evict)["k8s.node.name"] == NODE
    assert attributes_of(evict)["queue_processor.evicted"] == 1
    # The pod stops half a second after it was evicted.
    assert wait.end_time_unix_nano - wait.start_time_unix_nano > 0.3e9


async def test_events_of_one_node_have_a_trace_each(site: Site, collector: Collector) -> None:
    (instance_id,) = site.aws.launch(1)
    site.cluster.add_node(NODE, instance_id=instance_id)
    site.cluster.add_pod("web", node=NODE)
    operator = await site.start(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)

    site.aws.put_event(aws_events.spot_interruption(instance_id, origin=events.new_origin()))
    site.aws.put_event(aws_events.state_change(instance_id, "stopping", origin=events.new_origin()))
    await site.until(site.is_settled)
    operator.send(signal.SIGTERM)
    assert await operator.ended() == 0

    roots = [span for span in collector.spans if span.name == "message"]
    assert len({root.trace_id for root in roots}) == 2
    for name in ("receive", "plan", "mark", "evict", "wait", "acknowledge"):
        parents = sorted(span.parent_span_id for span in collector.spans if span.name == name)
        assert parents == sorted(root.span_id for root in roots)


async def test_a_collector_that_hangs_delays_neither_the_drain_nor_the_end(site: Site) -> None:
    (instance_id,) = site.aws.launch(1)
    site.cluster.add_node(NODE, instance_id=instance_id)
    site.cluster.add_pod("web", node=NODE)
    # A port of the test network (RFC 5737): nobody answers there.
    hangs = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://192.0.2.1:4318"}
    operator = await site.start(**hangs, OTEL_EXPORTER_OTLP_TIMEOUT="600")

    site.aws.put_event(aws_events.spot_interruption(instance_id, origin=events.new_origin()))
    await site.until(site.is_settled)
    operator.send(signal.SIGTERM)
    began = time.monotonic()
    assert await operator.ended() == 0

    # OpenTelemetry's own shutdown waits for 30 s.
    assert time.monotonic() - began < 25
    assert not site.cluster.store.pods_on(NODE)


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "grpc: only http/protobuf is supported"),
        ({"OTEL_SDK_DISABLED": "true"}, None),
        ({"OTEL_TRACES_EXPORTER": "none"}, None),
    ],
)
async def test_what_the_environment_excludes_is_not_sent(
    site: Site, collector: Collector, variables: Mapping[str, str], reason: str | None
) -> None:
    (instance_id,) = site.aws.launch(1)
    site.cluster.add_node(NODE, instance_id=instance_id)
    operator = await site.start(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, **variables)

    site.aws.put_event(aws_events.spot_interruption(instance_id, origin=events.new_origin()))
    await site.until(site.is_settled)
    operator.send(signal.SIGTERM)
    assert await operator.ended() == 0

    assert collector.spans == []
    assert operator.logged("traces_unavailable").get("error") == reason
