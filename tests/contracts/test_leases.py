"""What Leases do, whichever way their requests take."""

import dataclasses
import datetime as dt

import pytest

from queue_processor.adapters.kube.leases import KubeLeases
from queue_processor.controller import ports
from queue_processor.domain import errors
from queue_processor.domain.leases import Lease
from queue_processor.simulator.kube import faults
from tests.contracts.clusters import Site

MOMENT = dt.datetime(2026, 5, 1, 12, 0, 0, 123456, tzinfo=dt.UTC)
LEASE = Lease(
    holder="one",
    duration=dt.timedelta(seconds=15),
    acquired_at=MOMENT,
    renewed_at=MOMENT + dt.timedelta(microseconds=1),
    transitions=3,
    resource_version=None,
)
PATH = "/apis/coordination.k8s.io/v1/namespaces/default/leases/queue-processor"


@pytest.fixture
def port(site: Site) -> ports.Leases:
    return KubeLeases(site.api, namespace="default", name="queue-processor")


async def test_a_lease_that_does_not_exist_is_none(port: ports.Leases) -> None:
    assert await port.read() is None


async def test_a_lease_is_read_as_it_was_written(port: ports.Leases) -> None:
    written = await port.write(LEASE)

    assert written.resource_version is not None
    assert dataclasses.replace(written, resource_version=None) == LEASE
    assert await port.read() == written


async def test_a_lease_is_renewed_and_released(port: ports.Leases) -> None:
    written = await port.write(LEASE)
    later = MOMENT + dt.timedelta(seconds=2)
    renewed = await port.write(dataclasses.replace(written, renewed_at=later))
    released = await port.write(dataclasses.replace(renewed, holder=""))

    assert (renewed.renewed_at, renewed.acquired_at) == (later, MOMENT)
    assert await port.read() == released
    assert released.holder == ""


async def test_a_lease_that_somebody_else_made_is_not_made_again(port: ports.Leases) -> None:
    written = await port.write(LEASE)
    with pytest.raises(errors.Conflict):
        await port.write(dataclasses.replace(LEASE, holder="two"))

    assert await port.read() == written


async def test_a_lease_that_somebody_else_wrote_is_not_overwritten(port: ports.Leases) -> None:
    written = await port.write(LEASE)
    taken = await port.write(dataclasses.replace(written, holder="two"))
    with pytest.raises(errors.Conflict):
        await port.write(written)

    assert await port.read() == taken


async def test_a_lease_that_people_made_by_hand_can_be_taken(
    site: Site, port: ports.Leases
) -> None:
    await site.api.post(
        PATH.rpartition("/")[0],
        {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": "queue-processor", "namespace": "default"},
        },
    )
    found = await port.read()
    assert found is not None
    assert (found.holder, found.duration, found.transitions) == ("", dt.timedelta(), 0)
    taken = await port.write(dataclasses.replace(LEASE, resource_version=found.resource_version))

    assert taken.holder == "one"


async def test_a_lease_in_no_namespace_is_a_permanent_fault(site: Site) -> None:
    elsewhere: ports.Leases = KubeLeases(site.api, namespace="nowhere", name="queue-processor")

    assert await elsewhere.read() is None
    with pytest.raises(errors.PermanentFault):
        await elsewhere.write(LEASE)


async def test_a_renewal_that_finds_no_lease_is_a_conflict(site: Site, port: ports.Leases) -> None:
    written = await port.write(LEASE)
    site.server.faults.add(faults.Fault(faults.Answer(404, "NotFound"), method="PUT"))

    with pytest.raises(errors.Conflict):
        await port.write(written)


async def test_a_server_that_fails_is_a_temporary_fault(site: Site, port: ports.Leases) -> None:
    site.server.faults.add(faults.Fault(faults.Answer(503, retry_after=2)))
    with pytest.raises(errors.TemporaryFault) as reading:
        await port.read()
    with pytest.raises(errors.TemporaryFault):
        await port.write(LEASE)

    assert reading.value.retry_after == dt.timedelta(seconds=2)
