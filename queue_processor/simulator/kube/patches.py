"""Merge patches, strategic merge patches, and JSON patches of two operations.

A patch never changes its target: it makes a new object that shares what stays the same. The other
operations of JSON patches, server-side apply and the directives of strategic merge patches are not
simulated.
https://kubernetes.io/docs/tasks/manage-kubernetes-objects/update-api-object-kubectl-patch/
"""

import enum
from collections.abc import Mapping
from typing import Any, cast

from queue_processor.simulator.kube import objects, statuses

# The lists that a strategic merge patch merges (x-kubernetes-patch-merge-key in the API schema).
# Every other list is replaced; `taints` and `tolerations` are among those.
_MERGE_KEYS: Mapping[str, str] = {
    "addresses": "type",
    "conditions": "type",
    "containers": "name",
    "env": "name",
    "ephemeralContainers": "name",
    "hostAliases": "ip",
    "imagePullSecrets": "name",
    "initContainers": "name",
    "ownerReferences": "uid",
    "podIPs": "ip",
    "ports": "containerPort",
    "resourceClaims": "name",
    "schedulingGates": "name",
    "topologySpreadConstraints": "topologyKey",
    "volumeDevices": "devicePath",
    "volumeMounts": "mountPath",
    "volumes": "name",
}
_MERGED_SETS = frozenset({"finalizers", "podCIDRs"})
# Maps that are replaced as a whole (patchStrategy=replace).
_REPLACED_MAPS = frozenset({"selector"})


class PatchType(enum.Enum):
    """The formats, by their content types."""

    JSON = "application/json-patch+json"
    MERGE = "application/merge-patch+json"
    STRATEGIC = "application/strategic-merge-patch+json"


def apply(kind: PatchType, target: objects.JsonObject, patch: object) -> objects.JsonObject:
    """Return the patched object.

    Raises:
        statuses.ApiError: 400 if the patch is malformed, 422 if a JSON patch does not fit.
    """
    if kind is PatchType.JSON:
        if not isinstance(patch, list):
            raise statuses.bad_request("a JSON patch must be a list of operations")
        return cast("objects.JsonObject", json_patch(target, patch))
    if not isinstance(patch, dict):
        raise statuses.bad_request("a merge patch must be an object")
    merged = merge(target, patch) if kind is PatchType.MERGE else strategic(target, patch)
    return cast("objects.JsonObject", merged)


def merge(target: object, patch: object) -> object:
    """Apply a JSON merge patch: lists are replaced, null deletes.

    https://www.rfc-editor.org/rfc/rfc7386
    """
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged


def json_patch(target: object, operations: list[Mapping[str, Any]]) -> object:
    """Apply the operations `test` and `remove` of a JSON patch to members of objects.

    https://www.rfc-editor.org/rfc/rfc6902
    """
    for operation in operations:
        names = [
            name.replace("~1", "/").replace("~0", "~")
            for name in str(operation.get("path")).split("/")[1:]
        ]
        match operation.get("op"):
            case "test":
                if _member(target, names) != operation.get("value"):
                    raise statuses.unprocessable()
            case "remove":
                target = _without(target, names)
            case other:
                raise statuses.bad_request(f"the operation {other} is not simulated")
    return target


def _member(target: object, names: list[str]) -> object:
    for name in names:
        if not isinstance(target, dict) or name not in target:
            raise statuses.unprocessable()
        target = target[name]
    return target


def _without(target: object, names: list[str]) -> object:
    name, *rest = names
    inner = _member(target, [name])
    assert isinstance(target, dict)  # noqa: S101 - it has a member
    others = {key: value for key, value in target.items() if key != name}
    return {**others, name: _without(inner, rest)} if rest else others


def strategic(target: object, patch: objects.JsonObject) -> objects.JsonObject:
    """Apply a strategic merge patch: some lists are merged by a key of their items.

    https://kubernetes.io/docs/tasks/manage-kubernetes-objects/update-api-object-kubectl-patch/#use-a-strategic-merge-patch-to-update-a-deployment
    """
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if key.startswith("$"):
            raise statuses.bad_request(f"the directive {key} is not simulated")
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _strategic_value(key, merged.get(key), value)
    return merged


def _strategic_value(key: str, old: object, new: object) -> object:
    if isinstance(new, dict):
        return strategic({} if key in _REPLACED_MAPS else old, new)
    if isinstance(new, list):
        current = old if isinstance(old, list) else []
        if key in _MERGED_SETS:
            return current + [value for value in new if value not in current]
        if key in _MERGE_KEYS:
            return _merge_items(current, new, _MERGE_KEYS[key])
    return new


def _merge_items(old: list[Any], new: list[Any], merge_key: str) -> list[Any]:
    merged = list(old)
    for item in new:
        if merge_key not in item:
            raise statuses.bad_request(f"an item lacks its merge key: {merge_key}")
        for index, present in enumerate(merged):
            if present.get(merge_key) == item[merge_key]:
                merged[index] = strategic(present, item)
                break
        else:
            merged.append(strategic({}, item))
    return merged
