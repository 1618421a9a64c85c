"""Each metric of the catalogue moves by what it counts, in the hands of the real controller.

A scenario runs once and pauses where the metrics are read. A row of the table states which series a
scenario moves, and by how much; a metric without a row fails the first test.
"""

import asyncio
import dataclasses
import importlib.metadata
import platform
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TypeAlias

import prometheus_client
import pytest

from queue_processor.domain import aws_events, errors
from queue_processor.observability import metrics
from queue_processor.simulator.aws import events
from queue_processor.simulator.kube import faults, manifests
from tests.controller import stage
from tests.fakes.receiver import Receiver

Scenario: TypeAlias = Callable[[stage.World], AsyncIterator[None]]

GAUGES = {entry.name for entry in metrics.CATALOGUE.entries if entry.kind == "gauge"}


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """A series that a scenario moves.

    Attributes:
        by: How much it grows from the first pause to the last, and for a gauge: the value that
            it has at a pause and had not before. None: at all.
    """

    series: str
    scenario: Scenario
    by: float | None
    labels: Mapping[str, str]

    def __str__(self) -> str:
        return "-".join((self.series, *self.labels.values()))

    def read(self) -> float:
        return prometheus_client.REGISTRY.get_sample_value(self.series, dict(self.labels)) or 0.0

    def holds_for(self, values: Sequence[float]) -> bool:
        """Return True if the series had the values that it must have at the pauses."""
        first, *later = values
        if self.series in GAUGES:
            return len(set(values)) > 1 and any(
                value == pytest.approx(self.by, abs=0.05) for value in later
            )
        return values[-1] > first if self.by is None else values[-1] - first == self.by


def _name_of(scenario: Scenario) -> str:
    return scenario.__name__.removeprefix("_")


def _row(scenario: Scenario, by: float | None, series: str, **labels: str) -> Row:
    return Row(f"queue_processor_{series}", scenario, by, labels)


async def _drained(world: stage.World) -> AsyncIterator[None]:
    world.add_nodes(3)
    world.cluster.add_replica_set("web", replicas=3, labels={"app": "web"}, nodes=["node-0"])
    await world.start()
    yield
    world.send_spot(0, age=20)
    await world.until_settled()
    await asyncio.sleep(1)
    yield


async def _nothing_to_move(world: stage.World) -> AsyncIterator[None]:
    world.add_nodes(1)
    await world.start()
    yield
    world.send_spot(0)
    await world.until_settled()
    yield


async def _slow(world: stage.World) -> AsyncIterator[None]:
    """A drain of 25 s, which is looked at after 12."""
    world.add_nodes(2)
    world.cluster.add_pod("slow", node="node-0", spec=manifests.PodSpec(exit_seconds=25))
    await world.start()
    yield
    world.send_spot(0)
    await asyncio.sleep(12)
    yield
    await world.until_settled()
    await asyncio.sleep(0.1)
    yield


async def _idle(world: stage.World) -> AsyncIterator[None]:
    await world.start()
    yield
    await asyncio.sleep(25)
    yield


async def _refused_by_the_queue(world: stage.World) -> AsyncIterator[None]:
    await world.start()
    yield
    world.queue.fail("ReceiveMessage", errors.PermanentError("no such permission"))
    await asyncio.sleep(25)
    yield


async def _full_house(world: stage.World) -> AsyncIterator[None]:
    """Ten messages are all that may be in hand, and there are twelve."""
    world.add_nodes(13)
    long = manifests.PodSpec(exit_seconds=60, grace_seconds=90)
    for number in range(12):
        world.cluster.add_pod(f"slow-{number}", node=f"node-{number}", spec=long)
    await world.start(sources={"max_in_flight": 10})
    for number in range(12):
        world.send_spot(number)
    await asyncio.sleep(5)
    yield
    await asyncio.sleep(30)
    yield
    await world.until_settled(limit=150)
    await asyncio.sleep(30)
    yield


