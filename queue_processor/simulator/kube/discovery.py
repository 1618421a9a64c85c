"""Discovery of the groups, versions and resources of the server.

https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api
"""

from queue_processor.simulator.kube import objects, resources

_VERSION = "v1.37.2"
_GROUPS = {resource.group: resource.version for resource in resources.ALL if resource.group}
_SUBRESOURCE_KINDS = {
    "eviction": ("Eviction", "policy", "v1", ["create"]),
    "binding": ("Binding", "", "v1", ["create"]),
}


def document(path: str) -> objects.JsonObject | None:
    """Return the discovery document at a path, or ``None``."""
    match path.strip("/").split("/"):
        case ["version"]:
            return _version()
        case ["api"]:
            return {"kind": "APIVersions", "versions": ["v1"]}
        case ["apis"]:
            groups = [_group(name, version) for name, version in _GROUPS.items()]
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
        case ["apis", name] if name in _GROUPS:
            return {"kind": "APIGroup", "apiVersion": "v1"} | _group(name, _GROUPS[name])
        case ["api", version] | ["apis", _, version] as steps:
            return _resources("".join(steps[1:-1]), version)
        case _:
            return None


def _version() -> objects.JsonObject:
    return {
        "major": "1",
        "minor": "37",
        "gitVersion": _VERSION,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "2026-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "gc",
        "platform": "linux/amd64",
    }


def _group(name: str, version: str) -> objects.JsonObject:
    only = {"groupVersion": f"{name}/{version}", "version": version}
    return {"name": name, "versions": [only], "preferredVersion": only}


def _resources(group: str, version: str) -> objects.JsonObject | None:
    served = [
        resource
        for resource in resources.ALL
        if resource.group == group and resource.version == version
    ]
    if not served:
        return None
    entries: list[objects.JsonObject] = []
    for resource in served:
        entries.append(_resource(resource))
        entries += [_subresource(resource, name) for name in resource.subresources]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": served[0].api_version,
        "resources": entries,
    }


def _resource(resource: resources.Resource) -> objects.JsonObject:
    body: objects.JsonObject = {
        "name": resource.plural,
        "singularName": resource.kind.lower(),
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        body["shortNames"] = list(resource.short_names)
    if resource.categories:
        body["categories"] = list(resource.categories)
    return body


def _subresource(resource: resources.Resource, name: str) -> objects.JsonObject:
    body: objects.JsonObject = {
        "name": f"{resource.plural}/{name}",
        "singularName": "",
        "namespaced": resource.namespaced,
    }
    if name in _SUBRESOURCE_KINDS:
        kind, group, version, verbs = _SUBRESOURCE_KINDS[name]
        body |= {"kind": kind, "verbs": verbs}
        if group:
            body |= {"group": group, "version": version}
        return body
    return body | {"kind": resource.kind, "verbs": ["get", "patch", "update"]}
