"""The chart on a real API server, which knows every field and admits pods or does not."""

import subprocess
from collections.abc import AsyncIterator
from typing import Any

import pytest
import yaml

from tests import gobinaries
from tests.cluster import plane, world
from tests.deploy import chart, definitions, programs
from tests.deploy.choices import CHOICES, NEEDED

# Helm may have to be built first.
pytestmark = pytest.mark.timeout(gobinaries.BUILD_SECONDS)

APPLY = ("apply", "--server-side", "--validate=strict", "--filename=-")


@pytest.fixture(scope="module")
def helm(tmp_path_factory: pytest.TempPathFactory) -> chart.Helm:
    """Helm."""
    tools = programs.built_or_skip()
    return chart.Helm(program=tools / "helm", folder=tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="module")
def monitored(control_plane: plane.ControlPlane) -> plane.ControlPlane:
    """The control plane, with the kinds of the Prometheus operator."""
    for definition in definitions.files_or_skip():
        control_plane.kubectl("apply", "--server-side", f"--filename={definition}")
        control_plane.kubectl("wait", "--for=condition=established", f"--filename={definition}")
    return control_plane


@pytest.fixture(scope="module")
def namespace(control_plane: plane.ControlPlane) -> str:
    """A namespace like the one that comes with the manifest."""
    body = yaml.safe_load((chart.DEPLOY / "namespace.yaml").read_text(encoding="utf-8"))
    body["metadata"]["name"] = "chart"
    control_plane.kubectl(*APPLY, text=yaml.safe_dump(body))
    return "chart"


@pytest.fixture
async def two_replicas(
    cluster: world.World, helm: chart.Helm, namespace: str
) -> AsyncIterator[world.World]:
    """The cluster with some nodes, where the chart has been applied."""
    instances = [(f"node-{letter}", f"i-0{letter}") for letter in "abc"]
    await cluster.make_nodes(instances, **{"kubernetes.io/os": "linux"})
    text = helm.template({**NEEDED, "replicas": 2}, namespace=namespace)
    cluster.plane.kubectl(*APPLY, text=text)
    yield cluster
    # While there are nodes whose kubelets end its pods.
    cluster.plane.kubectl("delete", "--cascade=foreground", "--filename=-", text=text)


@pytest.mark.parametrize("choice", CHOICES)
def test_the_api_server_takes_the_chart(
    monitored: plane.ControlPlane, helm: chart.Helm, namespace: str, choice: str
) -> None:
    text = helm.template(CHOICES[choice], namespace=namespace)
    applied = monitored.kubectl(*APPLY, "--dry-run=server", text=text)
    assert applied.count("serverside-applied (server dry run)") == len(chart.documents(text))


@pytest.mark.parametrize(
    ("kind", "path", "mistake"),
    [
        ("Deployment", "spec/template/spec", {"hostNetworks": True}),
        ("ServiceMonitor", "spec", {"endpoint": []}),
        ("ServiceMonitor", "spec/selector", {"matchLabels": "all"}),
        ("PrometheusRule", "spec/groups/0/rules/0", {"alerts": "x"}),
    ],
)
def test_the_api_server_would_object_to_a_mistake(
    monitored: plane.ControlPlane, helm: chart.Helm, kind: str, path: str, mistake: chart.JsonObject
) -> None:
    objects = chart.documents(helm.template(CHOICES["everything on"], namespace="default"))
    (body,) = (found for found in objects if found["kind"] == kind)
    place: Any = body
    for step in path.split("/"):
        place = place[int(step) if step.isdigit() else step]
    place.update(mistake)
    with pytest.raises(subprocess.CalledProcessError) as refused:
        monitored.kubectl(*APPLY, "--dry-run=server", text=yaml.safe_dump(body))
    assert next(iter(mistake)) in refused.value.stderr


async def test_two_replicas_run_apart_under_a_budget_where_pods_are_restricted(
    two_replicas: world.World, namespace: str
) -> None:
    async def both_are_ready() -> bool:
        deployments = f"/apis/apps/v1/namespaces/{namespace}/deployments"
        (deployment,) = await two_replicas.items(deployments)
        return bool(deployment.get("status", {}).get("readyReplicas") == 2)

    await two_replicas.until(both_are_ready)
    pods = await two_replicas.items(f"/api/v1/namespaces/{namespace}/pods")
    assert len({pod["spec"]["nodeName"] for pod in pods}) == 2

    async def one_may_go() -> bool:
        budgets = f"/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets"
        (budget,) = await two_replicas.items(budgets)
        return bool(budget["status"].get("disruptionsAllowed") == 1)

    await two_replicas.until(one_may_go)