async def _received_again(world: stage.World) -> AsyncIterator[None]:
    scenario = _slow(world)
    await anext(scenario)
    yield
    await anext(scenario)
    world.queue.make_visible(*world.queue.in_flight)
    await anext(scenario)
    yield


async def _visibility_refused(world: stage.World) -> AsyncIterator[None]:
    world.queue.fail("ChangeMessageVisibilityBatch", errors.TemporaryError("throttled"))
    async for _ in _slow(world):
        yield


async def _taken_back(world: stage.World) -> AsyncIterator[None]:
    world.queue.fail(
        "ChangeMessageVisibilityBatch", errors.StaleReceiptHandle("the handle is stale")
    )
    async for _ in _slow(world):
        yield


async def _of_seven_requests(world: stage.World) -> AsyncIterator[None]:
    await world.start()
    yield
    await world.start(kubernetes={"requests_in_flight": 7})
    yield


async def _not_deleted(world: stage.World) -> AsyncIterator[None]:
    world.add_nodes(1)
    await world.start()
    yield
    world.queue.fail("DeleteMessageBatch", errors.StaleReceiptHandle("the handle is stale"))
    world.send_spot(0)
    await asyncio.sleep(5)
    yield


async def _deletion_repeated(world: stage.World) -> AsyncIterator[None]:
    world.queue.fail("DeleteMessageBatch", *[errors.TemporaryError("throttled")] * 2)
    async for _ in _drained(world):
        yield


async def _malformed(world: stage.World) -> AsyncIterator[None]:
    world.queue.fail("SendMessageBatch", errors.TemporaryError("throttled"))
    await world.start()
    yield
    world.queue.send("{not json")
    await world.until_settled()
    yield


async def _asks_for_nothing(world: stage.World) -> AsyncIterator[None]:
    await world.start()
    yield
    world.send_state(0, "pending")
    await world.until_settled()
    yield


async def _unknown(world: stage.World) -> AsyncIterator[None]:
    await world.start()
    yield
    world.send_rebalance(7)
    await world.until_settled(limit=90)
    yield


async def _stopped(world: stage.World) -> AsyncIterator[None]:
    world.add_nodes(2)
    world.cluster.add_pod("slow", node="node-0", spec=manifests.PodSpec(exit_seconds=25))
    operator = await world.start()
    yield
    world.send_spot(0)
    await asyncio.sleep(5)
    await operator.stop()
    yield


async def _begun(world: stage.World) -> AsyncIterator[None]:
    yield
    await world.start()
    yield


async def _leadership_lost(world: stage.World) -> AsyncIterator[None]:
    operator = await world.start()
    yield
    operator.transport.cut()
    await asyncio.sleep(20)
    yield


async def _blocked(world: stage.World) -> AsyncIterator[None]:
    world.add_nodes(2)
    world.add_blocked_pod("node-0")
    await world.start()
    yield
    world.send_spot(0)
    await world.until_settled(limit=130)
    yield


async def _deletion_of_a_pod_repeated(world: stage.World) -> AsyncIterator[None]:
    busy = faults.ErrorResponse(503, "ServiceUnavailable", "later")
    world.server.faults.add(faults.Fault(busy, method="DELETE", path=".*/pods/.*", times=2))
    async for _ in _blocked(world):
        yield


async def _left(world: stage.World) -> AsyncIterator[None]:
    world.add_nodes(2)
    world.add_blocked_pod("node-0")
    await world.start(drain={"on_deadline": "leave"})
    yield
    world.send_spot(0)
    await world.until_settled(limit=130)
    yield


async def _dead_node(world: stage.World) -> AsyncIterator[None]:
    world.add_nodes(2)
    world.cluster.add_pod("stuck", node="node-0")
    await world.start()
    yield
    world.cluster.kill_kubelet("node-0")
    world.send_state(0, "stopped")
    await world.until_settled()
    yield


