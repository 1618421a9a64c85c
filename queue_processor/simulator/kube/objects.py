"""Stored objects: one immutable version each, and what is read from them again and again."""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any

from queue_processor.simulator.kube import resources

JsonObject = dict[str, Any]

FINISHED_PHASES = frozenset({"Succeeded", "Failed"})


@dataclasses.dataclass(slots=True, eq=False)
class Stored:
    """One version of one object.

    ``body`` lacks ``kind`` and ``apiVersion`` (items of a list have none either) and is never
    changed: a write makes a new ``Stored``. It is serialised at most once.
    """

    resource: resources.Resource
    namespace: str
    name: str
    uid: str
    version: int
    body: JsonObject
    _text: bytes | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Namespace (empty for cluster-wide resources) and name."""
        return (self.namespace, self.name)

    @property
    def metadata(self) -> JsonObject:
        """``metadata`` of the object."""
        found: JsonObject = self.body["metadata"]
        return found

    @property
    def spec(self) -> JsonObject:
        """``spec`` of the object, empty when there is none."""
        found: JsonObject = self.body.get("spec") or {}
        return found

    @property
    def status(self) -> JsonObject:
        """``status`` of the object, empty when there is none."""
        found: JsonObject = self.body.get("status") or {}
        return found

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels, possibly none."""
        found: Mapping[str, str] = self.body["metadata"].get("labels") or {}
        return found

    @property
    def annotations(self) -> Mapping[str, str]:
        """The annotations, possibly none."""
        found: Mapping[str, str] = self.body["metadata"].get("annotations") or {}
        return found

    @property
    def is_terminating(self) -> bool:
        """Whether somebody has asked for the deletion."""
        return bool(self.body["metadata"].get("deletionTimestamp"))

    @property
    def node_name(self) -> str:
        """The node of a pod, empty until it is bound."""
        found: str = self.spec.get("nodeName") or ""
        return found

    @property
    def controller_uid(self) -> str:
        """The uid of the controlling owner, or an empty string."""
        for owner in self.body["metadata"].get("ownerReferences") or ():
            if owner.get("controller"):
                uid: str = owner["uid"]
                return uid
        return ""

    def item(self) -> bytes:
        """The object as an item of a list: JSON without kind and apiVersion."""
        if self._text is None:
            self._text = to_json(self.body)
        return self._text

    def document(self) -> bytes:
        """The whole object as JSON."""
        kind, api_version = self.resource.kind, self.resource.api_version
        return b'{"kind":"%b","apiVersion":"%b",%b' % (
            kind.encode(),
            api_version.encode(),
            self.item()[1:],
        )

    def with_version(self, version: int) -> "Stored":
        """The same state under another resourceVersion, as deletions are told to watchers."""
        metadata = {**self.metadata, "resourceVersion": str(version)}
        return dataclasses.replace(
            self, version=version, body={**self.body, "metadata": metadata}, _text=None
        )


def to_json(value: object) -> bytes:
    """Compact UTF-8 JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def condition(conditions: Iterable[JsonObject] | None, kind: str) -> JsonObject | None:
    """The condition of that type, if it is there."""
    for found in conditions or ():
        if found.get("type") == kind:
            return found
    return None


def with_conditions(status: JsonObject, *changed: JsonObject) -> JsonObject:
    """The status with these conditions in place; an unchanged one keeps its transition time."""
    conditions = list(status.get("conditions") or ())
    for new in changed:
        for index, old in enumerate(conditions):
            if old.get("type") == new["type"]:
                same = old.get("status") == new["status"]
                moment = old.get("lastTransitionTime") if same else new.get("lastTransitionTime")
                conditions[index] = {**new, "lastTransitionTime": moment}
                break
        else:
            conditions.append(new)
    return {**status, "conditions": conditions}


def is_true(conditions: Iterable[JsonObject] | None, kind: str) -> bool:
    """Whether the condition of that type is there with status ``True``."""
    found = condition(conditions, kind)
    return found is not None and found.get("status") == "True"


def is_ready(stored: Stored) -> bool:
    """Whether a pod or node has the condition Ready."""
    return is_true(stored.status.get("conditions"), "Ready")


def is_healthy(pod: Stored | None) -> bool:
    """Whether a pod counts for a disruption budget: ready, and nobody is deleting it."""
    return pod is not None and not pod.is_terminating and is_ready(pod)


def is_finished(pod: Stored) -> bool:
    """Whether all containers of the pod have ended for good."""
    return pod.status.get("phase") in FINISHED_PHASES


def is_active(pod: Stored) -> bool:
    """Whether a pod counts as a replica: neither finished nor terminating."""
    return not pod.is_terminating and not is_finished(pod)


def tolerates(pod: Stored, taint: JsonObject) -> JsonObject | None:
    """The toleration of the pod that accepts the taint, or ``None``.

    https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/
    """
    for toleration in pod.spec.get("tolerations") or ():
        effect, key = toleration.get("effect"), toleration.get("key")
        if (effect and effect != taint.get("effect")) or (key and key != taint.get("key")):
            continue
        exists = toleration.get("operator") == "Exists"
        if exists or (key and (toleration.get("value") or "") == (taint.get("value") or "")):
            found: JsonObject = toleration
            return found
    return None
