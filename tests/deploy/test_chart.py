"""The chart: the objects, the errors, and the generated files."""

import fnmatch
import ipaddress
import json
import os
import pathlib
import shutil
import tomllib
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from queue_processor import bootstrap, settings
from queue_processor.adapters.kube import permissions
from queue_processor.controller import consumer
from tests import gobinaries
from tests.deploy import chart
from tests.deploy.chart import Helm, JsonObject
from tests.deploy.choices import CHOICES, NEEDED

# Helm may have to be built first.
pytestmark = pytest.mark.timeout(gobinaries.BUILD_SECONDS)

URL = NEEDED["settings"]["queue_url"]
PROJECT = pathlib.Path(__file__).parents[2] / "pyproject.toml"


def with_settings(**groups: object) -> JsonObject:
    """The values that are needed, and settings."""
    return {**NEEDED, "settings": {**NEEDED["settings"], **groups}}


def rendered(helm: Helm, values: Mapping[str, Any], **place: str) -> dict[str, JsonObject]:
    """Return the objects by kind, and by name if there are two of a kind."""
    found: dict[str, JsonObject] = {}
    for document in chart.documents(helm.template(values, **place)):
        kind = document["kind"]
        found[f"{kind} {document['metadata']['name']}" if kind in found else kind] = document
    return found


def pod_of(objects: Mapping[str, JsonObject]) -> JsonObject:
    spec: JsonObject = objects["Deployment"]["spec"]["template"]["spec"]
    return spec


def environment_of(objects: Mapping[str, JsonObject]) -> dict[str, str]:
    (container,) = pod_of(objects)["containers"]
    return {item["name"]: item.get("value", "") for item in container["env"]}


# Generated files.


@pytest.mark.parametrize("manifest", chart.MANIFESTS, ids=lambda each: each.path.parent.name)
def test_what_the_overlays_begin_with_is_up_to_date(
    manifest: chart.GeneratedManifest, helm: Helm
) -> None:
    assert manifest.path.read_text(encoding="utf-8") == manifest.render(helm), "make manifests"


def test_the_readme_of_the_chart_is_up_to_date(tools: pathlib.Path, tmp_path: pathlib.Path) -> None:
    made = shutil.copytree(chart.CHART, tmp_path / chart.CHART.name)
    chart.write_readme(tools, tmp_path)

    new = (made / chart.README.name).read_text(encoding="utf-8")
    assert chart.README.read_text(encoding="utf-8") == new, "make manifests"


def test_every_value_is_described_in_the_readme() -> None:
    rows = [
        row.split("|")[1:-1]
        for row in chart.README.read_text(encoding="utf-8").splitlines()
        if row.startswith("| ") and not row.startswith("| Key ")
    ]

    assert len(rows) > 40
    assert [key for key, _, _, description in rows if not description.strip()] == []


def test_the_schema_knows_the_settings_of_the_program() -> None:
    assert chart.SCHEMA.read_text(encoding="utf-8") == chart.schema(), "make manifests"


def test_the_chart_is_for_this_version_of_the_program() -> None:
    about = yaml.safe_load((chart.CHART / "Chart.yaml").read_text(encoding="utf-8"))
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    assert about["appVersion"] == project["version"]


def test_every_value_has_a_default_and_a_schema() -> None:
    values = yaml.safe_load((chart.CHART / "values.yaml").read_text(encoding="utf-8"))
    schema = json.loads(chart.SCHEMA.read_text(encoding="utf-8"))
    assert values.keys() | {"global"} == schema["properties"].keys()
    for key, part in schema["properties"].items():
        if key != "settings" and part.get("additionalProperties") is False:
            assert values[key].keys() == part["properties"].keys(), key


# Objects.


@pytest.mark.parametrize("choice", CHOICES)
def test_helm_lint_reports_nothing(helm: Helm, choice: str) -> None:
    helm.lint(CHOICES[choice])


ALWAYS = {"ConfigMap", "ClusterRole", "ClusterRoleBinding", "Deployment"}
BY_DEFAULT = ALWAYS | {"ServiceAccount", "Role", "RoleBinding", "NetworkPolicy"}


