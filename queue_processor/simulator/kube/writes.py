"""Create, update and patch, with the rules of the real API server.

https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

import dataclasses
from typing import Any

from queue_processor.simulator.kube import (
    deletion,
    manifests,
    objects,
    patches,
    requests,
    resources,
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
_SERVER_OWNED_STATUS = (
    resources.PODS,
    resources.BUDGETS,
    resources.REPLICA_SETS,
    resources.DAEMON_SETS,
    resources.ATTACHMENTS,
)


@dataclasses.dataclass(frozen=True, slots=True)
class WriteResult:
    """The stored object, and whether it is new."""

    stored: objects.Stored
    created: bool = False


class ObjectWriter:
    """Creates and changes objects for clients."""

    def __init__(self, objects_store: store.Store, names: manifests.NameGenerator) -> None:
        self._store = objects_store
        self._names = names

    def find(self, info: requests.RequestInfo) -> objects.Stored:
        """Return the object that the request is about.

        Raises:
            statuses.ApiError: 404.
        """
        stored = self._store.get(info.resource, info.namespace, info.name)
        if stored is None:
            raise statuses.not_found(info.resource, info.name)
        return stored

    def check_namespace(self, info: requests.RequestInfo, name: str) -> None:
        """Check that the namespace takes new objects.

        Raises:
            statuses.ApiError: 404 without the namespace, 403 while it terminates.
        """
        if not info.namespace:
            return
        namespace = self._store.get(resources.NAMESPACES, "", info.namespace)
        if namespace is None:
            raise statuses.not_found(resources.NAMESPACES, info.namespace)
        if namespace.is_terminating:
            raise statuses.terminating_namespace(info.resource, name, info.namespace)

    def create(self, info: requests.RequestInfo, body: objects.JsonObject) -> WriteResult:
        """Create an object.

        Raises:
            statuses.ApiError: 400, 403, 404, 409, 422 as the real server; 500 for an object with
                a resourceVersion.
        """
        resource, body = info.resource, _content(info.resource, body)
        metadata = body["metadata"]
        _check_place(info, metadata)
        name = info.name or metadata.get("name")
        if not name and metadata.get("generateName"):
            name = metadata["generateName"] + self._names.suffix()
        if not name:
            text = "Required value: name or generateName is required"
            raise statuses.invalid(resource, "", [("metadata.name", "FieldValueRequired", text)])
        self.check_namespace(info, name)
        if metadata.get("resourceVersion"):
            # The real server does not classify this error: 500 without a reason.
            raise statuses.ApiError(
                500, "", "resourceVersion should not be set on objects to be created"
            )
        if self._store.get(resource, info.namespace, name) is not None:
            raise statuses.already_exists(resource, name)
        body = _with_defaults(resource, body)
        if info.namespace:
            body["metadata"]["namespace"] = info.namespace
        validation.check(resource, name, body)
        key = (info.namespace, name)
        return WriteResult(self._store.create(resource, key, body), created=True)

    def replace(self, info: requests.RequestInfo, body: objects.JsonObject) -> WriteResult:
        """Replace an object (PUT).

        Raises:
            statuses.ApiError: 400, 404, 409, 422 as the real server.
        """
        resource, body = info.resource, _content(info.resource, body)
        metadata = body["metadata"]
        _check_place(info, metadata)
        old = self._store.get(resource, info.namespace, info.name)
        if old is None:
            if not resource.create_on_update or info.subresource:
                raise statuses.not_found(resource, info.name)
            metadata.pop("resourceVersion", None)
            return self.create(info, body)
        uid = metadata.get("uid")
        if uid and uid != old.uid:
            why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {old.uid}"
            raise statuses.conflict(resource, info.name, why)
        if not metadata.get("resourceVersion") and not resource.unconditional_update:
            text = "Invalid value: 0: must be specified for an update"
            error = ("metadata.resourceVersion", "FieldValueInvalid", text)
            raise statuses.invalid(resource, info.name, [error])
        return self._store_update(info, old, body)

    def patch(
        self, info: requests.RequestInfo, kind: patches.PatchType, patch: object
    ) -> WriteResult:
        """Patch an object.

        Raises:
            statuses.ApiError: 400, 404, 409, 422 as the real server.
        """
        old = self.find(info)
        body = _content(info.resource, patches.apply(kind, old.body, patch))
        metadata = body["metadata"]
        _check_place(info, metadata)
        uid = metadata.get("uid")
        if uid and uid != old.uid:
            text = f'Invalid value: "{uid}": field is immutable'
            error = ("metadata.uid", "FieldValueInvalid", text)
            raise statuses.invalid(info.resource, info.name, [error])
        return self._store_update(info, old, body)

    def bind(self, info: requests.RequestInfo, body: objects.JsonObject) -> None:
        """Bind a pod to a node (the subresource ``binding``).

        Raises:
            statuses.ApiError: 404, or 409 if the pod is bound already.
        """
        pod = self.find(info)
        if pod.node_name:
            why = f"pod {pod.name} is already assigned to node {pod.node_name!r}"
            raise statuses.conflict(info.resource, pod.name, why)
        node = (body.get("target") or {}).get("name") or ""
        self._store.update(pod, manifests.bound(pod.body, node, self._store.now()))

    def _store_update(
        self,
        info: requests.RequestInfo,
        old: objects.Stored,
        body: objects.JsonObject,
    ) -> WriteResult:
        expected = body["metadata"].get("resourceVersion")
        if expected and expected != str(old.version):
            raise statuses.conflict(info.resource, info.name)
        new = _combined(info, old, body)
        validation.check(info.resource, info.name, new)
        stored = self._store.update(old, new)
        if stored.is_terminating and deletion.is_released(stored):
            self._store.remove(stored)
        return WriteResult(stored)


def _content(resource: resources.Resource, sent: objects.JsonObject) -> objects.JsonObject:
    """Return the object without kind, apiVersion and nulls, with a copy of its metadata.

    Raises:
        statuses.ApiError: 400 if it is of another kind.
    """
    kind, api_version = sent.get("kind"), sent.get("apiVersion")
    if kind not in (None, resource.kind) or api_version not in (None, resource.api_version):
        raise statuses.bad_request(
            f"the API version in the data ({api_version}, Kind={kind}) does not match the expected"
            f" API version ({resource.api_version}, Kind={resource.kind})"
        )
    body: objects.JsonObject = {
        key: _without_nulls(value)
        for key, value in sent.items()
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


def _check_place(info: requests.RequestInfo, metadata: objects.JsonObject) -> None:
    name, namespace = metadata.get("name"), metadata.get("namespace")
    if namespace and namespace != info.namespace:
        raise statuses.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    if info.name and name and name != info.name:
        raise statuses.bad_request(
            f"the name of the object ({name}) does not match the name on the URL ({info.name})"
        )


def _with_defaults(resource: resources.Resource, body: objects.JsonObject) -> objects.JsonObject:
    body = dict(body)
    if resource in _SERVER_OWNED_STATUS:
        body.pop("status", None)
    if resource is resources.PODS:
        return manifests.with_pod_defaults(body)
    if resource is resources.NAMESPACES:
        return body | {"spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}
    return body


def _combined(
    info: requests.RequestInfo, old: objects.Stored, new: objects.JsonObject
) -> objects.JsonObject:
    """Return the state after an update.

    Fields that the server owns, and those that the path does not cover, stay as they are.
    """
    metadata = {name: value for name, value in new["metadata"].items() if name not in _SERVER_OWNED}
    kept = {name: old.metadata[name] for name in _SERVER_OWNED if name in old.metadata}
    metadata = kept | metadata | {"resourceVersion": str(old.version)}
    if info.subresource == "status":
        source, status = old.body, new.get("status")
    else:
        has_status = "status" in info.resource.subresources
        source, status = new, (old.body if has_status else new).get("status")
    body = {name: value for name, value in source.items() if name not in ("metadata", "status")}
    if info.resource.generation and body.get("spec") != old.body.get("spec"):
        metadata["generation"] = old.metadata.get("generation", 0) + 1
    body = {"metadata": metadata} | body
    return body if status is None else body | {"status": status}