async def _cordon_repeated(world: stage.World) -> AsyncIterator[None]:
    busy = faults.ErrorResponse(429, "TooManyRequests", "busy")
    world.server.faults.add(
        faults.Fault(busy, method="PATCH", path="/api/v1/nodes/node-0", times=2)
    )
    async for _ in _drained(world):
        yield


async def _cancelled_change(world: stage.World) -> AsyncIterator[None]:
    world.add_nodes(2)
    await world.start()
    change = events.new_change(world.clock(), status="open")
    world.queue.send(
        aws_events.scheduled_change([stage.instance(0)], change, origin=world.origin())
    )
    await world.until_settled()
    yield
    busy = faults.ErrorResponse(503, "ServiceUnavailable", "later")
    world.server.faults.add(faults.Fault(busy, method="GET", path="/api/v1/nodes/node-0", times=1))
    change = dataclasses.replace(change, status="closed")
    world.queue.send(
        aws_events.scheduled_change([stage.instance(0)], change, origin=world.origin())
    )
    await world.until_settled()
    yield


async def _terminated_by_its_group(world: stage.World) -> AsyncIterator[None]:
    """A drain of more than half of the hook's heartbeat timeout, which is an hour."""
    world.add_nodes(2)
    world.add_blocked_pod("node-0")
    await world.start(drain={"lifecycle_drain_timeout_seconds": 2400})
    yield
    world.send_termination(0)
    await world.until_settled(limit=2500, step=1)
    yield


async def _throttled_by_its_group(world: stage.World) -> AsyncIterator[None]:
    throttled = errors.TemporaryError("throttled")
    world.lifecycle.fail("heartbeat", throttled)
    world.lifecycle.fail("complete", throttled)
    async for _ in _terminated_by_its_group(world):
        yield


async def _completed_by_another(world: stage.World) -> AsyncIterator[None]:
    world.lifecycle.fail("heartbeat", errors.NotFound("No active Lifecycle Action found"))
    async for _ in _terminated_by_its_group(world):
        yield


async def _of_another_account(world: stage.World) -> AsyncIterator[None]:
    world.add_nodes(1)
    await world.start(sources={"sqs": {"accounts": ["444455556666"]}})
    yield
    world.send_spot(0)
    await world.until_settled()
    yield


async def _never_joined(world: stage.World) -> AsyncIterator[None]:
    await world.start(drain={"unknown_instance_grace_seconds": 1})
    yield
    world.send_termination(7)
    await world.until_settled()
    yield


async def _events_refused(world: stage.World) -> AsyncIterator[None]:
    forbidden = faults.ErrorResponse(403, "Forbidden", "no such permission")
    world.server.faults.add(faults.Fault(forbidden, path="/apis/events.k8s.io/.*"))
    async for _ in _drained(world):
        yield


async def _announced(world: stage.World) -> AsyncIterator[None]:
    """One receiver takes what it is told, and one is not there."""
    world.add_nodes(1)
    async with Receiver().listening() as receiver:
        await world.start(
            webhooks=[
                {"url": receiver.url, "phases": ["drain_start"]},
                {"url": "http://127.0.0.1:9/", "phases": ["drain_end"]},
            ]
        )
        yield
        world.send_spot(0)
        await world.until_settled()
        await asyncio.sleep(60)
        yield


async def _joined(world: stage.World) -> AsyncIterator[None]:
    world.add_nodes(2)
    await world.start()
    yield
    world.add_nodes(1, first=2)
    await asyncio.sleep(1)
    yield


async def _unmapped(world: stage.World) -> AsyncIterator[None]:
    world.add_nodes(2)
    await world.start()
    yield
    world.cluster.add_node("elsewhere", instance_id="no-instance")
    await asyncio.sleep(1)
    yield


