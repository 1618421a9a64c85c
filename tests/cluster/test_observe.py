"""An observer on a real API server, with the role that the chart makes for it."""

import copy
import pathlib
from collections.abc import AsyncIterator

import pytest

from queue_processor.adapters.kube import permissions
from queue_processor.adapters.kube.api import KubeApi
from queue_processor.adapters.kube.permissions import Permission
from queue_processor.cli import exits
from queue_processor.simulator.aws import simulator
from tests import gobinaries
from tests.cluster import audit, manifests, plane, site, world
from tests.cluster.audit import Access
from tests.cluster.manifests import JsonObject, PodShape
from tests.deploy import chart, programs
from tests.deploy.choices import NEEDED

# Helm may have to be built first.
pytestmark = pytest.mark.timeout(gobinaries.BUILD_SECONDS)

NODE = ("node-a", "i-0aaaaaaaaaaaaaaaa")
RELEASE = "queue-processor-observer"
REVIEW = Access("create", "selfsubjectaccessreviews", "authorization.k8s.io")
READS = {"get", "list", "watch"}


@pytest.fixture(scope="module")
def roles(tmp_path_factory: pytest.TempPathFactory) -> list[JsonObject]:
    """The account of an observer beside an operator, and all that it may do."""
    helm = chart.Helm(
        program=programs.built_or_skip() / "helm", folder=tmp_path_factory.mktemp("h")
    )
    values = {**NEEDED, "settings": {**NEEDED["settings"], "mode": "observe"}}
    return world.rbac_in(chart.documents(helm.template(values, release=RELEASE)))


def role_in(roles: list[JsonObject]) -> JsonObject:
    (role,) = (body for body in roles if body["kind"] in {"ClusterRole", "Role"})
    return role


def grants_of(role: JsonObject) -> set[Access]:
    return {
        Access(verb, resource, group)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


async def lacking(access: plane.Access) -> list[Permission]:
    transport = world.transport_for(access)
    try:
        missing = await permissions.missing(
            KubeApi(transport), permissions.TO_OBSERVE, lease_name="none"
        )
    finally:
        await transport.close()
    return list(missing)


class ObserverSite(site.Site):
    """Operators that observe, under the account of the chart."""

    async def observe(self) -> None:
        """Start an observer."""
        await self.start(QUEUE_PROCESSOR_MODE="observe")


@pytest.fixture
async def access(cluster: world.World, roles: list[JsonObject]) -> AsyncIterator[plane.Access]:
    """Access as the observer, with all that the chart grants."""
    await cluster.apply(roles)
    made = await cluster.operator_access(RELEASE)

    async def is_complete() -> bool:
        return not await lacking(made)

    await cluster.until(is_complete)
    yield made
    await cluster.apply(roles)


@pytest.fixture
async def observers(
    cluster: world.World, access: plane.Access, aws: simulator.AwsSimulator, tmp_path: pathlib.Path
) -> AsyncIterator[ObserverSite]:
    aws.reset()
    made = ObserverSite(
        cluster,
        aws=aws,
        stack=aws.deploy(),
        folder=tmp_path,
        kubeconfig=access.write_kubeconfig(tmp_path / "kubeconfig"),
    )
    namespace, _ = world.OPERATOR
    made.audit = audit.AuditLog(
        cluster.plane.audit_log, f"system:serviceaccount:{namespace}:{RELEASE}"
    )
    yield made
    await made.close()


def test_the_role_of_an_observer_only_reads(roles: list[JsonObject]) -> None:
    assert {grant.verb for grant in grants_of(role_in(roles))} <= READS


async def test_an_observer_plans_with_its_role_and_changes_nothing(
    cluster: world.World, observers: ObserverSite, roles: list[JsonObject]
) -> None:
    await cluster.make_nodes([NODE])
    await cluster.make_replicas("web", PodShape(), {"node-a": 2})
    await cluster.make_budget("web", maxUnavailable=0)
    before = await cluster.node("node-a")
    await observers.observe()

    observers.interrupt(NODE[1])
    await observers.until(observers.is_settled)
    (operator,) = observers.processes
    await observers.until(lambda: bool(operator.logged("outcome")))

    plan = operator.logged("plan_observed")
    assert (plan["node"], len(plan["evicted"])) == ("node-a", 2)
    assert [each["budgets"] for each in plan["blocked"]] == [["web"], ["web"]]
    assert operator.logged("outcome")["outcome"] == "observed"
    requests = {each.access for each in observers.audit.requests() if each.is_about_a_resource}
    assert requests - {REVIEW} == grants_of(role_in(roles))
    assert observers.audit.refused() == []
    after = await cluster.node("node-a")
    assert before is not None
    assert after is not None
    assert (after["spec"], after["metadata"]["labels"]) == (
        before["spec"],
        before["metadata"]["labels"],
    )
    pods = await cluster.items(f"/api/v1/namespaces/{manifests.NAMESPACE}/pods")
    assert len(pods) == 2
    assert not any("deletionTimestamp" in pod["metadata"] for pod in pods)


@pytest.mark.parametrize("permission", permissions.TO_OBSERVE, ids=str)
async def test_without_a_grant_the_observer_says_so_and_ends(
    cluster: world.World,
    access: plane.Access,
    observers: ObserverSite,
    roles: list[JsonObject],
    permission: Permission,
) -> None:
    await cluster.apply([_without(permission, role_in(roles))])

    async def is_taken_away() -> bool:
        return await lacking(access) == [permission]

    await cluster.until(is_taken_away)

    operator = await observers.launch(QUEUE_PROCESSOR_MODE="observe")

    assert await operator.ended() == exits.FAILED
    assert f"not allowed to {permission};" in operator.logged("cannot_start")["cause"]


def _without(permission: Permission, role: JsonObject) -> JsonObject:
    role = copy.deepcopy(role)
    (rule,) = (
        rule
        for rule in role["rules"]
        if (rule["apiGroups"], rule["resources"]) == ([permission.group], [permission.resource])
    )
    rule["verbs"].remove(permission.verb)
    role["rules"] = [each for each in role["rules"] if each["verbs"]]
    return role
