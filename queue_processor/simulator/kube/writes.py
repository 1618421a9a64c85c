"""Create, update and patch, with the rules of the real API server.

https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from queue_processor.simulator.kube import (
    deletion,
    manifests,
    objects,
    patches,
    resources,
    routing,
    statuses,
    store,
    validation,
)

_SERVER_OWNED = (
    "name",
    "namespace",
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
)
_STATUS_IS_THE_SERVERS = (
    resources.PODS,
    resources.BUDGETS,
    resources.REPLICA_SETS,
    resources.DAEMON_SETS,
    resources.ATTACHMENTS,
)


@dataclasses.dataclass(frozen=True, slots=True)
class WriteResult:
    """The outcome of a write: the state to answer with, and whether it is new."""

    stored: objects.Stored
    created: bool = False


class ObjectWriter:
    """Changes objects for clients."""

    def __init__(self, objects_store: store.Store, names: manifests.NameGenerator) -> None:
        self._store = objects_store
        self._names = names

    def find(self, target: routing.RequestInfo) -> objects.Stored:
        """The object that the target names.

        Raises:
            statuses.ApiError: 404.
        """
        stored = self._store.get(target.resource, target.namespace, target.name)
        if stored is None:
            raise statuses.not_found(target.resource, target.name)
        return stored

    def check_namespace(self, target: routing.RequestInfo, name: str) -> None:
        """Refuse to create in a namespace that is missing (404) or going away (403)."""
        if not target.namespace:
            return
        namespace = self._store.get(resources.NAMESPACES, "", target.namespace)
        if namespace is None:
            raise statuses.not_found(resources.NAMESPACES, target.namespace)
        if namespace.is_terminating:
            raise statuses.terminating_namespace(target.resource, name, target.namespace)

    def create(
        self, target: routing.RequestInfo, given: objects.JsonObject, *, dry_run: bool
    ) -> WriteResult:
        """Create an object.

        Raises:
            statuses.ApiError: 400, 403, 404, 409, 422 as the real server; 500 when the object
                comes with a resourceVersion.
        """
        resource, body = target.resource, _content(target.resource, given)
        metadata = body["metadata"]
        _check_place(target, metadata)
        name = target.name or metadata.get("name")
        if not name and metadata.get("generateName"):
            name = metadata["generateName"] + self._names.suffix()
        if not name:
            text = "Required value: name or generateName is required"
            raise statuses.invalid(resource, "", [("metadata.name", "FieldValueRequired", text)])
        self.check_namespace(target, name)
        if metadata.get("resourceVersion"):
            # The real server does not classify this error: 500 without a reason.
            raise statuses.ApiError(
                500, "", "resourceVersion should not be set on objects to be created"
            )
        if self._store.get(resource, target.namespace, name) is not None:
            raise statuses.already_exists(resource, name)
        body = _with_defaults(resource, body)
        if target.namespace:
            body["metadata"]["namespace"] = target.namespace
        validation.check(resource, name, body)
        key = (target.namespace, name)
        if dry_run:
            return WriteResult(_draft(resource, key, body), created=True)
        return WriteResult(self._store.create(resource, key, body), created=True)

    def replace(
        self, target: routing.RequestInfo, given: objects.JsonObject, *, dry_run: bool
    ) -> WriteResult:
        """Replace an object (PUT).

        Raises:
            statuses.ApiError: 400, 404, 409, 422 as the real server.
        """
        resource, body = target.resource, _content(target.resource, given)
        metadata = body["metadata"]
        _check_place(target, metadata)
        old = self._store.get(resource, target.namespace, target.name)
        if old is None:
            if not resource.create_on_update or target.subresource:
                raise statuses.not_found(resource, target.name)
            metadata.pop("resourceVersion", None)
            return self.create(target, body, dry_run=dry_run)
        uid = metadata.get("uid")
        if uid and uid != old.uid:
            why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {old.uid}"
            raise statuses.conflict(resource, target.name, why)
        if not metadata.get("resourceVersion") and not resource.unconditional_update:
            text = "Invalid value: 0: must be specified for an update"
            fault = ("metadata.resourceVersion", "FieldValueInvalid", text)
            raise statuses.invalid(resource, target.name, [fault])
        return self._store_update(target, old, body, dry_run=dry_run)

    def patch(
        self, target: routing.RequestInfo, kind: patches.PatchType, patch: object, *, dry_run: bool
    ) -> WriteResult:
        """Patch an object.

        Raises:
            statuses.ApiError: 400, 404, 409, 422 as the real server.
        """
        old = self.find(target)
        body = _content(target.resource, patches.apply(kind, old.body, patch))
        metadata = body["metadata"]
        _check_place(target, metadata)
        uid = metadata.get("uid")
        if uid and uid != old.uid:
            text = f'Invalid value: "{uid}": field is immutable'
            fault = ("metadata.uid", "FieldValueInvalid", text)
            raise statuses.invalid(target.resource, target.name, [fault])
        return self._store_update(target, old, body, dry_run=dry_run)

    def bind(self, target: routing.RequestInfo, given: objects.JsonObject) -> None:
        """Bind a pod to a node (the subresource ``binding``).

        Raises:
            statuses.ApiError: 404, 409 when the pod is bound already.
        """
        pod = self.find(target)
        if pod.node_name:
            why = f"pod {pod.name} is already assigned to node {pod.node_name!r}"
            raise statuses.conflict(target.resource, pod.name, why)
        node = (given.get("target") or {}).get("name") or ""
        self._store.update(pod, manifests.bound(pod.body, node, self._store.now()))

    def _store_update(
        self,
        target: routing.RequestInfo,
        old: objects.Stored,
        body: objects.JsonObject,
        *,
        dry_run: bool,
    ) -> WriteResult:
        wanted = body["metadata"].get("resourceVersion")
        if wanted and wanted != str(old.version):
            raise statuses.conflict(target.resource, target.name)
        new = _combined(target, old, body)
        validation.check(target.resource, target.name, new, old.body)
        if dry_run:
            return WriteResult(_draft(old.resource, old.key, new))
        stored = self._store.update(old, new)
        if stored.is_terminating and deletion.is_released(stored):
            self._store.remove(stored)
        return WriteResult(stored)


def _content(resource: resources.Resource, given: objects.JsonObject) -> objects.JsonObject:
    """The object without kind, apiVersion and nulls, with metadata of its own.

    Raises:
        statuses.ApiError: 400 when it is of another kind.
    """
    kind, api_version = given.get("kind"), given.get("apiVersion")
    if kind not in (None, resource.kind) or api_version not in (None, resource.api_version):
        raise statuses.bad_request(
            f"the API version in the data ({api_version}, Kind={kind}) does not match the expected"
            f" API version ({resource.api_version}, Kind={resource.kind})"
        )
    body: objects.JsonObject = {
        key: _without_nulls(value)
        for key, value in given.items()
        if value is not None and key not in ("kind", "apiVersion")
    }
    metadata = {
        key: value
        for key, value in (body.get("metadata") or {}).items()
        if key != "managedFields"
        and (value or key not in ("labels", "annotations", "finalizers", "ownerReferences"))
    }
    if resource is resources.NODES:
        spec = body.get("spec") or {}
        # The real server leaves these out when they are empty.
        dropped = [name for name in ("taints", "unschedulable") if name in spec and not spec[name]]
        body["spec"] = {name: value for name, value in spec.items() if name not in dropped}
    return body | {"metadata": metadata}


def _without_nulls(value: Any) -> Any:  # noqa: ANN401 - JSON of any shape
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return value


def _check_place(target: routing.RequestInfo, metadata: objects.JsonObject) -> None:
    name, namespace = metadata.get("name"), metadata.get("namespace")
    if namespace and namespace != target.namespace:
        raise statuses.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    if target.name and name and name != target.name:
        raise statuses.bad_request(
            f"the name of the object ({name}) does not match the name on the URL ({target.name})"
        )


def _with_defaults(resource: resources.Resource, body: objects.JsonObject) -> objects.JsonObject:
    body = dict(body)
    if resource in _STATUS_IS_THE_SERVERS:
        body.pop("status", None)
    if resource is resources.PODS:
        return manifests.with_pod_defaults(body)
    if resource is resources.NAMESPACES:
        return body | {"spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}
    return body


def _combined(
    target: routing.RequestInfo, old: objects.Stored, new: objects.JsonObject
) -> objects.JsonObject:
    """The state after an update: what is the server's, and what the path leaves alone, stays."""
    metadata = {name: value for name, value in new["metadata"].items() if name not in _SERVER_OWNED}
    kept = {name: old.metadata[name] for name in _SERVER_OWNED if name in old.metadata}
    metadata = kept | metadata | {"resourceVersion": str(old.version)}
    if target.subresource == "status":
        source, status = old.body, new.get("status")
    else:
        has_status = "status" in target.resource.subresources
        source, status = new, (old.body if has_status else new).get("status")
    body = {name: value for name, value in source.items() if name not in ("metadata", "status")}
    if target.resource.generation and body.get("spec") != old.body.get("spec"):
        metadata["generation"] = old.metadata.get("generation", 0) + 1
    body = {"metadata": metadata} | body
    return body if status is None else body | {"status": status}


def _draft(
    resource: resources.Resource, key: store.Key, body: objects.JsonObject
) -> objects.Stored:
    """What a dry run answers with: nothing of it is stored."""
    metadata = body["metadata"] | {"name": key[1]}
    return objects.Stored(resource, key[0], key[1], "", 0, body | {"metadata": metadata})


def dry_run_of(values: Callable[[str], object]) -> bool:
    """Whether the request asks for a dry run; ``values`` looks a parameter up."""
    return values("dryRun") in ("All", ["All"])
