"""The patch formats of the API server.

A patch never changes its target: it makes a new object that shares what stayed the same.
https://kubernetes.io/docs/tasks/manage-kubernetes-objects/update-api-object-kubectl-patch/
"""

import copy
import enum
from collections.abc import Callable, Mapping
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
_DIRECTIVE = "$patch"
_ORDER = "$setElementOrder/"
_DELETE_PRIMITIVES = "$deleteFromPrimitiveList/"
_RETAIN_KEYS = "$retainKeys"


class PatchType(enum.Enum):
    """The formats, by their content types."""

    JSON = "application/json-patch+json"
    MERGE = "application/merge-patch+json"
    STRATEGIC = "application/strategic-merge-patch+json"


def apply(kind: PatchType, target: objects.JsonObject, patch: object) -> objects.JsonObject:
    """Make the patched object.

    Raises:
        statuses.ApiError: 400 when the patch is malformed, 422 when it cannot be applied.
    """
    if kind is PatchType.JSON:
        if not isinstance(patch, list):
            raise statuses.bad_request("a JSON patch must be a list of operations")
        return _json_patch(target, patch)
    if not isinstance(patch, dict):
        raise statuses.bad_request("a merge patch must be an object")
    merged = merge(target, patch) if kind is PatchType.MERGE else strategic(target, patch)
    return cast("objects.JsonObject", merged)


def merge(target: object, patch: object) -> object:
    """JSON merge patch: lists are replaced, null deletes.

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


def strategic(target: object, patch: objects.JsonObject) -> objects.JsonObject:
    """Strategic merge patch: some lists are merged by a key of their items.

    https://kubernetes.io/docs/tasks/manage-kubernetes-objects/update-api-object-kubectl-patch/#use-a-strategic-merge-patch-to-update-a-deployment
    """
    patch = dict(patch)
    directive = patch.pop(_DIRECTIVE, None)
    if directive == "delete":
        return {}
    merged = dict(target) if isinstance(target, dict) and directive != "replace" else {}
    retained = patch.pop(_RETAIN_KEYS, None)
    for key, value in patch.items():
        if key.startswith((_ORDER, _DELETE_PRIMITIVES)):
            continue
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _strategic_value(key, merged.get(key), value)
    _apply_list_directives(merged, patch)
    if retained is not None:
        merged = {key: value for key, value in merged.items() if key in retained}
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
        return [item for item in new if not (isinstance(item, dict) and _DIRECTIVE in item)]
    return new


def _merge_items(old: list[Any], new: list[Any], merge_key: str) -> list[Any]:
    if any(item.get(_DIRECTIVE) == "replace" for item in new):
        return [item for item in new if _DIRECTIVE not in item]
    merged = list(old)
    for item in new:
        if merge_key not in item:
            raise statuses.bad_request(f"an item lacks its merge key: {merge_key}")
        places = [at for at, known in enumerate(merged) if known.get(merge_key) == item[merge_key]]
        if item.get(_DIRECTIVE) == "delete":
            for at in reversed(places):
                del merged[at]
        elif places:
            merged[places[0]] = strategic(merged[places[0]], item)
        else:
            merged.append(strategic({}, item))
    return merged


def _apply_list_directives(merged: objects.JsonObject, patch: objects.JsonObject) -> None:
    for key, value in patch.items():
        if key.startswith(_DELETE_PRIMITIVES):
            name = key.removeprefix(_DELETE_PRIMITIVES)
            merged[name] = [item for item in merged.get(name) or () if item not in value]
        elif key.startswith(_ORDER):
            name = key.removeprefix(_ORDER)
            if isinstance(merged.get(name), list):
                merged[name] = _in_order(merged[name], value, _MERGE_KEYS.get(name))


def _in_order(items: list[Any], order: list[Any], merge_key: str | None) -> list[Any]:
    def identity(item: Any) -> object:  # noqa: ANN401 - items are JSON of any shape
        return item.get(merge_key) if merge_key is not None else item

    ranks = {str(identity(item)): rank for rank, item in enumerate(order)}
    # The sort is stable: what the order does not name keeps its place at the end.
    return sorted(items, key=lambda item: ranks.get(str(identity(item)), len(ranks)))


def _json_patch(target: objects.JsonObject, operations: list[Any]) -> objects.JsonObject:
    """JSON patch.

    https://www.rfc-editor.org/rfc/rfc6902
    """
    document: Any = copy.deepcopy(target)
    for operation in operations:
        try:
            document = _OPERATIONS[operation["op"]](document, operation)
        except (KeyError, IndexError, ValueError, TypeError) as fault:
            message = f"the server rejected our request due to an error in our request: {fault}"
            raise statuses.ApiError(422, "Invalid", message, {}) from fault
    return cast("objects.JsonObject", document)


def _steps(pointer: str) -> list[str]:
    if pointer and not pointer.startswith("/"):
        raise ValueError(pointer)
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


def _read(document: Any, pointer: str) -> Any:  # noqa: ANN401 - JSON of any shape
    for step in _steps(pointer):
        document = document[int(step)] if isinstance(document, list) else document[step]
    return document


def _write(document: Any, pointer: str, value: object, *, insert: bool) -> Any:  # noqa: ANN401
    steps = _steps(pointer)
    if not steps:
        return value
    parent = _read(document, pointer.rpartition("/")[0])
    if not isinstance(parent, list):
        if not insert:
            _ = parent[steps[-1]]
        parent[steps[-1]] = value
    elif insert:
        at = len(parent) if steps[-1] == "-" else int(steps[-1])
        if at > len(parent):
            raise IndexError(pointer)
        parent.insert(at, value)
    else:
        parent[int(steps[-1])] = value
    return document


def _remove(document: Any, pointer: str) -> Any:  # noqa: ANN401 - JSON of any shape
    parent, last = _read(document, pointer.rpartition("/")[0]), _steps(pointer)[-1]
    del parent[int(last) if isinstance(parent, list) else last]
    return document


def _move(document: Any, operation: objects.JsonObject) -> Any:  # noqa: ANN401
    value = _read(document, operation["from"])
    document = _remove(document, operation["from"])
    return _write(document, operation["path"], value, insert=True)


def _test(document: Any, operation: objects.JsonObject) -> Any:  # noqa: ANN401
    if _read(document, operation["path"]) != operation["value"]:
        raise ValueError(f"testing value {operation['path']} failed")
    return document


_OPERATIONS: Mapping[str, Callable[[Any, objects.JsonObject], Any]] = {
    "add": lambda doc, op: _write(doc, op["path"], op["value"], insert=True),
    "replace": lambda doc, op: _write(doc, op["path"], op["value"], insert=False),
    "remove": lambda doc, op: _remove(doc, op["path"]),
    "copy": lambda doc, op: _write(
        doc, op["path"], copy.deepcopy(_read(doc, op["from"])), insert=True
    ),
    "move": _move,
    "test": _test,
}