@pytest.mark.parametrize(
    ("choice", "kinds"),
    [
        ("nothing chosen", BY_DEFAULT),
        ("two replicas", BY_DEFAULT | {"PodDisruptionBudget"}),
        ("a role by IRSA", BY_DEFAULT),
        ("a watcher and no queue", BY_DEFAULT),
        ("another name", BY_DEFAULT),
        ("observing", BY_DEFAULT - {"Role", "RoleBinding"} | {"PodDisruptionBudget"}),
        ("everything off", ALWAYS),
        (
            "everything on",
            BY_DEFAULT
            | {"PodDisruptionBudget", "Service", "ServiceMonitor", "PrometheusRule"}
            | {"ConfigMap drains-dashboard"},
        ),
    ],
)
def test_values_select_the_objects(helm: Helm, choice: str, kinds: set[str]) -> None:
    """Those of the watcher are in test_watcher."""
    objects = rendered(helm, CHOICES[choice])
    of_watcher = {key for key in objects if objects[key]["metadata"]["name"].endswith("-watcher")}
    found = {key: objects[key] for key in objects.keys() - of_watcher}
    dashboards = {key for key in found if found[key]["metadata"]["name"].endswith("-dashboard")}
    named = {"ConfigMap drains-dashboard" if key in dashboards else key for key in found}
    assert {"ConfigMap" if key == "ConfigMap drains" else key for key in named} == kinds


@pytest.mark.parametrize("choice", CHOICES)
def test_every_object_has_the_recommended_labels(helm: Helm, choice: str) -> None:
    """https://helm.sh/docs/chart_best_practices/labels/."""
    about = yaml.safe_load((chart.CHART / "Chart.yaml").read_text(encoding="utf-8"))
    for key, body in rendered(helm, CHOICES[choice]).items():
        labels = body["metadata"]["labels"]
        assert labels["helm.sh/chart"] == f"queue-processor-{about['version']}", key
        assert labels["app.kubernetes.io/managed-by"] == "Helm", key
        assert labels["app.kubernetes.io/instance"] == chart.RELEASE, key
        name = CHOICES[choice].get("nameOverride") or about["name"]
        assert labels["app.kubernetes.io/name"].removesuffix("-watcher") == name, key


@pytest.mark.parametrize("choice", CHOICES)
def test_every_selector_selects_the_pod(helm: Helm, choice: str) -> None:
    objects = rendered(helm, CHOICES[choice])
    labels = objects["Deployment"]["spec"]["template"]["metadata"]["labels"]
    selectors = [objects["Deployment"]["spec"]["selector"]["matchLabels"]]
    for kind, key in (("PodDisruptionBudget", "selector"), ("NetworkPolicy", "podSelector")):
        if kind in objects:
            selectors.append(objects[kind]["spec"][key]["matchLabels"])
    if "Service" in objects:
        selectors.append(objects["Service"]["spec"]["selector"])
        monitored = objects["ServiceMonitor"]["spec"]["selector"]["matchLabels"]
        assert monitored.items() <= objects["Service"]["metadata"]["labels"].items()
    assert all(selector.items() <= labels.items() for selector in selectors)


def test_the_monitor_reads_the_port_that_the_program_listens_on(helm: Helm) -> None:
    objects = rendered(helm, CHOICES["everything on"])
    (container,) = pod_of(objects)["containers"]
    (port,) = container["ports"]
    (service_port,) = objects["Service"]["spec"]["ports"]
    (endpoint,) = objects["ServiceMonitor"]["spec"]["endpoints"]
    (ingress,) = objects["NetworkPolicy"]["spec"]["ingress"]
    assert port["containerPort"] == 9090
    assert service_port["targetPort"] == port["name"]
    assert endpoint["port"] == service_port["name"]
    assert [allowed["port"] for allowed in ingress["ports"]] == [9090]


def test_two_releases_in_a_namespace_share_no_object_and_no_lease(helm: Helm) -> None:
    one, other = rendered(helm, NEEDED), rendered(helm, NEEDED, release="gpu")
    names = [{found["metadata"]["name"] for found in objects.values()} for objects in (one, other)]
    assert names == [
        {"queue-processor"},
        {"gpu-queue-processor", "queue-processor-gpu-queue-processor"},
    ]
    leases = [objects["Role"]["rules"][0]["resourceNames"] for objects in (one, other)]
    assert leases == [["queue-processor"], ["gpu-queue-processor"]]


def test_a_release_in_another_namespace_shares_no_object_of_the_cluster(helm: Helm) -> None:
    one, other = rendered(helm, NEEDED), rendered(helm, NEEDED, namespace="kube-system")
    for kind in ("ClusterRole", "ClusterRoleBinding"):
        assert one[kind]["metadata"]["name"] != other[kind]["metadata"]["name"]


# Settings.


