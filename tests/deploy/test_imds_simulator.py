"""The overlay that runs `imds serve` in a cluster: deploy/kustomize/imds-simulator."""

import pathlib
import tomllib
from typing import Any, TypeAlias

import pytest
import typer.core
import typer.main
import yaml

from queue_processor import cli
from queue_processor.imds import serve
from tests.deploy import chart
from tests.imds.following import following

ROOT = pathlib.Path(__file__).parents[2]
OVERLAY = ROOT / "deploy" / "kustomize" / "imds-simulator"

Object: TypeAlias = dict[str, Any]


def documents(name: str) -> list[Object]:
    return list(yaml.safe_load_all((OVERLAY / name).read_text(encoding="utf-8")))


@pytest.fixture
def kustomization() -> Object:
    (document,) = documents("kustomization.yaml")
    return document


@pytest.fixture
def objects(kustomization: Object) -> dict[str, Object]:
    """The objects of the overlay, by kind."""
    every = [document for name in kustomization["resources"] for document in documents(name)]
    by_kind = {document["kind"]: document for document in every}
    assert len(by_kind) == len(every)
    return by_kind


@pytest.fixture
def pod(objects: dict[str, Object]) -> Object:
    spec: Object = objects["Deployment"]["spec"]["template"]["spec"]
    return spec


@pytest.fixture
def container(pod: Object) -> Object:
    (only,) = pod["containers"]
    assert isinstance(only, dict)
    return only


def test_the_overlay_lists_all_of_its_files(kustomization: Object) -> None:
    files = {path.name for path in OVERLAY.iterdir()}

    assert files == {"kustomization.yaml", *kustomization["resources"]}


def test_the_container_runs_a_command_that_exists(container: Object) -> None:
    group, command, *arguments = container["args"]
    tree = typer.main.get_group(cli.app).commands[group]
    assert isinstance(tree, typer.core.TyperGroup)

    parsed = tree.commands[command].make_context(command, arguments)
    host, port = serve._parse_address(parsed.params["listen"])
    assert (host, port) == ("0.0.0.0", container["ports"][0]["containerPort"])  # noqa: S104


def test_the_image_is_the_one_of_the_operator(kustomization: Object, container: Object) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (image,) = kustomization["images"]

    assert f"image: {image['name']}:" in chart.BASE.path.read_text(encoding="utf-8")
    assert image["name"] == container["image"]
    assert image["newTag"] == project["version"]


def test_the_pod_meets_the_restricted_standard(pod: Object, container: Object) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted."""
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC", "volumes"}


def test_the_service_and_the_deployment_select_the_pod(objects: dict[str, Object]) -> None:
    labels = objects["Deployment"]["spec"]["template"]["metadata"]["labels"]

    assert objects["Service"]["spec"]["selector"].items() <= labels.items()
    assert objects["Deployment"]["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_the_role_is_bound_to_the_account_of_the_pod(
    objects: dict[str, Object], pod: Object, kustomization: Object
) -> None:
    binding = objects["ClusterRoleBinding"]

    assert binding["roleRef"]["name"] == objects["ClusterRole"]["metadata"]["name"]
    assert binding["subjects"] == [
        {
            "kind": "ServiceAccount",
            "name": pod["serviceAccountName"],
            "namespace": kustomization["namespace"],
        }
    ]
    assert objects["ServiceAccount"]["metadata"]["name"] == pod["serviceAccountName"]


@pytest.mark.looptime
async def test_the_role_allows_what_the_command_requests_and_nothing_else(
    objects: dict[str, Object],
) -> None:
    async with following() as followed:
        followed.world.add_node("late", instance_id="i-0000000000000abcd")
        await followed.until(lambda: followed.instance_id("late") is not None)

        assert followed.requested() == {("list", "nodes"), ("watch", "nodes")}
    assert objects["ClusterRole"]["rules"] == [
        {"apiGroups": [""], "resources": ["nodes"], "verbs": ["list", "watch"]}
    ]
