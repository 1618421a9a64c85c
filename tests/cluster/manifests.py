"""Bodies of the objects that the tests put into the cluster."""

import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

JsonObject: TypeAlias = dict[str, Any]

NAMESPACE = "work"
# Read by the stages in kwok.yaml.
_EXITS_AFTER = "cluster.test/exits-after"
NEVER = "never"


@dataclasses.dataclass(frozen=True, slots=True)
class PodShape:
    """The properties of a pod that matter in a drain.

    Attributes:
        labels: Its labels.
        exits_after: How long it takes to end after its SIGTERM, as Go writes durations (`1.5s`);
            `never` ignores it.
        grace_seconds: Its terminationGracePeriodSeconds.
        priority_class: Its priority class, by name.
        annotations: What else it is annotated with.
    """

    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    exits_after: str = "0s"
    grace_seconds: int = 30
    priority_class: str = ""
    annotations: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def template(self) -> JsonObject:
        """The template of such pods."""
        spec: JsonObject = {
            "containers": [{"name": "main", "image": "registry.example/app:1"}],
            "terminationGracePeriodSeconds": self.grace_seconds,
            # Without a token there is no volume to be mounted and no account to be looked up.
            "automountServiceAccountToken": False,
        }
        if self.priority_class:
            spec["priorityClassName"] = self.priority_class
        annotations = {**self.annotations, _EXITS_AFTER: self.exits_after}
        return {
            "metadata": {"labels": dict(self.labels), "annotations": annotations},
            "spec": spec,
        }


def node(name: str, instance_id: str, *, labels: Mapping[str, str] | None = None) -> JsonObject:
    """A node of EC2 that is Ready from the beginning, as its kubelet registers it.

    If it became Ready a moment later, the node controller could have seen it before that, and take
    Ready away from the first pods on it, which no fake kubelet gives back.
    """
    now = f"{dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M:%SZ}"
    size = {"cpu": "64", "memory": "256Gi", "pods": "250"}
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "KubeletReady",
        "message": "kubelet is posting ready status",
        "lastHeartbeatTime": now,
        "lastTransitionTime": now,
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}},
        "spec": {"providerID": f"aws:///eu-west-1a/{instance_id}"},
        "status": {"allocatable": size, "capacity": size, "conditions": [ready]},
    }


def pod(
    name: str, shape: PodShape, *, node_name: str | None = None, namespace: str = NAMESPACE
) -> JsonObject:
    """A pod of its own, bound already where a node is named."""
    template = shape.template()
    spec = template["spec"] | ({"nodeName": node_name} if node_name else {})
    metadata = template["metadata"] | {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def owned(
    kind: str,
    name: str,
    shape: PodShape,
    *,
    replicas: int | None = 1,
    tolerations: Sequence[JsonObject] = (),
) -> JsonObject:
    """A Deployment, ReplicaSet, StatefulSet or DaemonSet; the last has no replicas."""
    labels = {**shape.labels, "app": name}
    template = dataclasses.replace(shape, labels=labels).template()
    if tolerations:
        template["spec"]["tolerations"] = list(tolerations)
    spec: JsonObject = {"selector": {"matchLabels": {"app": name}}, "template": template}
    if kind == "StatefulSet":
        spec["serviceName"] = name
    if kind != "DaemonSet":
        spec["replicas"] = replicas
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels},
        "spec": spec,
    }


def budget(name: str, labels: Mapping[str, str], **limits: int | str) -> JsonObject:
    """A PodDisruptionBudget over the pods with these labels.

    Args:
        name: Its name.
        labels: Which pods.
        limits: `minAvailable` or `maxUnavailable`.
    """
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"selector": {"matchLabels": dict(labels)}, **limits},
    }


def attachment(name: str, node_name: str) -> JsonObject:
    """A volume that is attached to a node; its driver is nobody's, so that it stays so."""
    source = {"persistentVolumeName": name}
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "VolumeAttachment",
        "metadata": {"name": name},
        "spec": {"attacher": "driver.example", "nodeName": node_name, "source": source},
    }
