"""Fields of API objects."""

from tests.cluster.manifests import JsonObject


def condition(found: JsonObject, kind: str) -> JsonObject | None:
    """A condition in its status; None when there is none of this type."""
    conditions = found.get("status", {}).get("conditions") or []
    return next((item for item in conditions if item["type"] == kind), None)


def is_true(found: JsonObject, kind: str) -> bool:
    """True if a condition holds."""
    said = condition(found, kind)
    return said is not None and said["status"] == "True"


def is_usable(node: JsonObject) -> bool:
    """True if pods may be bound to a node."""
    return not node["spec"].get("taints") and is_true(node, "Ready")


def is_healthy(pod: JsonObject) -> bool:
    """True if a pod counts for its disruption budget: Ready, and not terminating."""
    return "deletionTimestamp" not in pod["metadata"] and is_true(pod, "Ready")
