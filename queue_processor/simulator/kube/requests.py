"""Requests to the API server: their path, verb, query and body.

https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-uris
"""

import dataclasses
import json
from collections.abc import Mapping

from queue_processor.simulator.kube import objects, patches, resources, statuses, store

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}
_BODY_TYPES = ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf")


@dataclasses.dataclass(frozen=True, slots=True)
class ApiRequest:
    """A request; the keys of ``headers`` are in lower case."""

    method: str
    path: str
    query: Mapping[str, str] = dataclasses.field(default_factory=dict)
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    body: bytes = b""

    @property
    def user_agent(self) -> str:
        """Return the User-Agent header."""
        return self.headers.get("user-agent", "")

    @property
    def is_watch(self) -> bool:
        """Return True if the query asks for a watch."""
        return self.query.get("watch", "") in ("true", "1")

    def json(self) -> objects.JsonObject:
        """Read the body as an object; empty if there is no body.

        Raises:
            statuses.ApiError: 400, or 415 if the content type is not JSON.
        """
        if self._content_type() not in ("", "application/json"):
            raise statuses.unsupported_media(_BODY_TYPES)
        body = self._decode() if self.body else {}
        if not isinstance(body, dict):
            raise statuses.bad_request("the body of the request is not an object")
        return body

    def patch(self) -> tuple[patches.PatchType, object]:
        """Read the body as a patch.

        Raises:
            statuses.ApiError: 400, or 415 if the content type is not that of a patch.
        """
        try:
            kind = patches.PatchType(self._content_type())
        except ValueError as error:
            raise statuses.unsupported_media([kind.value for kind in patches.PatchType]) from error
        return kind, self._decode()

    def _content_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def _decode(self) -> object:
        try:
            value: object = json.loads(self.body)
        except ValueError as error:
            raise statuses.bad_request(f"the body of the request is not JSON: {error}") from error
        return value


@dataclasses.dataclass(frozen=True, slots=True)
class RequestInfo:
    """The subject of a request, in the terms of access rules.

    https://kubernetes.io/docs/reference/access-authn-authz/authorization/#determine-the-request-verb
    """

    verb: str
    resource: resources.Resource
    namespace: str = ""
    name: str = ""
    subresource: str = ""

    @property
    def key(self) -> store.Key:
        """Return namespace and name."""
        return (self.namespace, self.name)

    @property
    def resource_name(self) -> str:
        """Return the resource as access rules write it: ``pods``, ``pods/eviction``."""
        plural = self.resource.plural
        return f"{plural}/{self.subresource}" if self.subresource else plural


def parse(request: ApiRequest) -> RequestInfo | None:
    """Return what a request is about, or ``None`` if its path is not that of a resource."""
    match request.path.strip("/").split("/"):
        case ["api", version, *rest] if rest:
            group = ""
        case ["apis", group, version, *rest] if rest:
            pass
        case _:
            return None
    served = {
        resource.plural: resource
        for resource in resources.ALL
        if resource.group == group and resource.version == version
    }
    namespace = ""
    match rest:
        case ["namespaces", step, plural, *_] if step and plural in served:
            namespace, rest = step, rest[2:]
    resource = served.get(rest[0])
    if resource is None or (namespace and not resource.namespaced):
        return None
    match rest[1:]:
        case []:
            name = subresource = ""
        case [name]:
            subresource = ""
        case [name, subresource] if subresource in resource.subresources:
            pass
        case _:
            return None
    if resource.namespaced and name and not namespace:
        return None
    return RequestInfo(_verb_of(request, name), resource, namespace, name, subresource)


def _verb_of(request: ApiRequest, name: str) -> str:
    match request.method:
        case "GET" if name:
            return "get"
        case "GET":
            return "watch" if request.is_watch else "list"
        case "DELETE":
            return "delete" if name else "deletecollection"
        case method:
            return _VERBS.get(method, method.lower())


def parse_number(query: Mapping[str, str], name: str) -> int | None:
    """Read a whole number of the query, ``None`` if it is absent.

    Raises:
        statuses.ApiError: 400 if it is not a whole number.
    """
    text = query.get(name, "")
    if not text:
        return None
    try:
        return int(text)
    except ValueError as error:
        raise statuses.bad_request(f"{name} is not a whole number: {text}") from error
