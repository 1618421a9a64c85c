"""The operator's permissions, as the API server reviews them."""

import pytest

from queue_processor.adapters.kube import permissions
from queue_processor.adapters.kube.permissions import Permission
from queue_processor.domain import errors
from tests.contracts.kubernetes.cluster import LEASE_NAME, OPERATOR_NAMESPACE, Cluster


async def test_the_operator_has_every_permission_that_it_needs(cluster: Cluster) -> None:
    needed = permissions.all_permissions(lease_namespace=OPERATOR_NAMESPACE, force_deletes=True)

    assert await permissions.missing(cluster.api, needed, lease_name=LEASE_NAME) == ()
    assert {call.answer.status for call in cluster.wire.calls} == {201}


async def test_a_missing_permission_is_named(cluster: Cluster) -> None:
    needed = (Permission("update", "nodes"), Permission("patch", "nodes"))

    assert await permissions.missing(cluster.api, needed, lease_name=LEASE_NAME) == needed[:1]


async def test_a_request_without_permission_is_a_permanent_error(cluster: Cluster) -> None:
    path = f"/api/v1/nodes/{await cluster.add_node()}"
    node = await cluster.api.get(path)
    with pytest.raises(errors.PermanentError, match='cannot update resource "nodes"'):
        await cluster.api.put(path, node)

    assert cluster.wire.last.refusal == (403, "Forbidden", ())
    assert cluster.wire.last.json["message"].endswith(' in API group "" at the cluster scope')
