"""The watcher of the chart: its pods, its rights, and what it changes for the operator."""

import fnmatch
import os
import pathlib
import subprocess
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from queue_processor import settings
from queue_processor.domain import notices, selectors
from queue_processor.domain.events import EventKind
from tests import gobinaries
from tests.deploy import chart
from tests.deploy.chart import Helm, JsonObject
from tests.deploy.choices import NEEDED, WATCHED

# Helm may have to be built first.
pytestmark = pytest.mark.timeout(gobinaries.BUILD_SECONDS)

KINDS = {
    "ServiceAccount",
    "ClusterRole",
    "ClusterRoleBinding",
    "DaemonSet",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
}


def watched(**watcher: object) -> JsonObject:
    """The values that are needed, with a watcher and without a queue."""
    return {**WATCHED, "watcher": {"enabled": True, **watcher}}


def of_watcher(helm: Helm, values: Mapping[str, Any], **place: str) -> dict[str, JsonObject]:
    """The objects of the watcher, by kind."""
    documents = chart.documents(helm.template(values, **place))
    return {
        document["kind"]: document
        for document in documents
        if document["metadata"]["name"].endswith("-watcher")
    }


def settings_of(helm: Helm, values: Mapping[str, Any]) -> JsonObject:
    """The settings that the operator gets."""
    documents = chart.documents(helm.template(values))
    (data,) = (each["data"] for each in documents if each["kind"] == "ConfigMap")
    content: JsonObject = yaml.safe_load(data["settings.yaml"])
    return content


@pytest.fixture(scope="module")
def objects(helm: Helm) -> dict[str, JsonObject]:
    return of_watcher(helm, WATCHED)


@pytest.fixture(scope="module")
def pod(objects: Mapping[str, JsonObject]) -> JsonObject:
    spec: JsonObject = objects["DaemonSet"]["spec"]["template"]["spec"]
    return spec


@pytest.fixture(scope="module")
def container(pod: JsonObject) -> JsonObject:
    only: JsonObject
    (only,) = pod["containers"]
    return only


def test_there_is_no_watcher_by_default(helm: Helm) -> None:
    assert of_watcher(helm, NEEDED) == {}


def test_the_watcher_has_an_account_and_a_policy_of_its_own(
    objects: Mapping[str, JsonObject],
) -> None:
    assert objects.keys() == KINDS


# The operator.


def test_the_operator_reads_the_notices_and_needs_no_queue(helm: Helm) -> None:
    content = settings_of(helm, WATCHED)

    assert content["sources"] == {"notices": {"enabled": True}}
    assert "queue_url" not in content


def test_a_queue_can_be_read_as_well(helm: Helm) -> None:
    content = settings_of(helm, {**NEEDED, "watcher": {"enabled": True}})

    assert content["sources"] == {"notices": {"enabled": True}}
    assert content["queue_url"] == NEEDED["settings"]["queue_url"]


def test_a_setting_takes_precedence(helm: Helm) -> None:
    chosen = {**NEEDED["settings"], "sources": {"notices": {"enabled": False}}}
    values = {**NEEDED, "settings": chosen, "watcher": {"enabled": True}}

    content = settings_of(helm, values)

    assert content["sources"] == {"notices": {"enabled": False}}


