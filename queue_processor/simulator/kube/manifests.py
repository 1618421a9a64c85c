"""Bodies of objects that the seeding methods and the controllers write."""

import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence

from queue_processor.simulator.kube import clock, objects

STARTUP_ANNOTATION = "simulator/startup-seconds"
EXIT_ANNOTATION = "simulator/exit-seconds"
MIRROR_ANNOTATION = "kubernetes.io/config.mirror"

# The alphabet of generated names: without vowels and characters that look alike.
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_SUFFIX_LENGTH = 5
# Spreads consecutive numbers over the suffixes; coprime to the size of the alphabet.
_STRIDE = 7_654_321

_DEFAULT_TOLERATIONS = tuple(
    {
        "key": f"node.kubernetes.io/{state}",
        "operator": "Exists",
        "effect": "NoExecute",
        "tolerationSeconds": 300,
    }
    for state in ("not-ready", "unreachable")
)


class NameGenerator:
    """Generates suffixes of names: reproducible, and never the same twice."""

    def __init__(self) -> None:
        self._count = 0

    def suffix(self) -> str:
        """Return five letters and digits."""
        self._count += 1
        number = self._count * _STRIDE
        letters = []
        for _ in range(_SUFFIX_LENGTH):
            number, rest = divmod(number, len(_ALPHABET))
            letters.append(_ALPHABET[rest])
        return "".join(letters)


@dataclasses.dataclass(frozen=True, slots=True)
class PodSpec:
    """The shape of a pod.

    ``exit_seconds`` is how long the pod takes to end after SIGTERM, ``startup_seconds`` how long
    from being bound to Ready; ``None`` takes the delay of the cluster. ``volumes`` are names of
    claims.
    """

    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    annotations: Mapping[str, str] = dataclasses.field(default_factory=dict)
    grace_seconds: int = 30
    exit_seconds: float | None = None
    startup_seconds: float | None = None
    volumes: Sequence[str] = ()
    tolerations: Sequence[Mapping[str, object]] = ()
    priority_class: str = ""

    def template(self) -> objects.JsonObject:
        """Build the pod template: metadata and spec."""
        annotations = dict(self.annotations)
        if self.exit_seconds is not None:
            annotations[EXIT_ANNOTATION] = str(self.exit_seconds)
        if self.startup_seconds is not None:
            annotations[STARTUP_ANNOTATION] = str(self.startup_seconds)
        metadata: objects.JsonObject = {"labels": dict(self.labels)}
        if annotations:
            metadata["annotations"] = annotations
        spec: objects.JsonObject = {
            "containers": [{"name": "main", "image": "registry.example/app:1"}],
            "terminationGracePeriodSeconds": self.grace_seconds,
        }
        if self.tolerations:
            spec["tolerations"] = [dict(toleration) for toleration in self.tolerations]
        if self.priority_class:
            spec["priorityClassName"] = self.priority_class
        if self.volumes:
            spec["volumes"] = [
                {"name": f"data-{index}", "persistentVolumeClaim": {"claimName": claim}}
                for index, claim in enumerate(self.volumes)
            ]
        return {"metadata": metadata, "spec": spec}


def condition(
    kind: str, status: str, now: dt.datetime, *, reason: str = "", message: str = ""
) -> objects.JsonObject:
    """Build a condition of a pod or node."""
    condition = {"type": kind, "status": status, "lastTransitionTime": clock.stamp(now)}
    if reason:
        condition["reason"] = reason
    if message:
        condition["message"] = message
    return condition


def node_condition(
    kind: str, status: str, now: dt.datetime, *, reason: str, message: str = ""
) -> objects.JsonObject:
    """Build a condition that a kubelet reports."""
    reported = condition(kind, status, now, reason=reason, message=message)
    return reported | {"lastHeartbeatTime": clock.stamp(now)}


def with_pod_defaults(body: objects.JsonObject) -> objects.JsonObject:
    """Return a new pod as the API server stores it: Pending, with the default tolerations."""
    spec = dict(body.get("spec") or {})
    tolerations = list(spec.get("tolerations") or ())
    for default in _DEFAULT_TOLERATIONS:
        if not any(_covers(toleration, default["key"]) for toleration in tolerations):
            tolerations.append(default)
    spec["tolerations"] = tolerations
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("schedulerName", "default-scheduler")
    spec.setdefault("serviceAccountName", "default")
    status = body.get("status") or {"phase": "Pending", "qosClass": "BestEffort"}
    return body | {"spec": spec, "status": status}


