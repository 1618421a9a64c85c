"""What a path and a method ask for."""

import dataclasses

from queue_processor.simulator.kube import resources, store

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}


@dataclasses.dataclass(frozen=True, slots=True)
class RequestInfo:
    """What a path names: a resource, and perhaps a namespace, an object and a subresource."""

    resource: resources.Resource
    namespace: str = ""
    name: str = ""
    subresource: str = ""

    @property
    def key(self) -> store.Key:
        """Namespace and name."""
        return (self.namespace, self.name)


def parse_path(path: str) -> RequestInfo | None:
    """What a path names; ``None`` when it is not below a group and version.

    A resource that the group does not have is ``None``, too.
    """
    match path.strip("/").split("/"):
        case ["api", version, *rest] if rest:
            return _target("", version, rest)
        case ["apis", group, version, *rest] if rest:
            return _target(group, version, rest)
        case _:
            return None


def _target(group: str, version: str, steps: list[str]) -> RequestInfo | None:
    known = {
        resource.plural: resource
        for resource in resources.ALL
        if resource.group == group and resource.version == version
    }
    namespace = ""
    match steps:
        case ["namespaces", given, plural, *rest] if given and plural in known:
            namespace, steps = given, [plural, *rest]
    resource = known.get(steps[0])
    if resource is None or len(steps) > 3:  # noqa: PLR2004 - resource, name, subresource
        return None
    if namespace and not resource.namespaced:
        return None
    name = steps[1] if len(steps) > 1 else ""
    subresource = steps[2] if len(steps) > 2 else ""  # noqa: PLR2004 - the third step
    if subresource and subresource not in resource.subresources:
        return None
    if resource.namespaced and name and not namespace:
        return None
    return RequestInfo(resource, namespace, name, subresource)


def verb_of(method: str, target: RequestInfo, *, watching: bool) -> str:
    """The verb, as access rules name it."""
    if method == "GET":
        if target.name:
            return "get"
        return "watch" if watching else "list"
    if method == "DELETE":
        return "delete" if target.name else "deletecollection"
    return _VERBS.get(method, method.lower())
