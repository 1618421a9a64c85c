"""Each rule of the roles in deploy/ is needed: without it something that the program does fails."""

import copy
import dataclasses
from collections.abc import AsyncIterator, Iterator

import pytest

from queue_processor.adapters.kube import connection as kube
from queue_processor.adapters.kube import permissions
from queue_processor.adapters.kube.api import KubeApi
from queue_processor.domain import errors
from tests.cluster import audit, manifests, plane, world
from tests.cluster.audit import Access
from tests.cluster.conftest import MANIFEST
from tests.cluster.manifests import JsonObject
from tests.deploy import uses

_ROLES = [body for body in world.rbac_of(MANIFEST) if body["kind"] in {"ClusterRole", "Role"}]
_REVIEW = Access("create", "selfsubjectaccessreviews", "authorization.k8s.io")


@dataclasses.dataclass(frozen=True, slots=True)
class Grant:
    """One verb on one resource in one rule.

    Attributes:
        role: Which of the roles.
        rule: Which of its rules, from 0.
    """

    role: int
    rule: int
    access: Access

    def __str__(self) -> str:
        return f"{_ROLES[self.role]['kind']}: {self.access}"

    def taken_away(self) -> JsonObject:
        """The role without this grant."""
        role = copy.deepcopy(_ROLES[self.role])
        rule = role["rules"].pop(self.rule)
        role["rules"] += [
            {**rule, "apiGroups": [kept.group], "resources": [kept.resource], "verbs": [kept.verb]}
            for kept in _accesses(rule)
            if kept != self.access
        ]
        return role


def _accesses(rule: JsonObject) -> Iterator[Access]:
    for group in rule["apiGroups"]:
        for resource in rule["resources"]:
            for verb in rule["verbs"]:
                yield Access(verb, resource, group)


GRANTS = [
    Grant(role, rule, access)
    for role, body in enumerate(_ROLES)
    for rule, content in enumerate(body["rules"])
    for access in _accesses(content)
]


class RealStage:
    """The real cluster; nobody detaches volumes there but the test."""

    def __init__(self, cluster: world.World, log: audit.AuditLog) -> None:
        self._cluster = cluster
        self._log = log

    async def prepare(self) -> None:
        """Make what the program is to find."""
        await self._cluster.make_nodes([(uses.NODE, uses.INSTANCE)])
        await self._cluster.create(manifests.node(uses.DEAD_NODE, uses.DEAD_INSTANCE))
        for name in ("x", "y"):
            shape = manifests.PodShape()
            await self._cluster.create(manifests.pod(name, shape, node_name=uses.NODE))
        await self._cluster.create(manifests.attachment("data", uses.NODE))

    async def add_late_node(self) -> None:
        await self._cluster.create(manifests.node(uses.LATE_NODE, uses.LATE_INSTANCE))

    async def detach(self) -> None:
        async def watched() -> bool:
            return bool(self._log.made("watch", "volumeattachments"))

        await self._cluster.until(watched)
        await self._cluster.delete("/apis/storage.k8s.io/v1/volumeattachments/data")

    async def reasons(self) -> set[str]:
        events = await self._cluster.items("/apis/events.k8s.io/v1/events")
        return {event["reason"] for event in events}


class Account:
    """The operator's account: what it lacks, and what comes of its work."""

    def __init__(self, cluster: world.World, access: plane.Access) -> None:
        self._cluster = cluster
        self._access = access
        self.log = audit.AuditLog(cluster.plane.audit_log, world.OPERATOR_USER)

    async def lacks(self) -> list[Access]:
        """The permissions that the program says, at its start, that it does not have."""
        transport = world.transport_for(self._access)
        needed = permissions.all_permissions(lease_namespace=world.OPERATOR[0], force_deletes=True)
        try:
            missing = await permissions.missing(
                KubeApi(transport), needed, lease_name=world.OPERATOR[1]
            )
        finally:
            await transport.close()
        return [Access(found.verb, found.resource, found.group) for found in missing]

    async def until_it_lacks(self, *wanted: Access) -> None:
        """Wait until the API server has read the roles as they are now."""

        async def has_read() -> bool:
            return await self.lacks() == list(wanted)

        await self._cluster.until(has_read)

    async def work(self) -> None:
        """Do everything that the program does."""
        stage = RealStage(self._cluster, self.log)
        await stage.prepare()
        connection = kube.Connection(world.configuration_for(self._access), origin="a test")
        await uses.exercise(connection, stage)


@pytest.fixture
async def account(cluster: world.World) -> AsyncIterator[Account]:
    """The account, with all that deploy/ grants."""
    made = Account(cluster, await cluster.operator_access())
    await made.until_it_lacks()
    yield made
    await cluster.apply(_ROLES)
    await made.until_it_lacks()


async def test_the_program_asks_for_all_that_is_granted_and_for_nothing_else(
    account: Account,
) -> None:
    await account.work()

    asked = {request.access for request in account.log.requests() if request.is_about_a_resource}
    assert asked - {_REVIEW} == {grant.access for grant in GRANTS}
    assert account.log.refused() == []


@pytest.mark.parametrize("grant", GRANTS, ids=str)
async def test_without_a_grant_the_program_says_so_and_fails(
    cluster: world.World, account: Account, grant: Grant
) -> None:
    await cluster.apply([grant.taken_away()])
    await account.until_it_lacks(grant.access)

    with pytest.raises((errors.PermanentError, AssertionError, ExceptionGroup)):
        await account.work()
    assert {request.access for request in account.log.refused()} == {grant.access}