def test_the_program_loads_the_settings(
    helm: Helm, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    for name in [each for each in os.environ if each.startswith(settings.ENVIRONMENT_PREFIX)]:
        monkeypatch.delenv(name)
    file = tmp_path / "settings.yaml"
    file.write_text(yaml.safe_dump(settings_of(helm, WATCHED)), encoding="utf-8")

    loaded = settings.load(file)

    assert loaded.queue_url is None
    assert loaded.sources.notices.enabled


def test_without_the_watcher_the_settings_do_not_mention_notices(helm: Helm) -> None:
    assert "sources" not in settings_of(helm, NEEDED)


def test_no_selector_of_the_operator_selects_the_watcher(helm: Helm) -> None:
    values = {**WATCHED, "replicas": 2, "serviceMonitor": {"enabled": True}}
    found = {each["kind"]: each for each in chart.documents(helm.template(values))}
    labels = found["DaemonSet"]["spec"]["template"]["metadata"]["labels"]
    affinity = found["Deployment"]["spec"]["template"]["spec"]["affinity"]
    (apart,) = affinity["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    selectors_ = [
        found["Deployment"]["spec"]["selector"]["matchLabels"],
        found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        found["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
        found["Service"]["spec"]["selector"],
        apart["podAffinityTerm"]["labelSelector"]["matchLabels"],
    ]

    assert not any(selector.items() <= labels.items() for selector in selectors_)
    assert found["DaemonSet"]["spec"]["selector"]["matchLabels"].items() <= labels.items()


# Rights.


def test_the_role_grants_to_patch_nodes_and_nothing_else(
    objects: Mapping[str, JsonObject],
) -> None:
    assert objects["ClusterRole"]["rules"] == [
        {"apiGroups": [""], "resources": ["nodes"], "verbs": ["patch"]}
    ]


def test_role_and_policy_are_for_the_account_of_the_pods(
    objects: Mapping[str, JsonObject], pod: JsonObject
) -> None:
    account = objects["ServiceAccount"]["metadata"]
    (subject,) = objects["ClusterRoleBinding"]["subjects"]
    (condition,) = objects["ValidatingAdmissionPolicy"]["spec"]["matchConditions"]
    user = f"system:serviceaccount:{account['namespace']}:{account['name']}"

    assert pod["serviceAccountName"] == account["name"]
    assert subject == {
        "kind": "ServiceAccount",
        "name": account["name"],
        "namespace": account["namespace"],
    }
    assert (
        objects["ClusterRoleBinding"]["roleRef"]["name"]
        == (objects["ClusterRole"]["metadata"]["name"])
    )
    assert condition["expression"] == f"request.userInfo.username == '{user}'"


def test_only_the_pods_of_the_daemon_set_get_the_token(
    objects: Mapping[str, JsonObject], pod: JsonObject
) -> None:
    assert objects["ServiceAccount"]["automountServiceAccountToken"] is False
    assert pod["automountServiceAccountToken"] is True


def test_the_account_has_no_iam_role(helm: Helm) -> None:
    role = "arn:aws:iam::123456789012:role/queue-processor"
    values = {**WATCHED, "serviceAccount": {"roleArn": role}}

    assert "annotations" not in of_watcher(helm, values)["ServiceAccount"]["metadata"]


def test_the_policy_denies_and_fails_closed(objects: Mapping[str, JsonObject]) -> None:
    policy, binding = (
        objects["ValidatingAdmissionPolicy"],
        objects["ValidatingAdmissionPolicyBinding"],
    )

    assert policy["spec"]["failurePolicy"] == "Fail"
    assert binding["spec"] == {
        "policyName": policy["metadata"]["name"],
        "validationActions": ["Deny"],
    }


def test_the_policy_has_the_prefix_and_the_limit_that_the_operator_has(
    objects: Mapping[str, JsonObject],
) -> None:
    text = yaml.safe_dump(objects["ValidatingAdmissionPolicy"], width=10_000)

    assert f"startsWith('{notices.ANNOTATION_PREFIX}')" in text
    assert f"<= {notices._LONGEST_TEXT}" in text
    assert notices.annotation_name(EventKind.SPOT_INTERRUPTION).startswith(
        notices.ANNOTATION_PREFIX
    )


def test_two_releases_share_no_object_of_the_cluster(helm: Helm) -> None:
    releases: list[dict[str, str]] = [
        {},
        {"release": "gpu"},
        {"namespace": "kube-system"},
    ]
    names = [
        {each["metadata"]["name"] for each in of_watcher(helm, WATCHED, **place).values()}
        for place in releases
    ]
    clusters = [
        of_watcher(helm, WATCHED, **place)["ClusterRole"]["metadata"]["name"] for place in releases
    ]

    assert len(set(clusters)) == len(releases)
    assert names[0].isdisjoint(names[1])


def test_the_policy_can_be_omitted(helm: Helm) -> None:
    without = of_watcher(helm, watched(admissionPolicy={"enabled": False}))

    assert without.keys() == {kind for kind in KINDS if not kind.startswith("Validating")}


# Nodes.


def selects(pod: JsonObject, labels: Mapping[str, str]) -> bool:
    """True if the affinity and the node selector let a pod onto a node."""
    required = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    terms = [
        ",".join(
            f"{each['key']} {each['operator'].lower()} ({','.join(each['values'])})"
            for each in term["matchExpressions"]
        )
        for term in required["nodeSelectorTerms"]
    ]
    is_selected = pod["nodeSelector"].items() <= labels.items()
    return is_selected and any(selectors.parse(term).selects(labels) for term in terms)


@pytest.mark.parametrize(
    ("labels", "is_watched"),
    [
        ({"lifecycle": "Ec2Spot"}, True),
        ({"eks.amazonaws.com/capacityType": "SPOT"}, True),
        ({"karpenter.sh/capacity-type": "spot"}, True),
        ({"lifecycle": "OnDemand"}, False),
        ({"eks.amazonaws.com/capacityType": "ON_DEMAND"}, False),
        ({"karpenter.sh/capacity-type": "on-demand"}, False),
        ({"eks.amazonaws.com/compute-type": "fargate"}, False),
        ({}, False),
        ({"lifecycle": "Ec2Spot", "kubernetes.io/os": "windows"}, False),
    ],
)
def test_nodes_with_a_label_of_spot_nodes_are_watched(
    pod: JsonObject, labels: Mapping[str, str], *, is_watched: bool
) -> None:
    assert selects(pod, {"kubernetes.io/os": "linux", **labels}) is is_watched


def test_an_affinity_replaces_the_default(helm: Helm) -> None:
    not_fargate = {"key": "eks.amazonaws.com/compute-type", "operator": "NotIn"}
    terms = [{"matchExpressions": [{**not_fargate, "values": ["fargate"]}]}]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    made = of_watcher(helm, watched(affinity={"nodeAffinity": required}))
    pod = made["DaemonSet"]["spec"]["template"]["spec"]

    assert pod["affinity"] == {"nodeAffinity": required}
    assert selects(pod, {"kubernetes.io/os": "linux"})


def test_a_node_is_watched_whatever_its_taints(pod: JsonObject) -> None:
    assert pod["tolerations"] == [{"operator": "Exists"}]
    assert pod["priorityClassName"] == "system-node-critical"


def test_an_update_reaches_many_nodes_at_once_unless_it_does_not_start(
    objects: Mapping[str, JsonObject],
) -> None:
    spec = objects["DaemonSet"]["spec"]

    assert spec["updateStrategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": "25%"},
    }
    assert spec["minReadySeconds"] > 0


# The container.


def test_the_watcher_gets_what_it_reads_from_the_environment(
    helm: Helm, container: JsonObject
) -> None:
    assert container["command"] == ["python", "-m", "queue_processor.watcher"]
    own_name = {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}
    assert container["env"] == [own_name, {"name": "POLL_SECONDS", "value": "2"}]

    url = "http://imds.test.svc:8169/nodes/$(NODE_NAME)"
    made = of_watcher(helm, watched(pollSeconds=1.5, metadataUrl=url, legacyPaths=True))
    (chosen,) = made["DaemonSet"]["spec"]["template"]["spec"]["containers"]
    # The kubelet expands a variable only if it comes first.
    assert chosen["env"] == [
        own_name,
        {"name": "POLL_SECONDS", "value": "1.5"},
        {"name": "IMDS_ENDPOINT", "value": url},
        {"name": "LEGACY_PATHS", "value": "true"},
    ]


@pytest.mark.parametrize(
    ("on_host", "dns"), [(True, "ClusterFirstWithHostNet"), (False, "ClusterFirst")]
)
def test_names_of_the_cluster_are_resolved_in_either_network(
    helm: Helm, dns: str, *, on_host: bool
) -> None:
    made = of_watcher(helm, watched(hostNetwork=on_host))
    pod = made["DaemonSet"]["spec"]["template"]["spec"]

    assert pod.get("hostNetwork", False) is on_host
    assert pod["dnsPolicy"] == dns


def test_the_pod_has_no_privileges_but_the_network_of_its_node(
    pod: JsonObject, container: JsonObject
) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted."""
    whole, own = pod["securityContext"], container["securityContext"]

    assert whole["runAsNonRoot"] is True
    assert 0 not in {whole["runAsUser"], whole["runAsGroup"]}
    assert whole["seccompProfile"] == {"type": "RuntimeDefault"}
    assert own == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod.keys().isdisjoint({"hostPID", "hostIPC", "initContainers"})
    assert "ports" not in container
    assert [volume.keys() for volume in pod["volumes"]] == [{"name", "emptyDir"}]


def test_memory_is_limited_and_the_cpu_is_not(container: JsonObject) -> None:
    assert container["resources"] == {
        "requests": {"cpu": "5m", "memory": "24Mi"},
        "limits": {"memory": "32Mi"},
    }


# The probe.


def probed(container: JsonObject, file: pathlib.Path) -> int:
    """The exit code of the probe, for this heartbeat."""
    (mount,) = container["volumeMounts"]
    path = f"{mount['mountPath']}/heartbeat"
    command = container["livenessProbe"]["exec"]["command"]
    assert path in command
    finished = subprocess.run(  # noqa: S603 - the command of our chart
        [str(file) if argument == path else argument for argument in command],
        capture_output=True,
        env={"PATH": "/usr/bin:/bin"},
        check=False,
    )
    return finished.returncode


@pytest.mark.parametrize(("age_seconds", "is_alive"), [(0, True), (90, True), (150, False)])
def test_a_watcher_without_a_heartbeat_for_two_minutes_is_restarted(
    container: JsonObject, tmp_path: pathlib.Path, age_seconds: int, *, is_alive: bool
) -> None:
    heartbeat = tmp_path / "heartbeat"
    heartbeat.touch()
    at = heartbeat.stat().st_mtime - age_seconds
    os.utime(heartbeat, (at, at))

    assert (probed(container, heartbeat) == 0) is is_alive


def test_a_watcher_that_never_wrote_a_heartbeat_is_restarted(
    container: JsonObject, tmp_path: pathlib.Path
) -> None:
    assert probed(container, tmp_path / "heartbeat") != 0


def test_a_heartbeat_is_older_than_the_probe_allows_only_if_the_loop_hangs(
    container: JsonObject,
) -> None:
    probe = container["livenessProbe"]

    # The file of the container before is renewed before the first look at it.
    assert probe["initialDelaySeconds"] >= 60
    # Each look costs more than the turns of the loop in between.
    assert probe["periodSeconds"] >= 60


# Errors.


@pytest.mark.parametrize(
    ("watcher", "words"),
    [
        ({"pollSeconds": 0.5}, "*watcher/pollSeconds*minimum*1*"),
        ({"pollSeconds": 31}, "*watcher/pollSeconds*maximum*30*"),
        ({"metadataUrl": "169.254.169.254"}, "*watcher/metadataUrl*pattern*"),
        ({"enable": True}, "*watcher*enable*not allowed*"),
        ({"admissionPolicy": {"enable": False}}, "*watcher/admissionPolicy*enable*not allowed*"),
    ],
)
def test_values_that_cannot_work_are_refused_by_name(
    helm: Helm, watcher: JsonObject, words: str
) -> None:
    with pytest.raises(chart.HelmRefused) as refused:
        helm.template(watched(**watcher))
    assert fnmatch.fnmatchcase(str(refused.value).replace("\n", " "), words)


def test_an_operator_that_reads_nothing_is_refused(helm: Helm) -> None:
    off = {"sources": {"notices": {"enabled": False}}}
    with pytest.raises(chart.HelmRefused, match=r"settings\.queue_url: not set"):
        helm.template({**WATCHED, "settings": off})


def test_a_cluster_without_such_policies_is_refused(helm: Helm) -> None:
    with pytest.raises(chart.HelmRefused, match=r"needs Kubernetes 1\.30, and this is v1\.29\.4"):
        helm.template(WATCHED, "--kube-version=1.29.4")

    without = watched(admissionPolicy={"enabled": False})
    assert "DaemonSet" in helm.template(without, "--kube-version=1.29.4")
    # As EKS writes it.
    assert "DaemonSet" in helm.template(WATCHED, "--kube-version=v1.30.1-eks-49c6de4")


def notes(helm: Helm, values: Mapping[str, Any]) -> str:
    """The text after an installation."""
    place = (chart.RELEASE, str(chart.CHART), "--dry-run=client")
    printed = helm.run("install", *place, f"--namespace={chart.NAMESPACE}", values=values)
    return printed.partition("\nNOTES:\n")[2]


def test_the_notes_name_the_sources_and_what_is_missing(helm: Helm) -> None:
    with_queue, with_watcher = notes(helm, NEEDED), notes(helm, WATCHED)

    assert f"reads {NEEDED['settings']['queue_url']}.\n" in with_queue
    assert "serviceAccount.roleArn is empty" in with_queue
    assert "app.kubernetes.io/name=queue-processor-watcher" not in with_queue
    assert "reads no queue, and the notices" in with_watcher
    assert "serviceAccount.roleArn" not in with_watcher
    assert "app.kubernetes.io/name=queue-processor-watcher" in with_watcher
    assert "stolen token" not in with_watcher
    assert "stolen token" in notes(helm, watched(admissionPolicy={"enabled": False}))
