"""The base of deploy/kustomize fits the API, itself and the program."""

import json
import os
import pathlib
import re
import tomllib
from collections.abc import Mapping
from typing import Any, TypeAlias

import aiohttp
import pytest
from kubernetes.aio import client

from queue_processor import bootstrap, cli, settings
from queue_processor.controller import consumer
from queue_processor.domain import selectors
from queue_processor.observability import health
from queue_processor.settings import groups

PROJECT = pathlib.Path(__file__).parents[2] / "pyproject.toml"

Object: TypeAlias = dict[str, Any]
Manifest: TypeAlias = Mapping[str, Object]

KINDS = {
    "Namespace",
    "NetworkPolicy",
    "ServiceAccount",
    "ConfigMap",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "Deployment",
}
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


@pytest.fixture
def settings_file(
    manifest: Manifest,
    pod: Object,
    container: Object,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: pathlib.Path,
) -> pathlib.Path:
    """The file that the container finds, in the environment that it gets."""
    for name in list(os.environ):
        if name.startswith(settings.ENVIRONMENT_PREFIX):
            monkeypatch.delenv(name)
    for variable in container["env"]:
        value = variable.get("value") or variable["valueFrom"]["fieldRef"]["fieldPath"]
        monkeypatch.setenv(variable["name"], value)
    (mount,) = container["volumeMounts"]
    (volume,) = pod["volumes"]
    assert mount["name"] == volume["name"]
    assert volume["configMap"] == {"name": manifest["ConfigMap"]["metadata"]["name"]}
    config = pathlib.PurePosixPath(os.environ[settings.CONFIG_VARIABLE])
    found = tmp_path / config.relative_to(mount["mountPath"])
    found.write_text(manifest["ConfigMap"]["data"][found.name], encoding="utf-8")
    monkeypatch.setenv(settings.CONFIG_VARIABLE, str(found))
    return found


def test_there_is_one_object_of_each_kind(manifest: Manifest) -> None:
    assert manifest.keys() == KINDS


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_an_object_has_no_field_that_the_api_does_not_know(manifest: Manifest, kind: str) -> None:
    given = manifest[kind]
    model = getattr(client, f"V1{kind}").from_dict(given)
    # The model drops unknown fields, and refuses values of a wrong type.
    assert json.loads(model.to_json()) == given


def test_an_object_is_of_the_group_and_version_that_serve_it(manifest: Manifest) -> None:
    core, access = "v1", "rbac.authorization.k8s.io/v1"
    assert {kind: given["apiVersion"] for kind, given in manifest.items()} == {
        "Namespace": core,
        "NetworkPolicy": "networking.k8s.io/v1",
        "ServiceAccount": core,
        "ConfigMap": core,
        "ClusterRole": access,
        "ClusterRoleBinding": access,
        "Role": access,
        "RoleBinding": access,
        "Deployment": "apps/v1",
    }


@pytest.mark.parametrize(
    "kind", ["NetworkPolicy", "ServiceAccount", "ConfigMap", "Role", "RoleBinding", "Deployment"]
)
def test_namespaced_objects_are_in_the_namespace_of_the_manifest(
    manifest: Manifest, kind: str
) -> None:
    assert manifest[kind]["metadata"]["namespace"] == manifest["Namespace"]["metadata"]["name"]


@pytest.mark.parametrize(
    ("binding", "role"), [("ClusterRoleBinding", "ClusterRole"), ("RoleBinding", "Role")]
)
def test_a_binding_grants_the_role_to_the_account_only(
    manifest: Manifest, binding: str, role: str
) -> None:
    account = manifest["ServiceAccount"]["metadata"]
    assert manifest[binding]["roleRef"] == {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": role,
        "name": manifest[role]["metadata"]["name"],
    }
    assert manifest[binding]["subjects"] == [
        {"kind": "ServiceAccount", "name": account["name"], "namespace": account["namespace"]}
    ]


def test_the_pod_runs_as_the_account(manifest: Manifest, pod: Object) -> None:
    assert pod["serviceAccountName"] == manifest["ServiceAccount"]["metadata"]["name"]
    assert pod.get("automountServiceAccountToken", True)
    assert manifest["ServiceAccount"].get("automountServiceAccountToken", True)


def test_every_selector_selects_the_pod(manifest: Manifest, pod: Object) -> None:
    spec = manifest["Deployment"]["spec"]
    labels = spec["template"]["metadata"]["labels"]
    apart = pod["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    for selector in (
        spec["selector"],
        manifest["NetworkPolicy"]["spec"]["podSelector"],
        *(term["podAffinityTerm"]["labelSelector"] for term in apart),
        *(constraint["labelSelector"] for constraint in pod["topologySpreadConstraints"]),
    ):
        assert selector["matchLabels"].items() <= labels.items()


# The program.


def test_the_container_runs_a_command_that_exists(container: Object) -> None:
    assert "command" not in container
    (command,) = container["args"]
    assert command in cli.COMMANDS


def test_the_image_has_the_version_of_the_project(container: Object) -> None:
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    name, _, tag = container["image"].rpartition("/")[2].partition(":")
    assert (name, tag) == (project["name"], project["version"])


def test_the_program_loads_the_settings_with_a_queue_url(
    settings_file: pathlib.Path,
) -> None:
    url = "https://sqs.eu-west-1.amazonaws.com/123456789012/interruptions"
    text = settings_file.read_text(encoding="utf-8")
    settings_file.write_text(re.sub(r"REPLACE-WITH-[A-Z-]+", url, text), encoding="utf-8")
    loaded = settings.load()
    assert loaded.queue_url == url
    assert loaded.kubernetes.pod_name == "metadata.name"
    assert loaded.kubernetes.pod_uid == "metadata.uid"