ROWS = [
    _row(_drained, 1, "receive_calls_total", source="sqs", outcome="messages"),
    _row(_idle, 1, "receive_calls_total", source="sqs", outcome="empty"),
    _row(_refused_by_the_queue, 1, "receive_calls_total", source="sqs", outcome="failed"),
    _row(_drained, 1, "messages_received_total", source="sqs"),
    _row(_received_again, 1, "messages_received_again_total"),
    _row(_drained, 1, "messages_total", kind="spot_interruption", outcome="done"),
    _row(_asks_for_nothing, 1, "messages_total", kind="none", outcome="ignored"),
    _row(_unknown, 1, "messages_total", kind="rebalance_recommendation", outcome="ignored"),
    _row(_of_another_account, 1, "messages_total", kind="spot_interruption", outcome="ignored"),
    _row(_stopped, 1, "messages_total", kind="spot_interruption", outcome="retry"),
    _row(_malformed, 1, "messages_total", kind="none", outcome="dead_letter"),
    _row(_not_deleted, 1, "messages_not_settled_total"),
    _row(_slow, 1, "messages_in_flight"),
    _row(_slow, 12, "oldest_message_seconds"),
    _row(_full_house, 2, "messages_waiting", source="sqs"),
    _row(_slow, 1, "visibility_extensions_total", outcome="extended"),
    _row(_visibility_refused, 1, "visibility_extensions_total", outcome="failed"),
    _row(_taken_back, 1, "visibility_extensions_total", outcome="lost"),
    _row(_drained, 1, "event_age_seconds_count", kind="spot_interruption"),
    _row(_drained, 1, "event_age_seconds_bucket", kind="spot_interruption", le="30.0"),
    _row(_drained, 0, "event_age_seconds_bucket", kind="spot_interruption", le="10.0"),
    _row(_joined, 3, "nodes_indexed"),
    _row(_unmapped, 1, "nodes_unmapped"),
    _row(_slow, 1, "nodes_draining"),
    _row(_drained, 1, "event_to_cordon_seconds_count", kind="spot_interruption"),
    _row(_drained, 1, "drain_duration_seconds_count", kind="spot_interruption", result="drained"),
    _row(_slow, 1, "deadline_margin_seconds_bucket", kind="spot_interruption", le="120.0"),
    _row(_slow, 0, "deadline_margin_seconds_bucket", kind="spot_interruption", le="90.0"),
    _row(_left, 1, "deadline_margin_seconds_bucket", kind="spot_interruption", le="0.0"),
    _row(_left, 1, "deadline_margin_seconds_count", kind="spot_interruption"),
    _row(_drained, 1, "instances_total", kind="spot_interruption", result="drained"),
    _row(_left, 1, "instances_total", kind="spot_interruption", result="past_deadline"),
    _row(
        _unknown, 1, "instances_total", kind="rebalance_recommendation", result="unknown_instance"
    ),
    _row(_drained, 3, "evictions_total", answer="accepted"),
    _row(_blocked, None, "evictions_total", answer="blocked"),
    _row(
        _blocked,
        1,
        "pods_deleted_at_deadline_total",
        kind="spot_interruption",
        cause="refused",
    ),
    _row(_left, 0, "pods_deleted_at_deadline_total", kind="spot_interruption", cause="refused"),
    _row(_left, 1, "pods_left_total", kind="spot_interruption", result="past_deadline"),
    _row(_dead_node, 1, "nodes_declared_out_of_service_total"),
    _row(
        _terminated_by_its_group,
        1,
        "lifecycle_actions_completed_total",
        kind="autoscaling_termination",
    ),
    _row(_never_joined, 1, "lifecycle_actions_left_total"),
    _row(_terminated_by_its_group, 1, "lifecycle_heartbeats_total", outcome="recorded"),
    _row(_throttled_by_its_group, 1, "lifecycle_heartbeats_total", outcome="failed"),
    _row(_completed_by_another, 1, "lifecycle_heartbeats_total", outcome="over"),
    _row(_leadership_lost, 0, "is_leader"),
    _row(_begun, 1, "leadership_changes_total", change="acquired"),
    _row(_leadership_lost, 1, "leadership_changes_total", change="lost"),
    _row(_stopped, 1, "leadership_changes_total", change="released"),
    _row(_cordon_repeated, 2, "calls_retried_total", call="cordon"),
    _row(_cancelled_change, 1, "calls_retried_total", call="uncordon"),
    _row(_deletion_of_a_pod_repeated, 2, "calls_retried_total", call="delete_pod"),
    _row(_throttled_by_its_group, 1, "calls_retried_total", call="complete_lifecycle_action"),
    _row(_deletion_repeated, 2, "calls_retried_total", call="delete_message"),
    _row(_malformed, 1, "calls_retried_total", call="dead_letter_message"),
    # The cordon and the condition.
    _row(_nothing_to_move, 2, "kubernetes_requests_total", method="patch", code="200"),
    _row(_cordon_repeated, 2, "kubernetes_requests_total", method="patch", code="429"),
    _row(_blocked, 1, "kubernetes_requests_total", method="delete", code="200"),
    _row(_leadership_lost, None, "kubernetes_requests_total", method="put", code="none"),
    _row(_drained, 1, "kubernetes_requests_total", method="watch", code="200"),
    _row(_nothing_to_move, 2, "kubernetes_request_seconds_count", method="patch"),
    _row(_of_seven_requests, 7, "requests_in_flight_limit"),
    _row(_announced, 1, "webhook_notifications_total", phase="drain_start", outcome="delivered"),
    _row(_announced, 1, "webhook_notifications_total", phase="drain_end", outcome="failed"),
    # One about the cordon, one about the end.
    _row(_events_refused, 2, "kubernetes_events_dropped_total"),
]


