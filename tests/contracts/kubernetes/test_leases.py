"""Contract of `Leases`."""

import dataclasses
import datetime as dt

import pytest

from queue_processor.adapters.kube.leases import KubeLeases
from queue_processor.adapters.kube.transport import Request
from queue_processor.controller import ports
from queue_processor.domain import errors
from queue_processor.domain.leases import Lease
from tests.contracts.kubernetes.cluster import LEASE_NAME, OPERATOR_NAMESPACE, Cluster

MOMENT = dt.datetime(2026, 5, 1, 12, 0, 0, 123456, tzinfo=dt.UTC)
LEASE = Lease(
    holder="one",
    duration=dt.timedelta(seconds=15),
    acquired_at=MOMENT,
    renewed_at=MOMENT + dt.timedelta(microseconds=1),
    transitions=3,
    resource_version=None,
)
COLLECTION = f"/apis/coordination.k8s.io/v1/namespaces/{OPERATOR_NAMESPACE}/leases"
PATH = f"{COLLECTION}/{LEASE_NAME}"


@pytest.fixture
def port(cluster: Cluster) -> ports.Leases:
    return KubeLeases(cluster.api, namespace=OPERATOR_NAMESPACE, name=LEASE_NAME)


async def test_a_lease_that_does_not_exist_is_none(cluster: Cluster, port: ports.Leases) -> None:
    assert await port.read() is None
    assert cluster.wire.last.refusal == (404, "NotFound", ())


async def test_a_lease_is_read_as_it_was_written(cluster: Cluster, port: ports.Leases) -> None:
    written = await port.write(LEASE)

    assert cluster.wire.last.answer.status == 201
    assert dataclasses.replace(written, resource_version=None) == LEASE
    assert await port.read() == written
    found = await cluster.admin.get(PATH)
    assert found is not None
    assert found["spec"] == {
        "holderIdentity": "one",
        "leaseDurationSeconds": 15,
        "acquireTime": "2026-05-01T12:00:00.123456Z",
        "renewTime": "2026-05-01T12:00:00.123457Z",
        "leaseTransitions": 3,
    }


async def test_a_lease_is_renewed_and_released(port: ports.Leases) -> None:
    written = await port.write(LEASE)
    later = MOMENT + dt.timedelta(seconds=2)
    renewed = await port.write(dataclasses.replace(written, renewed_at=later))
    released = await port.write(dataclasses.replace(renewed, holder=""))

    assert (renewed.renewed_at, renewed.acquired_at) == (later, MOMENT)
    assert await port.read() == released
    assert released.holder == ""


async def test_a_lease_that_somebody_else_made_is_not_made_again(
    cluster: Cluster, port: ports.Leases
) -> None:
    written = await port.write(LEASE)
    with pytest.raises(errors.Conflict):
        await port.write(dataclasses.replace(LEASE, holder="two"))

    assert cluster.wire.last.refusal == (409, "AlreadyExists", ())
    assert await port.read() == written


async def test_a_lease_that_somebody_else_wrote_is_not_overwritten(
    cluster: Cluster, port: ports.Leases
) -> None:
    written = await port.write(LEASE)
    taken = await port.write(dataclasses.replace(written, holder="two"))
    with pytest.raises(errors.Conflict):
        await port.write(written)

    assert cluster.wire.last.refusal == (409, "Conflict", ())
    assert await port.read() == taken


async def test_a_lease_is_not_replaced_without_a_version(
    cluster: Cluster, port: ports.Leases
) -> None:
    written = await port.write(LEASE)
    body = await cluster.admin.api.get(PATH)
    del body["metadata"]["resourceVersion"]
    await cluster.wire.send(Request("PUT", PATH, body=body))

    assert cluster.wire.last.refusal == (422, "Invalid", ("FieldValueInvalid",))
    assert cluster.wire.last.json["message"].endswith("must be specified for an update")
    assert await port.read() == written


async def test_a_lease_that_somebody_deleted_is_made_again_by_its_renewal(
    cluster: Cluster, port: ports.Leases
) -> None:
    written = await port.write(LEASE)
    await cluster.admin.remove(PATH)
    renewed = await port.write(written)

    assert cluster.wire.last.answer.status == 201
    assert await port.read() == renewed
    assert dataclasses.replace(renewed, resource_version=None) == LEASE


async def test_a_lease_that_somebody_made_anew_is_not_overwritten(
    cluster: Cluster, port: ports.Leases
) -> None:
    written = await port.write(LEASE)
    await cluster.admin.remove(PATH)
    taken = await port.write(dataclasses.replace(LEASE, holder="two"))
    with pytest.raises(errors.Conflict):
        await port.write(written)

    assert await port.read() == taken


async def test_a_lease_that_people_made_by_hand_can_be_taken(
    cluster: Cluster, port: ports.Leases
) -> None:
    metadata = {"name": LEASE_NAME, "namespace": OPERATOR_NAMESPACE}
    bare = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata}
    await cluster.admin.api.post(COLLECTION, bare)
    found = await port.read()
    assert found is not None
    assert (found.holder, found.duration, found.transitions) == ("", dt.timedelta(), 0)
    taken = await port.write(dataclasses.replace(LEASE, resource_version=found.resource_version))

    assert taken.holder == "one"


async def test_a_lease_in_a_missing_namespace_is_a_permanent_error(cluster: Cluster) -> None:
    elsewhere: ports.Leases = KubeLeases(cluster.api, namespace="nowhere", name=LEASE_NAME)

    with pytest.raises(errors.PermanentError):
        await elsewhere.write(LEASE)