@pytest.mark.usefixtures("settings_file")
def test_the_placeholder_of_the_queue_url_is_refused() -> None:
    with pytest.raises(settings.SettingsError, match=r"^queue_url: 'REPLACE-"):
        settings.load()


def test_service_links_add_no_variables_of_their_own(pod: Object) -> None:
    assert pod["enableServiceLinks"] is False


async def test_every_probe_hits_a_route_that_is_served(container: Object) -> None:
    liveness = health.Liveness()
    liveness.node_news()
    async with (
        health.serving("127.0.0.1", 0, liveness=liveness) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
    ):
        for probe in PROBES:
            async with session.get(container[probe]["httpGet"]["path"]) as answer:
                assert answer.status == 200


async def test_only_readiness_waits_for_the_index(container: Object) -> None:
    async with (
        health.serving("127.0.0.1", 0, liveness=health.Liveness()) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
    ):
        answers = {}
        for probe in PROBES:
            async with session.get(container[probe]["httpGet"]["path"]) as answer:
                answers[probe] = answer.status
    assert answers == {"startupProbe": 200, "livenessProbe": 200, "readinessProbe": 503}


def test_every_probe_uses_the_port_that_the_program_listens_on(container: Object) -> None:
    (port,) = container["ports"]
    assert port["containerPort"] == groups.HttpSettings().port
    assert {container[probe]["httpGet"]["port"] for probe in PROBES} == {port["name"]}


def test_the_grace_period_covers_a_clean_stop(pod: Object) -> None:
    releasing = groups.LeaderElectionSettings().retry_period_seconds
    handing_back = consumer._RELEASE_LIMIT.total_seconds()
    longest = (
        handing_back
        + releasing
        + bootstrap._FLUSH_LIMIT_SECONDS
        + groups.SqsSettings().wait_time_seconds
    )
    # kopf stops last, and gives connections that are kept alive 5 s to end.
    assert pod["terminationGracePeriodSeconds"] >= longest + 5


# The cluster.


def test_the_namespace_enforces_the_restricted_standard(manifest: Manifest) -> None:
    labels = manifest["Namespace"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_the_pod_meets_the_restricted_standard(pod: Object, container: Object) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted."""
    own, whole = container["securityContext"], pod["securityContext"]
    # Restricted.
    assert own["allowPrivilegeEscalation"] is False
    assert whole["runAsNonRoot"] is True
    assert own.get("runAsNonRoot", True)
    assert {whole["runAsUser"], own.get("runAsUser", 1)}.isdisjoint({0})
    assert whole["seccompProfile"] == {"type": "RuntimeDefault"}
    assert "seccompProfile" not in own
    assert own["capabilities"] == {"drop": ["ALL"]}
    # Baseline: none of the fields that it restricts is set.
    assert pod.keys().isdisjoint({"hostNetwork", "hostPID", "hostIPC"})
    assert all(volume.keys() == {"name", "configMap"} for volume in pod["volumes"])
    assert pod.keys().isdisjoint({"initContainers", "ephemeralContainers"})
    unsafe = {"privileged", "procMount", "seLinuxOptions", "appArmorProfile", "windowsOptions"}
    assert own.keys().isdisjoint(unsafe)
    assert whole.keys().isdisjoint({*unsafe, "sysctls"})
    assert all("hostPort" not in port for port in container["ports"])
    assert all("host" not in container[probe]["httpGet"] for probe in PROBES)


def test_the_root_file_system_is_read_only(container: Object) -> None:
    assert container["securityContext"]["readOnlyRootFilesystem"] is True


def test_memory_is_limited_and_the_cpu_is_not(container: Object) -> None:
    assert container["resources"]["requests"].keys() == {"cpu", "memory"}
    assert container["resources"]["limits"].keys() == {"memory"}


def test_the_pod_is_not_evicted_before_ordinary_ones(pod: Object) -> None:
    assert pod["priorityClassName"] == "system-cluster-critical"


def test_the_pod_tolerates_no_taint(pod: Object) -> None:
    assert "tolerations" not in pod


@pytest.mark.parametrize(
    ("labels", "is_preferred"),
    [
        ({"eks.amazonaws.com/capacityType": "ON_DEMAND"}, True),
        ({"karpenter.sh/capacity-type": "on-demand"}, True),
        ({"karpenter.sh/capacity-type": "reserved"}, True),
        ({}, True),
        ({"eks.amazonaws.com/capacityType": "SPOT"}, False),
        ({"eks.amazonaws.com/capacityType": "CAPACITY_BLOCK"}, False),
        ({"karpenter.sh/capacity-type": "spot"}, False),
        ({"node-lifecycle": "on-demand"}, True),
        ({"node-lifecycle": "spot"}, False),
        ({"node.kubernetes.io/lifecycle": "spot"}, False),
    ],
)
def test_spot_nodes_are_the_last_choice(
    pod: Object, labels: Mapping[str, str], *, is_preferred: bool
) -> None:
    affinity = pod["affinity"]["nodeAffinity"]
    (term,) = affinity["preferredDuringSchedulingIgnoredDuringExecution"]
    requirements = [
        f"{wanted['key']} {wanted['operator'].lower()} ({','.join(wanted['values'])})"
        for wanted in term["preference"]["matchExpressions"]
    ]
    assert selectors.parse(",".join(requirements)).selects(labels) is is_preferred


def test_a_new_pod_is_ready_before_the_old_one_stops(manifest: Manifest) -> None:
    spec = manifest["Deployment"]["spec"]
    assert spec["replicas"] == 1
    assert spec["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
    }