def test_every_metric_of_the_catalogue_has_a_scenario_that_moves_it() -> None:
    """All but the one that says what is built: it stands still."""
    moved = {row.series for row in ROWS if row.by != 0 or row.series in GAUGES}
    shown = {
        f"{entry.name}_count" if entry.kind == "histogram" else entry.name
        for entry in metrics.CATALOGUE.entries
    }

    # A histogram counts as moved by one of its buckets, too.
    moved |= {series.replace("_bucket", "_count") for series in moved}
    assert shown - moved == {"queue_processor_build_info"}


@pytest.mark.looptime
@pytest.mark.parametrize("scenario", {row.scenario: None for row in ROWS}, ids=_name_of)
async def test_metrics_move_by_what_they_count(scenario: Scenario, world: stage.World) -> None:
    rows = [row for row in ROWS if row.scenario is scenario]

    pauses = [[row.read() for row in rows] async for _ in scenario(world)]

    series = zip(rows, zip(*pauses, strict=True), strict=True)
    assert {str(row): values for row, values in series if not row.holds_for(values)} == {}


def test_the_build_is_told_by_version() -> None:
    labels = {
        "version": importlib.metadata.version("queue-processor"),
        "python": platform.python_version(),
    }

    assert prometheus_client.REGISTRY.get_sample_value("queue_processor_build_info", labels) == 1


@pytest.mark.looptime
async def test_without_an_election_the_only_process_leads(world: stage.World) -> None:
    metrics.IS_LEADER.set(0)
    await world.start(leader_election={"enabled": False})

    assert prometheus_client.REGISTRY.get_sample_value("queue_processor_is_leader") == 1


def test_the_first_dead_letter_is_a_step_that_an_alert_sees() -> None:
    labels = {"kind": "none", "outcome": "dead_letter"}

    assert (
        prometheus_client.REGISTRY.get_sample_value("queue_processor_messages_total", labels)
        is not None
    )


def test_nothing_is_measured_outside_of_the_catalogue() -> None:
    listed = {
        entry.name.removesuffix("_total").removesuffix("_info")
        for entry in metrics.CATALOGUE.entries
    }
    collected = {
        family.name
        for family in prometheus_client.REGISTRY.collect()
        if family.name.startswith("queue_processor")
    }

    assert collected == listed
