"""The permissions that the program needs, checked before anything depends on them."""

import asyncio
import dataclasses

from queue_processor.adapters.kube.api import KubeApi
from queue_processor.domain import errors
from queue_processor.domain.policy import Mode
from queue_processor.settings import ToolSettings
from queue_processor.settings.groups import OnDeadline

_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


@dataclasses.dataclass(frozen=True, slots=True)
class Permission:
    """A verb on a resource, in one namespace or in all.

    Attributes:
        is_needed: Nothing works without it; otherwise only something is not shown, or not
            waited for.
    """

    verb: str
    resource: str
    group: str = ""
    namespace: str = ""
    is_needed: bool = True

    def __str__(self) -> str:
        group = f".{self.group}" if self.group else ""
        where = f" in namespace {self.namespace}" if self.namespace else ""
        return f"{self.verb} {self.resource}{group}{where}"


_EVERYWHERE = (
    Permission("list", "nodes"),
    Permission("watch", "nodes"),
    Permission("get", "nodes"),
    Permission("patch", "nodes"),
    Permission("list", "pods"),
    Permission("watch", "pods"),
    Permission("create", "pods/eviction"),
    Permission("patch", "nodes/status", is_needed=False),
    Permission("create", "events", "events.k8s.io", is_needed=False),
    Permission("list", "volumeattachments", "storage.k8s.io", is_needed=False),
    Permission("watch", "volumeattachments", "storage.k8s.io", is_needed=False),
    Permission("get", "persistentvolumeclaims", is_needed=False),
)


# What the setting `mode: observe` needs: nothing that changes anything.
TO_OBSERVE = (
    Permission("list", "nodes"),
    Permission("watch", "nodes"),
    Permission("list", "pods"),
    Permission("list", "poddisruptionbudgets", "policy"),
)


def all_permissions(*, lease_namespace: str | None, force_deletes: bool) -> tuple[Permission, ...]:
    """Return a permission for each request that the program makes to drain nodes.

    Args:
        lease_namespace: The namespace of the Lease; None without leader election.
        force_deletes: True if pods that a budget blocks are deleted at a hard deadline.
    """
    permissions = list(_EVERYWHERE)
    if force_deletes:
        permissions.append(Permission("delete", "pods"))
    if lease_namespace is not None:
        permissions += [
            Permission(verb, "leases", "coordination.k8s.io", lease_namespace)
            for verb in ("get", "create", "update")
        ]
    return tuple(permissions)


def needed_by(settings: ToolSettings, *, own_namespace: str | None) -> tuple[Permission, ...]:
    """Return the permissions that the program needs with these settings.

    Args:
        settings: The operator's settings.
        own_namespace: The namespace of its pod; None outside of a cluster.
    """
    if settings.mode is Mode.OBSERVE:
        return TO_OBSERVE
    lease_namespace = settings.leader_election.lease_namespace(own_namespace)
    return all_permissions(
        lease_namespace=lease_namespace if settings.elects_leader else None,
        force_deletes=settings.drain.on_deadline is OnDeadline.DELETE,
    )


def cure_for(settings: ToolSettings) -> str:
    """Return what to do where one of these permissions is missing."""
    return f"apply the roles in deploy/ for `mode: {settings.mode}`"


async def missing(
    api: KubeApi, permissions: tuple[Permission, ...], *, lease_name: str
) -> tuple[Permission, ...]:
    """Return those permissions that the account does not have.

    https://kubernetes.io/docs/reference/access-authn-authz/authorization/#checking-api-access

    Args:
        api: Asks as the account.
        permissions: What is needed.
        lease_name: The one Lease that the account has to reach.

    Raises:
        TemporaryError: The API server did not answer.
        PermanentError: The account is not allowed to ask.
    """
    are_allowed = await asyncio.gather(
        *(_is_allowed(api, permission, lease_name) for permission in permissions)
    )
    return tuple(
        permission
        for permission, is_allowed in zip(permissions, are_allowed, strict=True)
        if not is_allowed
    )


async def _is_allowed(api: KubeApi, permission: Permission, lease_name: str) -> bool:
    resource, _, subresource = permission.resource.partition("/")
    attributes = {
        "verb": permission.verb,
        "group": permission.group,
        "resource": resource,
        "subresource": subresource,
        "namespace": permission.namespace,
    }
    if resource == "leases" and permission.verb != "create":
        attributes["name"] = lease_name
    try:
        review = await api.post(
            _REVIEWS,
            {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SelfSubjectAccessReview",
                "spec": {"resourceAttributes": attributes},
            },
        )
    except (errors.NotFound, errors.Conflict) as strange:
        raise errors.PermanentError(str(strange)) from strange
    return bool(review.get("status", {}).get("allowed"))