def test_every_setting_reaches_the_program(
    helm: Helm, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    for name in list(os.environ):
        if name.startswith(settings.ENVIRONMENT_PREFIX):
            monkeypatch.delenv(name)
    wanted = settings.Settings(queue_url=URL)
    given = wanted.model_dump(mode="json", exclude_none=True)
    data = rendered(helm, {**NEEDED, "settings": given})["ConfigMap"]["data"]
    (text,) = data.values()
    assert yaml.safe_load(text) == given

    config = tmp_path / "settings.yaml"
    config.write_text(text, encoding="utf-8")
    assert settings.load(config) == wanted


def test_changed_settings_need_a_new_pod_and_other_values_do_not(helm: Helm) -> None:
    def template(values: Mapping[str, Any]) -> JsonObject:
        found: JsonObject = rendered(helm, values)["Deployment"]["spec"]["template"]
        return found

    before = template(NEEDED)
    assert template(with_settings(log={"level": "debug"})) != before
    assert template({**NEEDED, "replicas": 2}) == before


def test_objects_follow_the_settings(helm: Helm) -> None:
    chosen = {"lease_name": "mine", "namespace": "leases"}
    objects = rendered(helm, with_settings(leader_election=chosen))
    assert objects["Role"]["metadata"]["namespace"] == "leases"
    assert objects["RoleBinding"]["metadata"]["namespace"] == "leases"
    assert objects["Role"]["rules"][0]["resourceNames"] == ["mine"]


@pytest.mark.parametrize(
    ("groups", "force_deletes", "lease_namespace"),
    [
        ({}, True, chart.NAMESPACE),
        ({"drain": {"on_deadline": "leave"}}, False, chart.NAMESPACE),
        ({"leader_election": {"namespace": "leases"}}, True, "leases"),
        ({"leader_election": {"enabled": False}}, True, None),
    ],
)
def test_the_roles_grant_what_the_program_checks_at_its_start(
    helm: Helm, groups: JsonObject, lease_namespace: str | None, *, force_deletes: bool
) -> None:
    objects = rendered(helm, with_settings(**groups))
    granted = {
        (verb, group, resource, objects[kind]["metadata"].get("namespace", ""))
        for kind in ("ClusterRole", "Role")
        if kind in objects
        for rule in objects[kind]["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    needed = permissions.all_permissions(
        lease_namespace=lease_namespace, force_deletes=force_deletes
    )
    assert granted == {(item.verb, item.group, item.resource, item.namespace) for item in needed}


def test_an_observer_is_granted_what_it_checks_at_its_start_and_only_reads(helm: Helm) -> None:
    objects = rendered(helm, CHOICES["observing"])
    granted = [
        (verb, group, resource)
        for rule in objects["ClusterRole"]["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]
    needed = [(item.verb, item.group, item.resource) for item in permissions.TO_OBSERVE]
    assert sorted(granted) == sorted(needed)
    assert {verb for verb, _, _ in granted} <= {"get", "list", "watch"}


@pytest.mark.parametrize(("wait", "retry"), [(5, 2), (20, 2), (0, 8.5), (20, 9)])
def test_the_grace_period_covers_a_clean_stop(helm: Helm, wait: int, retry: float) -> None:
    values = with_settings(
        sources={"sqs": {"wait_time_seconds": wait}},
        leader_election={"retry_period_seconds": retry},
    )
    # kopf stops last, and gives connections that are kept alive 5 s to end.
    longest = (
        consumer._RELEASE_LIMIT.total_seconds() + retry + bootstrap._FLUSH_LIMIT_SECONDS + wait + 5
    )
    assert pod_of(rendered(helm, values))["terminationGracePeriodSeconds"] >= longest


@pytest.mark.parametrize(
    ("url", "region"),
    [
        (URL, "eu-west-1"),
        ("https://sqs.cn-north-1.amazonaws.com.cn/123456789012/q", "cn-north-1"),
        ("https://vpce-1-2.sqs.eu-west-1.vpce.amazonaws.com/123456789012/q", None),
        ("http://localhost:4566/000000000000/q", None),
    ],
)
def test_the_region_is_that_of_the_queue(helm: Helm, url: str, region: str | None) -> None:
    objects = rendered(helm, with_settings(queue_url=url))
    assert environment_of(objects).get("AWS_REGION") == region


def test_a_region_value_takes_precedence(helm: Helm) -> None:
    objects = rendered(helm, {**NEEDED, "env": {"AWS_REGION": "us-east-1"}})
    assert environment_of(objects)["AWS_REGION"] == "us-east-1"


def test_the_role_for_irsa_is_an_annotation_of_the_account(helm: Helm) -> None:
    annotations = rendered(helm, CHOICES["everything on"])["ServiceAccount"]["metadata"]
    assert annotations["annotations"] == {
        "eks.amazonaws.com/role-arn": "arn:aws-cn:iam::123456789012:role/path/queue-processor",
        "example.com/team": "platform",
    }


# Network policy.


def reaches(policy: JsonObject, address: str, port: int, protocol: str = "TCP") -> bool:
    """Return True if the policy allows the pod to open a connection.

    https://kubernetes.io/docs/concepts/services-networking/network-policies/
    """
    target = ipaddress.ip_address(address)
    for rule in policy["spec"]["egress"]:
        networks = [ipaddress.ip_network(peer["ipBlock"]["cidr"]) for peer in rule.get("to", [])]
        if networks and not any(target in network for network in networks):
            continue
        if {"protocol": protocol, "port": port} in rule["ports"]:
            return True
    return False


@pytest.mark.parametrize(
    ("values", "port", "peers"),
    [
        (NEEDED, 8080, None),
        (with_settings(http={"bind": "[::]:9090"}), 9090, None),
        (
            {**NEEDED, "networkPolicy": {"metricsFrom": [{"namespaceSelector": {}}]}},
            8080,
            [{"namespaceSelector": {}}],
        ),
    ],
)
def test_the_pod_is_reached_at_the_port_of_its_metrics_only(
    helm: Helm, values: Mapping[str, Any], port: int, peers: list[JsonObject] | None
) -> None:
    (rule,) = rendered(helm, values)["NetworkPolicy"]["spec"]["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": port}]
    assert rule.get("from") == peers


@pytest.mark.parametrize(
    ("address", "port", "protocol", "is_reached"),
    [
        ("10.100.0.10", 53, "UDP", True),
        ("169.254.20.10", 53, "TCP", True),
        ("52.95.1.1", 443, "TCP", True),
        ("10.0.0.1", 6443, "TCP", True),
        ("169.254.170.23", 80, "TCP", True),
        ("fd00:ec2::23", 80, "TCP", True),
        ("169.254.169.254", 80, "TCP", False),
        ("52.95.1.1", 80, "TCP", False),
        ("10.0.0.2", 8080, "TCP", False),
        ("52.95.1.1", 443, "UDP", False),
    ],
)
def test_the_pod_reaches_what_it_needs_and_nothing_else(
    helm: Helm, address: str, port: int, protocol: str, *, is_reached: bool
) -> None:
    policy = rendered(helm, NEEDED)["NetworkPolicy"]
    assert set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"}
    assert reaches(policy, address, port, protocol) is is_reached


@pytest.mark.parametrize(
    ("address", "port", "is_reached"),
    [
        ("169.254.169.254", 80, True),
        ("52.95.1.1", 443, True),
        ("10.0.0.1", 6443, False),
        ("10.0.0.1", 3128, True),
    ],
)
def test_egress_can_be_configured(helm: Helm, address: str, port: int, *, is_reached: bool) -> None:
    policy = rendered(helm, CHOICES["everything on"])["NetworkPolicy"]
    assert reaches(policy, address, port) is is_reached


# Errors.


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({**NEEDED, "settings": {}}, "*settings.queue_url: not set; set the URL*"),
        ({**NEEDED, "image": {}}, "*image.repository: not set; no image is published*"),
        (with_settings(queue_ulr=URL), "*settings*queue_ulr*not allowed*"),
        (with_settings(queue_url="my-queue"), "*settings/queue_url*pattern*"),
        (with_settings(drain={"on_deadline": "kill"}), "*settings/drain/on_deadline*"),
        (with_settings(drain={"grace": 1}), "*settings/drain*grace*not allowed*"),
        (with_settings(actions={"spot_interruption": "await-ready"}), "*spot_interruption*"),
        (with_settings(http={"bind": "127.0.0.1:0"}), "*settings.http.bind*a fixed port*"),
        ({**NEEDED, "replica": 2}, "*replica*not allowed*"),
        ({**NEEDED, "networkPolicy": {"enable": False}}, "*networkPolicy*enable*not allowed*"),
        ({**NEEDED, "serviceAccount": {"roleArn": "queue-processor"}}, "*roleArn*pattern*"),
        ({**NEEDED, "env": {"QUEUE_PROCESSOR_LOG__LEVEL": "debug"}}, "*belongs under `settings`*"),
        ({**NEEDED, "env": {"AWS_REGION": ["eu-west-1"]}}, "*env/AWS_REGION*"),
        (
            {**with_settings(leader_election={"enabled": False}), "replicas": 2},
            "*replicas: more than 1 requires settings.leader_election.enabled*",
        ),
    ],
)
def test_values_that_cannot_work_are_refused_by_name(
    helm: Helm, values: Mapping[str, Any], words: str
) -> None:
    with pytest.raises(chart.HelmRefused) as refused:
        helm.template(values)
    assert fnmatch.fnmatchcase(str(refused.value).replace("\n", " "), words)


def test_without_an_election_the_old_pod_ends_before_the_new_one_starts(helm: Helm) -> None:
    objects = rendered(helm, with_settings(leader_election={"enabled": False}))

    assert objects["Deployment"]["spec"]["strategy"] == {"type": "Recreate"}


def test_observers_run_side_by_side_without_an_election(helm: Helm) -> None:
    values = with_settings(mode="observe", leader_election={"enabled": False})
    objects = rendered(helm, {**values, "replicas": 2})

    assert objects["Deployment"]["spec"]["replicas"] == 2
    assert objects["Deployment"]["spec"]["strategy"]["type"] == "RollingUpdate"
