"""The values of NTH's chart that are none of NTH's settings, and what becomes of each."""

import dataclasses
import re
from collections.abc import Mapping, Sequence

from queue_processor.settings.nth import webhooks
from queue_processor.settings.nth.rules import (
    Answer,
    ChartValue,
    Fate,
    Given,
    NotAllowed,
    Place,
    Row,
    Rule,
    different,
    flag,
    needless,
    number,
    text,
    unsupported,
)

# Values for the DaemonSets of IMDS mode begin like this.
DAEMON_SETS = ("daemonset", "linux", "windows")
EXTRA_ENV = "extraEnv"

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ROLE = "eks.amazonaws.com/role-arn"


def _mapping(value: object) -> Mapping[str, object]:
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return value
    raise NotAllowed("a mapping is needed")


@dataclasses.dataclass(frozen=True, slots=True)
class _Account:
    """The service account, and the role in its annotations."""

    def answer(self, value: object, given: Given) -> Answer:
        """Take the role and the annotations; the account itself is another."""
        del given
        annotations = dict(_mapping(_mapping(value).get("annotations") or {}))
        role = annotations.pop(_ROLE, None)
        chart: dict[Place, object] = {}
        if role:
            chart["serviceAccount", "roleArn"] = text(role)
        if annotations:
            chart["serviceAccount", "annotations"] = {
                name: text(content) for name, content in annotations.items()
            }
        why = "the trust policy of the role has to name this service account"
        return Answer(fate=Fate.MAPPED, why=why, chart=chart)

    def described(self) -> str:
        """The names of our values."""
        return (
            "the annotations become `serviceAccount.roleArn` and `.annotations` of the chart; the"
            " trust policy of the role has to name the new account"
        )


@dataclasses.dataclass(frozen=True, slots=True)
class _Monitor:
    """The ServiceMonitor."""

    def answer(self, value: object, given: Given) -> Answer:
        """Take what our chart has, too."""
        del given
        monitor = _mapping(value)
        chart: dict[Place, object] = {}
        if monitor.get("create") is not None:
            chart["serviceMonitor", "enabled"] = flag(monitor["create"])
        if monitor.get("interval"):
            chart["serviceMonitor", "interval"] = text(monitor["interval"])
        if monitor.get("labels"):
            chart["serviceMonitor", "labels"] = dict(_mapping(monitor["labels"]))
        return Answer(fate=Fate.MAPPED, chart=chart)

    def described(self) -> str:
        """The names of our values."""
        return "`serviceMonitor.enabled`, `.interval` and `.labels` of the chart"


@dataclasses.dataclass(frozen=True, slots=True)
class _Variables:
    """More environment variables; those that are settings of NTH are not among them."""

    def answer(self, value: object, given: Given) -> Answer:
        """Take each as it is."""
        del given
        variables = _mapping(value)
        if not all(_VARIABLE.fullmatch(name) for name in variables):
            raise NotAllowed("names of environment variables are needed")
        chart: dict[Place, object] = {("env", name): content for name, content in variables.items()}
        return Answer(fate=Fate.MAPPED, chart=chart)

    def described(self) -> str:
        """The name of our value."""
        return "settings of NTH as above; other variables become `env` of the chart"


_IMDS = needless("of the DaemonSets of IMDS mode")
_NAMES = needless("names follow the release; `fullnameOverride` of the chart sets another")

_RULES: Mapping[str, Rule] = {
    "webhookURLSecretName": webhooks.SecretAddress(),
    "webhookTemplateConfigMapName": webhooks.TEMPLATE,
    "webhookTemplateConfigMapKey": webhooks.TEMPLATE,
    "replicas": ChartValue("replicas", read=number),
    "serviceAccount": _Account(),
    "serviceMonitor": _Monitor(),
    EXTRA_ENV: _Variables(),
    "priorityClassName": ChartValue("priorityClassName", read=text),
    "nodeSelector": ChartValue("nodeSelector"),
    "affinity": ChartValue("affinity"),
    "tolerations": ChartValue(
        "tolerations",
        why="one for any taint keeps the pod on nodes that it drains: name what it has to bear",
    ),
    "podLabels": ChartValue("podLabels"),
    "podAnnotations": ChartValue("podAnnotations"),
    "image": different("the image is another one: `image.repository`, `imagePullSecrets`"),
    "resources": different("they are those of another program; the chart has its own"),
    "securityContext": different("the container always runs restricted, without any rights"),
    "podSecurityContext": different("the pod always runs restricted"),
    "topologySpreadConstraints": different("the chart keeps replicas apart by itself"),
    "podDisruptionBudget": needless("the chart adds one for more than one replica"),
    "strategy": needless("the Lease decides which process works while they change"),
    "terminationGracePeriodSeconds": needless("the chart has what a clean stop needs"),
    "probes": needless("the chart has its own"),
    "rbac": needless("the chart always makes the roles, and no PodSecurityPolicy"),
    "nameOverride": _NAMES,
    "fullnameOverride": _NAMES,
    "customLabels": unsupported("there are `podLabels` only"),
    "dnsConfig": unsupported("the pod resolves names as the cluster does"),
    "dnsPolicy": _IMDS,
    "podMonitor": _IMDS,
    "targetNodeOs": _IMDS,
    "updateStrategy": _IMDS,
    "useHostNetwork": _IMDS,
    "nodeSelectorTermsOs": _IMDS,
    "nodeSelectorTermsArch": _IMDS,
    **{f"{begin}…": _IMDS for begin in DAEMON_SETS},
}
ROWS: Sequence[Row] = tuple(Row(name=key, key=key, rule=rule) for key, rule in _RULES.items())
