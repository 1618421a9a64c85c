"""The adapters and error responses that only a simulated server can be made to send."""

import asyncio
import contextlib
import dataclasses
import datetime as dt
from collections.abc import AsyncIterator

import pytest

from queue_processor.adapters.kube.event_recorder import KubeEventRecorder
from queue_processor.adapters.kube.leases import KubeLeases
from queue_processor.adapters.kube.pods import KubePods
from queue_processor.adapters.kube.volumes import KubeVolumes
from queue_processor.controller import ports
from queue_processor.domain import errors
from queue_processor.domain.identifiers import NodeName
from queue_processor.domain.leases import Lease
from queue_processor.domain.pods import PodRef
from queue_processor.observability import event_reasons, metrics
from queue_processor.simulator.kube import api, faults
from tests.contracts.kubernetes.cluster import LEASE_NAME, OPERATOR_NAMESPACE
from tests.contracts.kubernetes.simulated import START, SimulatedTarget

POD = PodRef(namespace="work", name="web", uid="uid of web")
LEASE = Lease(
    holder="one",
    duration=dt.timedelta(seconds=15),
    acquired_at=START,
    renewed_at=START,
    transitions=0,
    resource_version=None,
)


@pytest.fixture
def pods(simulation: SimulatedTarget) -> ports.Pods:
    return KubePods(simulation.api)


@pytest.fixture
def leases(simulation: SimulatedTarget) -> ports.Leases:
    return KubeLeases(simulation.api, namespace=OPERATOR_NAMESPACE, name=LEASE_NAME)


async def running_pod(simulation: SimulatedTarget) -> PodRef:
    return await simulation.admin.add_pod(await simulation.add_node())


# Evictions.


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (400, errors.PermanentError),
        (401, errors.TemporaryError),
        (403, errors.PermanentError),
        (422, errors.PermanentError),
        (500, errors.TemporaryError),
        (503, errors.TemporaryError),
    ],
)
async def test_any_other_error_response_to_an_eviction_is_an_error(
    simulation: SimulatedTarget, pods: ports.Pods, code: int, expected: type[Exception]
) -> None:
    pod = await running_pod(simulation)
    answer = faults.ErrorResponse(code, message="not today")
    simulation.server.faults.add(faults.Fault(answer, path=".*/eviction"))
    with pytest.raises(expected, match="not today"):
        await pods.evict(pod)

    assert not await simulation.admin.is_terminating_or_gone(pod)


async def test_a_busy_server_is_distinguished_from_a_budget(
    simulation: SimulatedTarget, pods: ports.Pods
) -> None:
    pod = await running_pod(simulation)
    busy = faults.ErrorResponse(429, "TooManyRequests", "too many requests", retry_after=3)
    simulation.server.faults.add(faults.Fault(busy))
    with pytest.raises(errors.Throttled, match="too many requests") as raised:
        await pods.evict(pod)

    assert raised.value.retry_after == dt.timedelta(seconds=3)


async def test_a_missing_permission_is_a_permanent_error(
    simulation: SimulatedTarget, pods: ports.Pods
) -> None:
    pod = await running_pod(simulation)
    simulation.server.denials.append(api.Denial(verb="create", resource="pods/eviction"))

    with pytest.raises(errors.PermanentError, match="cannot create"):
        await pods.evict(pod)


# Watches.


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (410, errors.WatchExpired),
        (403, errors.PermanentError),
        (401, errors.TemporaryError),
        (429, errors.TemporaryError),
        (500, errors.TemporaryError),
    ],
)
async def test_a_watch_that_is_refused_raises_the_reason(
    simulation: SimulatedTarget, pods: ports.Pods, code: int, expected: type[Exception]
) -> None:
    simulation.server.faults.add(faults.Fault(faults.ErrorResponse(code, message="not today")))
    with pytest.raises(expected, match="not today"):
        async with pods.watch("1"):
            pass


async def test_a_watch_on_volumes_that_expires_is_begun_again(
    simulation: SimulatedTarget,
) -> None:
    node = await simulation.add_node()
    attachment = await simulation.admin.attach("one", node)
    port: ports.Volumes = KubeVolumes(simulation.api)
    task = asyncio.create_task(port.await_detached(NodeName(node), staying=()))
    hub = simulation.cluster.hub
    await simulation.until(lambda: hub.count == 1)
    expired = faults.Fault(
        faults.ErrorResponse(410, "Expired"), path=".*volumeattachments", times=1
    )
    simulation.server.faults.add(expired)
    simulation.cluster.drop_watches()
    await simulation.until(lambda: not simulation.server.faults.pending)
    await simulation.until(lambda: hub.count == 1)
    await simulation.admin.remove(attachment)

    await asyncio.wait_for(task, 5)


# Leases.


async def test_a_renewal_that_finds_no_lease_is_a_conflict(
    simulation: SimulatedTarget, leases: ports.Leases
) -> None:
    written = await leases.write(LEASE)
    simulation.server.faults.add(faults.Fault(faults.ErrorResponse(404, "NotFound"), method="PUT"))

    with pytest.raises(errors.Conflict):
        await leases.write(written)


async def test_a_server_that_fails_is_a_temporary_error(
    simulation: SimulatedTarget, leases: ports.Leases
) -> None:
    simulation.server.faults.add(faults.Fault(faults.ErrorResponse(503, retry_after=2)))
    with pytest.raises(errors.TemporaryError) as reading:
        await leases.read()
    with pytest.raises(errors.TemporaryError):
        await leases.write(dataclasses.replace(LEASE, holder="two"))

    assert reading.value.retry_after == dt.timedelta(seconds=2)


# Events.


@pytest.fixture
async def event_recorder(simulation: SimulatedTarget) -> AsyncIterator[KubeEventRecorder]:
    made = KubeEventRecorder(simulation.api, identity="process", clock=simulation.clock)
    running = asyncio.create_task(made.run())
    yield made
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


def dropped() -> float:
    (family,) = metrics.EVENTS_DROPPED.collect()
    return next(sample.value for sample in family.samples if sample.name.endswith("_total"))


async def reasons(simulation: SimulatedTarget) -> list[str]:
    path = f"/apis/events.k8s.io/v1/namespaces/{POD.namespace}/events"
    return [event["reason"] for event in await simulation.admin.items(path)]


@pytest.mark.parametrize(
    "effect", [faults.ErrorResponse(403), faults.ErrorResponse(500), faults.Cut()]
)
async def test_an_event_that_cannot_be_written_is_dropped_and_the_next_is_not(
    simulation: SimulatedTarget,
    event_recorder: KubeEventRecorder,
    effect: faults.ErrorResponse | faults.Cut,
) -> None:
    before = dropped()
    simulation.server.faults.add(faults.Fault(effect, method="POST", times=1))
    event_recorder.pod_event(POD, event_reasons.EVICTION_BLOCKED, "is lost")
    await event_recorder.flush()
    event_recorder.pod_event(POD, event_reasons.DELETED_AT_DEADLINE, "is not")
    await event_recorder.flush()

    assert await reasons(simulation) == ["DeletedAtDeadline"]
    assert dropped() == before + 1


async def test_what_cannot_be_kept_is_dropped_without_waiting(
    simulation: SimulatedTarget,
) -> None:
    before = dropped()
    silent: ports.EventRecorder = KubeEventRecorder(
        simulation.api, identity="process", clock=simulation.clock
    )
    for _ in range(5_005):
        silent.pod_event(POD, event_reasons.EVICTION_BLOCKED, "a budget does not allow it")

    assert dropped() == before + 5
    assert await reasons(simulation) == []