def _covers(toleration: objects.JsonObject, key: object) -> bool:
    right_effect = toleration.get("effect") in (None, "", "NoExecute")
    return right_effect and toleration.get("key") in (None, "", key)


def bound(body: objects.JsonObject, node: str, now: dt.datetime) -> objects.JsonObject:
    """Return the pod as the scheduler binds it."""
    status = objects.with_conditions(
        body.get("status") or {}, condition("PodScheduled", "True", now)
    )
    return body | {"spec": body["spec"] | {"nodeName": node}, "status": status}


def running(body: objects.JsonObject, now: dt.datetime) -> objects.JsonObject:
    """Return the pod after its containers started and passed their readiness probes."""
    kinds = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    status = objects.with_conditions(
        body.get("status") or {}, *(condition(kind, "True", now) for kind in kinds)
    )
    moment = clock.stamp(now)
    started = {
        "name": "main",
        "image": "registry.example/app:1",
        "imageID": "registry.example/app@sha256:0",
        "ready": True,
        "started": True,
        "restartCount": 0,
        "state": {"running": {"startedAt": moment}},
    }
    status |= {"phase": "Running", "startTime": moment, "containerStatuses": [started]}
    return body | {"status": status}


def unready(body: objects.JsonObject, now: dt.datetime, reason: str) -> objects.JsonObject:
    """Return the pod as not Ready."""
    conditions = (
        condition(kind, "False", now, reason=reason) for kind in ("Ready", "ContainersReady")
    )
    return body | {"status": objects.with_conditions(body.get("status") or {}, *conditions)}


def node_ready(status: str, now: dt.datetime) -> objects.JsonObject:
    """Build the condition Ready of a node: ``True``, ``False`` or ``Unknown``."""
    reasons = {
        "True": ("KubeletReady", "kubelet is posting ready status"),
        "False": ("KubeletNotReady", "container runtime is down"),
        "Unknown": ("NodeStatusUnknown", "Kubelet stopped posting node status."),
    }
    reason, message = reasons[status]
    return node_condition("Ready", status, now, reason=reason, message=message)


def node(
    provider_id: str, labels: Mapping[str, str], now: dt.datetime, *, max_pods: int
) -> objects.JsonObject:
    """Build a Ready node."""
    pressures = [
        node_condition(kind, "False", now, reason=f"KubeletHasNo{kind}")
        for kind in ("MemoryPressure", "DiskPressure", "PIDPressure")
    ]
    capacity = {"cpu": "4", "memory": "16Gi", "pods": str(max_pods)}
    hostname = labels["kubernetes.io/hostname"]
    return {
        "metadata": {"labels": dict(labels)},
        "spec": {"providerID": provider_id},
        "status": {
            "capacity": capacity,
            "allocatable": capacity,
            "conditions": [*pressures, node_ready("True", now)],
            "addresses": [{"type": "Hostname", "address": hostname}],
            "nodeInfo": _node_info(hostname),
        },
    }


def _node_info(hostname: str) -> objects.JsonObject:
    identity = f"id-of-{hostname}"
    return {
        "architecture": "amd64",
        "bootID": identity,
        "containerRuntimeVersion": "containerd://2.1.0",
        "kernelVersion": "6.12.0",
        "kubeProxyVersion": "",
        "kubeletVersion": "v1.37.2",
        "machineID": identity,
        "operatingSystem": "linux",
        "osImage": "Amazon Linux 2023",
        "systemUUID": identity,
    }


def owner(stored: objects.Stored) -> objects.JsonObject:
    """Build the ownerReference to a controller."""
    return {
        "apiVersion": stored.resource.api_version,
        "kind": stored.resource.kind,
        "name": stored.name,
        "uid": stored.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def budget_condition(budget: objects.Stored, allowed: int, now: dt.datetime) -> objects.JsonObject:
    """Build the condition DisruptionAllowed of a budget."""
    status, reason = ("True", "SufficientPods") if allowed > 0 else ("False", "InsufficientPods")
    return {
        "type": "DisruptionAllowed",
        "status": status,
        "observedGeneration": budget.metadata.get("generation", 0),
        "lastTransitionTime": clock.stamp(now),
        "reason": reason,
        "message": "",
    }
