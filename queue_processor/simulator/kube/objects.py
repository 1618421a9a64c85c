"""Stored objects, one immutable version each, and questions that many modules ask of them."""

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
    changed: a write makes a new ``Stored``. It is serialized at most once.
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
        """Return namespace (empty for cluster-scoped resources) and name."""
        return (self.namespace, self.name)

    @property
    def metadata(self) -> JsonObject:
        """Return ``metadata``."""
        value: JsonObject = self.body["metadata"]
        return value

    @property
    def spec(self) -> JsonObject:
        """Return ``spec``, empty if it is absent."""
        value: JsonObject = self.body.get("spec") or {}
        return value

    @property
    def status(self) -> JsonObject:
        """Return ``status``, empty if it is absent."""
        value: JsonObject = self.body.get("status") or {}
        return value

    @property
    def labels(self) -> Mapping[str, str]:
        """Return the labels."""
        value: Mapping[str, str] = self.body["metadata"].get("labels") or {}
        return value

    @property
    def annotations(self) -> Mapping[str, str]:
        """Return the annotations."""
        value: Mapping[str, str] = self.body["metadata"].get("annotations") or {}
        return value

    @property
    def is_terminating(self) -> bool:
        """Return True once the deletion was requested."""
        return bool(self.body["metadata"].get("deletionTimestamp"))

    @property
    def node_name(self) -> str:
        """Return the node of a pod, empty until it is bound."""
        value: str = self.spec.get("nodeName") or ""
        return value

    @property
    def controller_uid(self) -> str:
        """Return the uid of the controlling owner, or an empty string."""
        for owner in self.body["metadata"].get("ownerReferences") or ():
            if owner.get("controller"):
                uid: str = owner["uid"]
                return uid
        return ""

    def item(self) -> bytes:
        """Return the object as an item of a list: JSON without kind and apiVersion."""
        if self._text is None:
            self._text = to_json(self.body)
        return self._text

    def document(self) -> bytes:
        """Return the whole object as JSON."""
        kind, api_version = self.resource.kind, self.resource.api_version
        return b'{"kind":"%b","apiVersion":"%b",%b' % (
            kind.encode(),
            api_version.encode(),
            self.item()[1:],
        )

    def with_version(self, version: int) -> "Stored":
        """Return the same state under another resourceVersion, as watches send deletions."""
        metadata = {**self.metadata, "resourceVersion": str(version)}
        return dataclasses.replace(
            self, version=version, body={**self.body, "metadata": metadata}, _text=None
        )


def to_json(value: object) -> bytes:
    """Serialize as compact UTF-8 JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def condition(conditions: Iterable[JsonObject] | None, kind: str) -> JsonObject | None:
    """Return the condition of a type, if it is present."""
    for entry in conditions or ():
        if entry.get("type") == kind:
            return entry
    return None


def with_conditions(status: JsonObject, *changed: JsonObject) -> JsonObject:
    """Return the status with these conditions; an unchanged one keeps its transition time."""
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
    """Return True if the condition of a type has the status ``True``."""
    entry = condition(conditions, kind)
    return entry is not None and entry.get("status") == "True"


def is_ready(stored: Stored) -> bool:
    """Return True if a pod or node is Ready."""
    return is_true(stored.status.get("conditions"), "Ready")


def is_healthy(pod: Stored | None) -> bool:
    """Return True if a pod counts for a disruption budget: Ready and not terminating."""
    return pod is not None and not pod.is_terminating and is_ready(pod)


def is_finished(pod: Stored) -> bool:
    """Return True if all containers of the pod have ended for good."""
    return pod.status.get("phase") in FINISHED_PHASES


def is_active(pod: Stored) -> bool:
    """Return True if a pod counts as a replica: neither finished nor terminating."""
    return not pod.is_terminating and not is_finished(pod)


def tolerates(pod: Stored, taint: JsonObject) -> JsonObject | None:
    """Return the toleration of the pod that matches the taint, or ``None``.

    https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/
    """
    for toleration in pod.spec.get("tolerations") or ():
        effect, key = toleration.get("effect"), toleration.get("key")
        if (effect and effect != taint.get("effect")) or (key and key != taint.get("key")):
            continue
        exists = toleration.get("operator") == "Exists"
        if exists or (key and (toleration.get("value") or "") == (taint.get("value") or "")):
            match: JsonObject = toleration
            return match
    return None
