"""Discovery: which groups, versions and resources the server has.

https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api
"""

from queue_processor.simulator.kube import objects, resources

_VERSION = "v1.37.2"
_SUBRESOURCE_KINDS = {
    "eviction": ("Eviction", "policy", "v1", ["create"]),
    "binding": ("Binding", "", "v1", ["create"]),
}


def document(path: str) -> objects.JsonObject | None:
    """The discovery document at a path, ``None`` when there is none."""
    found: objects.JsonObject | None = None
    match path.strip("/").split("/"):
        case ["version"]:
            found = _version()
        case ["api"]:
            found = {"kind": "APIVersions", "versions": ["v1"]}
        case ["apis"]:
            groups = [_group(name, version) for name, version in _groups()]
            found = {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
        case ["apis", name]:
            versions = [version for group, version in _groups() if group == name]
            if versions:
                found = {"kind": "APIGroup", "apiVersion": "v1"} | _group(name, versions[0])
        case ["api", version]:
            found = _resources("", version)
        case ["apis", name, version]:
            found = _resources(name, version)
    return found


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


def _groups() -> list[tuple[str, str]]:
    found = {
        (resource.group, resource.version): None for resource in resources.ALL if resource.group
    }
    return list(found)


def _group(name: str, version: str) -> objects.JsonObject:
    told = {"groupVersion": f"{name}/{version}", "version": version}
    return {"name": name, "versions": [told], "preferredVersion": told}


def _resources(group: str, version: str) -> objects.JsonObject | None:
    found = [
        resource
        for resource in resources.ALL
        if resource.group == group and resource.version == version
    ]
    if not found:
        return None
    told: list[objects.JsonObject] = []
    for resource in found:
        told.append(_resource(resource))
        told += [_subresource(resource, name) for name in resource.subresources]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": found[0].api_version,
        "resources": told,
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
