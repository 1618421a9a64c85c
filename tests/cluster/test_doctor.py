"""`doctor` with the account of the operator, on a real API server."""

import asyncio
import contextlib
import json
import pathlib

from queue_processor.simulator.aws import simulator
from tests.cluster import audit, world
from tests.cluster.audit import Access
from tests.messages.conftest import Running

_REVIEW = Access("create", "selfsubjectaccessreviews", "authorization.k8s.io")
_ALL_LEASES = Access("list", "leases", "coordination.k8s.io")


async def test_the_roles_of_the_operator_are_enough_and_it_only_reads(
    cluster: world.World, aws: simulator.AwsSimulator, tmp_path: pathlib.Path
) -> None:
    aws.reset()
    stack = aws.deploy()
    await cluster.make_nodes([("node-a", "i-0aaaaaaaaaaaaaaaa")])
    access = await cluster.operator_access()
    log = audit.AuditLog(cluster.plane.audit_log, world.OPERATOR_USER)
    namespace, lease_name = world.OPERATOR
    environment = {
        **aws.environment(),
        "KUBECONFIG": str(access.write_kubeconfig(tmp_path / "kubeconfig")),
        "QUEUE_PROCESSOR_QUEUE_URL": stack.queue_url,
        "QUEUE_PROCESSOR_LEADER_ELECTION__NAMESPACE": namespace,
        "QUEUE_PROCESSOR_LEADER_ELECTION__LEASE_NAME": lease_name,
    }
    with contextlib.closing(Running(["-o", "json"], environment, group="doctor")) as command:
        code, out, _ = await asyncio.to_thread(command.ended)

    statuses = {finding["check"]: finding["status"] for finding in json.loads(out)}
    assert code == 0
    assert {name: status for name, status in statuses.items() if status != "ok"} == {
        "aws-region": "skipped",
        # No operator runs here.
        "consumers": "warning",
    }
    asked = {request.access for request in log.requests() if request.is_about_a_resource}
    assert {each for each in asked if each.verb not in {"get", "list"}} == {_REVIEW}
    # Only the own Lease may be read.
    assert {request.access for request in log.refused()} == {_ALL_LEASES}
