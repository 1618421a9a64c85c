"""The resources that the simulated API server serves."""

import dataclasses
from collections.abc import Mapping

VERBS = ("create", "delete", "get", "list", "patch", "update", "watch")


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Resource:
    """One resource of one group and version.

    ``fields`` can be selected by, beside ``metadata.name`` and (for namespaced resources)
    ``metadata.namespace``; the values are the texts that absent fields compare as. With
    ``unconditional_update`` a PUT needs no resourceVersion, with ``create_on_update`` it may
    create, with ``generation`` the server counts changes of the spec.
    """

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    verbs: tuple[str, ...] = VERBS
    generation: bool = False
    unconditional_update: bool = False
    create_on_update: bool = False
    fields: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def api_version(self) -> str:
        """Return ``v1`` or ``group/version``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """Return the name in messages: ``pods``, ``leases.coordination.k8s.io``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def qualified_kind(self) -> str:
        """Return the kind in messages: ``Pod``, ``Lease.coordination.k8s.io``."""
        return f"{self.kind}.{self.group}" if self.group else self.kind


NAMESPACES = Resource(
    "",
    "v1",
    "namespaces",
    "Namespace",
    namespaced=False,
    short_names=("ns",),
    subresources=("status",),
    unconditional_update=True,
    fields={"status.phase": ""},
)
NODES = Resource(
    "",
    "v1",
    "nodes",
    "Node",
    namespaced=False,
    short_names=("no",),
    subresources=("status",),
    unconditional_update=True,
    fields={"spec.unschedulable": "false"},
)
PODS = Resource(
    "",
    "v1",
    "pods",
    "Pod",
    namespaced=True,
    short_names=("po",),
    categories=("all",),
    subresources=("status", "eviction", "binding"),
    generation=True,
    unconditional_update=True,
    fields={
        "spec.nodeName": "",
        "spec.restartPolicy": "",
        "spec.schedulerName": "",
        "spec.serviceAccountName": "",
        "spec.hostNetwork": "false",
        "status.phase": "",
        "status.podIP": "",
        "status.nominatedNodeName": "",
    },
)
EVENTS = Resource(
    "events.k8s.io",
    "v1",
    "events",
    "Event",
    namespaced=True,
    short_names=("ev",),
    unconditional_update=True,
    create_on_update=True,
    fields={
        "regarding.kind": "",
        "regarding.namespace": "",
        "regarding.name": "",
        "regarding.uid": "",
        "reason": "",
        "reportingController": "",
        "type": "",
    },
)
REPLICA_SETS = Resource(
    "apps",
    "v1",
    "replicasets",
    "ReplicaSet",
    namespaced=True,
    short_names=("rs",),
    categories=("all",),
    subresources=("status",),
    generation=True,
    unconditional_update=True,
)
DAEMON_SETS = Resource(
    "apps",
    "v1",
    "daemonsets",
    "DaemonSet",
    namespaced=True,
    short_names=("ds",),
    categories=("all",),
    subresources=("status",),
    generation=True,
    unconditional_update=True,
)
BUDGETS = Resource(
    "policy",
    "v1",
    "poddisruptionbudgets",
    "PodDisruptionBudget",
    namespaced=True,
    short_names=("pdb",),
    subresources=("status",),
    generation=True,
)
LEASES = Resource(
    "coordination.k8s.io", "v1", "leases", "Lease", namespaced=True, create_on_update=True
)
CLAIMS = Resource(
    "",
    "v1",
    "persistentvolumeclaims",
    "PersistentVolumeClaim",
    namespaced=True,
    short_names=("pvc",),
    subresources=("status",),
    unconditional_update=True,
)
ATTACHMENTS = Resource(
    "storage.k8s.io",
    "v1",
    "volumeattachments",
    "VolumeAttachment",
    namespaced=False,
    subresources=("status",),
)
ACCESS_REVIEWS = Resource(
    "authorization.k8s.io",
    "v1",
    "selfsubjectaccessreviews",
    "SelfSubjectAccessReview",
    namespaced=False,
    verbs=("create",),
)
ALL = (
    NAMESPACES,
    NODES,
    PODS,
    EVENTS,
    REPLICA_SETS,
    DAEMON_SETS,
    BUDGETS,
    LEASES,
    CLAIMS,
    ATTACHMENTS,
    ACCESS_REVIEWS,
)
